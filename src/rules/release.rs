use super::ServerTime;
use crate::LockRecord;
use crate::backend::ReleaseRequest;

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

/// Ends a lease. The record and its token stay.
#[must_use]
pub fn release(
    record: Option<&LockRecord>,
    request: &ReleaseRequest,
    time: &ServerTime,
) -> Released {
    let Some(seen) = record else {
        return Released::NotHeld;
    };
    if seen.holder(&request.id).is_none() {
        return if seen.closed.as_ref() == Some(&request.id) {
            Released::Already
        } else {
            Released::NotHeld
        };
    }
    let mut next = seen.clone();
    next.rev = next.rev.saturating_add(1);
    next.holders
        .retain(|holder| holder.id() != Some(&request.id));
    next.free_at = Some(time.stamp);
    next.closed = Some(request.id.clone());
    Released::Write(Box::new(next))
}
