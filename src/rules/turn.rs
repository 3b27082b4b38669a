use std::time::Duration;

use super::ServerTime;
use crate::backend::{AcquireRequest, Queueing};
use crate::record::{MAX_PARTIES, WAITER_TTL};
use crate::time::Timestamp;
use crate::{Claimant, LockRecord, Mode, Waiter};

/// A waiter that asks again refreshes its entry when it is this old.
pub(crate) const REFRESH: Duration = Duration::from_secs(2);

/// Where a request stands in the queue of a record without dead entries.
pub(super) struct Place {
    /// `None`: not in it.
    index: Option<usize>,
    /// Nobody queues at all.
    is_free: bool,
    /// Those who must go first, as indices, the longest waiting first.
    blocking: Vec<usize>,
}

/// `others`: how many live holders are none of the request's own.
pub(super) fn place(record: &LockRecord, request: &AcquireRequest, others: usize) -> Place {
    let mine = |waiter: &Waiter| waiter.claimant.owner == request.owner;
    let index = record.queue.iter().position(mine);
    let ahead = record.queue.iter().take(index.unwrap_or(usize::MAX));
    let ahead: Vec<&Waiter> = ahead.collect();
    let blocks = |waiter: &Waiter| match request.mode {
        Mode::Exclusive => true,
        mode => !waiter.mode.same_kind(mode),
    };
    let mut blocking: Vec<usize> = (0..ahead.len())
        .filter(|index| ahead.get(*index).is_some_and(|waiter| blocks(waiter)))
        .collect();
    if let Mode::Permit { .. } = request.mode {
        let permits = beyond_room(record, request.mode, &ahead, others);
        blocking.extend(permits);
        blocking.sort_unstable();
    }
    Place {
        index,
        is_free: record.queue.is_empty(),
        blocking,
    }
}

/// Those waiting for permits that leave no room for one more: the smallest limit among them and mine counts.
fn beyond_room(
    record: &LockRecord,
    mine: Mode,
    ahead: &[&Waiter],
    others: usize,
) -> impl Iterator<Item = usize> {
    let is_permit = |waiter: &&Waiter| waiter.mode.same_kind(mine);
    let permits: Vec<usize> = (0..ahead.len())
        .filter(|index| ahead.get(*index).is_some_and(is_permit))
        .collect();
    let limits = ahead.iter().copied().filter(is_permit);
    let limits = limits.map(|waiter| waiter.mode.capacity());
    let limit = limits.min().unwrap_or(usize::MAX).min(mine.capacity());
    let held = if record.mode.same_kind(mine) {
        others
    } else {
        0
    };
    let room = limit.saturating_sub(held);
    let beyond = (permits.len() + 1).saturating_sub(room).min(permits.len());
    permits.into_iter().take(beyond)
}

impl Place {
    /// How many must go first.
    pub(super) fn ahead(&self) -> usize {
        self.blocking.len()
    }

    /// How many have a turn before: also those who do not block the request, but somebody who does.
    pub(super) fn turns(&self) -> usize {
        self.blocking
            .last()
            .map_or(0, |last| last.saturating_add(1))
    }

    /// Whether the request may take what nobody's live lease keeps from it.
    pub(super) fn has_turn(&self, request: &AcquireRequest, pass_in: Option<Duration>) -> bool {
        match self.index {
            // Those who may stand beside a newcomer lose nothing by it. If they all had to queue until nobody does, a
            // stream of them would never be rid of a queue again, once there is one.
            None if request.queueing != Queueing::Fair => self.blocking.is_empty(),
            None => self.is_free,
            Some(_) => self.blocking.is_empty() || pass_in == Some(Duration::ZERO),
        }
    }

    /// How long until those who go first have had their `turns`, if nothing is held; `freed`: when it last became free.
    pub(super) fn pass_in(
        &self,
        record: &LockRecord,
        turns: usize,
        freed: Option<Timestamp>,
        time: &ServerTime,
    ) -> Option<Duration> {
        if !record.holders.is_empty() || self.index.is_none() {
            return None;
        }
        let waiting_since = self.blocked_by(record).map(|waiter| waiter.enqueued_at);
        // One who came after it became free had no time before.
        let since = freed.into_iter().chain(waiting_since).max()?;
        let turns = u32::try_from(turns).unwrap_or(u32::MAX);
        let over = since.saturating_add(time.claim().saturating_mul(turns));
        Some(over.saturating_since(time.earliest))
    }

    fn blocked_by<'a>(&'a self, record: &'a LockRecord) -> impl Iterator<Item = &'a Waiter> {
        let indices = self.blocking.iter();
        indices.filter_map(|index| record.queue.get(*index))
    }

    /// Takes the request, and those whom it passes, out of the queue.
    pub(super) fn leave(&self, record: &mut LockRecord, request: &AcquireRequest) {
        if self.index.is_none() {
            return;
        }
        let passed: Vec<_> = self
            .blocked_by(record)
            .map(|waiter| waiter.claimant.clone())
            .collect();
        record.queue.retain(|waiter| {
            waiter.claimant.owner != request.owner && !passed.contains(&waiter.claimant)
        });
    }

    /// Whether a request that was refused queues.
    pub(super) fn queues(&self, record: &LockRecord, request: &AcquireRequest) -> bool {
        let is_in_the_way = !record.holders.is_empty()
            && record.mode != Mode::Exclusive
            && !record.mode.same_kind(request.mode);
        match request.queueing {
            Queueing::Never => false,
            Queueing::Fair => true,
            Queueing::WhenNeeded => !self.is_free || is_in_the_way,
        }
    }
}

/// A newer acquisition of the same owner stands where this one stood in the queue.
pub(super) fn is_replaced(seen: &LockRecord, request: &AcquireRequest) -> bool {
    if !request.queued || seen.waiter(&request.id).is_some() {
        return false;
    }
    let waits = |waiter: &Waiter| waiter.claimant.owner == request.owner;
    seen.queue.iter().any(waits)
        || seen
            .holders
            .iter()
            .any(|holder| holder.owner() == Some(&request.owner))
}

/// What a place in the queue makes of the record.
pub(super) enum Joined {
    /// It stands there, and lives long enough.
    Already,
    /// By writing this.
    Write(Box<LockRecord>),
    /// There is no place left.
    Full,
}

/// Joins the queue, or refreshes what stands there. `base` has every expiry cut down to what is plausible, and
/// `is_changed` tells whether that differs from the record as it is, with its `rev` raised already.
pub(super) fn join(
    base: LockRecord,
    is_changed: bool,
    request: &AcquireRequest,
    time: &ServerTime,
) -> Joined {
    let mut next = base;
    let rev = next.rev.saturating_add(u64::from(!is_changed));
    let mut entry = Waiter::new(
        Claimant {
            owner: request.owner.clone(),
            id: request.id.clone(),
        },
        request.mode,
        time.stamp,
        time.expiry(WAITER_TTL),
        WAITER_TTL,
        request.seq,
    );
    let mine = |waiter: &&mut Waiter| waiter.claimant.owner == request.owner;
    match next.queue.iter_mut().find(mine) {
        Some(standing) if standing.claimant.id == request.id => {
            let is_due = entry.expires_at.saturating_since(standing.expires_at) >= REFRESH;
            if is_due && standing.seq < request.seq {
                // Not a change that others' decisions rest on: `rev` stays, or a crowd would never find it unchanged.
                standing.expires_at = entry.expires_at;
                standing.seq = request.seq;
            } else if !is_changed {
                return Joined::Already;
            }
        }
        Some(standing) => {
            entry.enqueued_at = standing.enqueued_at;
            *standing = entry;
            next.rev = rev;
        }
        None => {
            if next.queue.len() >= MAX_PARTIES {
                next.queue
                    .retain(|waiter| waiter.expires_at > time.earliest);
            }
            if next.queue.len() >= MAX_PARTIES {
                return Joined::Full;
            }
            next.queue.push(entry);
            next.rev = rev;
        }
    }
    Joined::Write(Box::new(next))
}
