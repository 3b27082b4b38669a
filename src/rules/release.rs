use super::ServerTime;
use crate::backend::ReleaseRequest;
use crate::{Holder, LockRecord};

/// What [`release`] decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Released {
    /// The lease ends, by writing this record in place of the one that was seen.
    Write(Box<LockRecord>),
    /// An earlier attempt of this release was applied already; nothing is written.
    Already,
    /// This acquisition does not hold; nothing is written.
    NotHeld,
}

/// Ends a lease, or leaves the queue. The record and its token stay.
#[must_use]
pub fn release(
    record: Option<&LockRecord>,
    request: &ReleaseRequest,
    time: &ServerTime,
) -> Released {
    let Some(seen) = record else {
        return Released::NotHeld;
    };
    let Some(standing) = seen.holder(&request.id) else {
        if seen.waiter(&request.id).is_some() {
            return Released::Write(Box::new(leave(seen, request)));
        }
        // One that was ended by force, or by its owner's next acquisition, did not leave what it brings.
        let is_written = (request.state.is_none() || seen.state == request.state)
            && seen.slot_done >= request.slot_done;
        return if seen.closed.as_ref() == Some(&request.id) && is_written {
            Released::Already
        } else {
            Released::NotHeld
        };
    };
    if request
        .attempt
        .is_some_and(|attempt| standing.seq > attempt)
    {
        return Released::NotHeld;
    }
    let mut next = seen.clone();
    next.rev = next.rev.saturating_add(1);
    next.holders
        .retain(|holder| holder.id() != Some(&request.id));
    next.holders.extend(linger(request, time));
    next.free_at = Some(time.stamp);
    if request.attempt.is_none() {
        next.closed = Some(request.id.clone());
    }
    next.slot_done = next.slot_done.max(request.slot_done);
    if request.state.is_some() {
        next.state.clone_from(&request.state);
    }
    if let Some(keep) = request.kept() {
        let purge_at = time.stamp.saturating_add(keep);
        next.purge_at = Some(next.pinned.unwrap_or(purge_at));
    }
    Released::Write(Box::new(next))
}

/// Takes a waiter out of the queue.
fn leave(seen: &LockRecord, request: &ReleaseRequest) -> LockRecord {
    let mut next = seen.clone();
    next.rev = next.rev.saturating_add(1);
    next.queue.retain(|waiter| waiter.claimant.id != request.id);
    next
}

/// What stays in the place of a holder that was faster than its minimum hold.
pub(crate) fn linger(request: &ReleaseRequest, time: &ServerTime) -> Option<Holder> {
    let linger = request.linger.filter(|linger| !linger.left.is_zero())?;
    let left = linger.left.min(linger.ttl.as_duration());
    let expires_at = time.stamp.saturating_add(left);
    Some(Holder::new(None, time.stamp, expires_at, linger.ttl, 0))
}
