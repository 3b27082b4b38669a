//! Which locks a server hands on by itself, as far as the databases agree.

use doclock::{AcquireRequest, Holder, LockRecord, Mode, Timestamp};

/// The lease that ends, if nothing else is to be decided.
pub(super) fn handed<'a>(
    seen: Option<&'a LockRecord>,
    request: &AcquireRequest,
    now: Timestamp,
) -> Option<&'a Holder> {
    let seen = seen?;
    let [holder] = &seen.holders[..] else {
        return None;
    };
    let waits = |waiter: &doclock::Waiter| waiter.claimant.owner == request.owner;
    let is_exclusive = seen.mode == Mode::Exclusive && request.mode == Mode::Exclusive;
    let is_plain = is_exclusive
        && !request.queued
        && request.slot.is_none()
        && request.watched.is_empty()
        && request.replaces.as_ref() == holder.id()
        && holder.id().is_some_and(|id| *id != request.id)
        && holder.owner() == Some(&request.owner)
        && seen.closed.as_ref() != Some(&request.id)
        && holder.ttl <= request.ttl
        && (holder.expires_at > now || seen.queue.is_empty())
        && !seen.queue.iter().any(waits);
    is_plain.then_some(holder)
}
