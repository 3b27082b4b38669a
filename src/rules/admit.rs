use std::time::Duration;

use super::slot::{self, Judged, PINNED};
use super::turn::{self, Joined};
use super::{ServerTime, sane_floor};
use crate::backend::{AcquireRequest, Contention, Occupant, Queueing, Reason, Slot, Watched};
use crate::record::{Payload, RETENTION};
use crate::time::Timestamp;
use crate::{Claimant, Holder, LockRecord, Mode, Owner, Ttl, Waiter};

/// What [`admit`] decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request is granted, by writing this record in place of the one that was seen.
    Granted(Box<LockRecord>),
    /// This very acquisition holds already: an earlier attempt was granted and its answer got lost.
    /// Nothing is written.
    Existing(Holder),
    /// Others are in the way, and the request stands in the queue.
    Queued {
        /// Who, and how many are ahead.
        contention: Contention,
        /// The record with its new or refreshed entry, to be written in place of the one that was seen. `None`: it
        /// stands there, and lives long enough.
        next: Option<Box<LockRecord>>,
    },
    /// Others are in the way.
    Held {
        /// Who, and until when.
        contention: Contention,
        /// The record with implausibly late expiries cut down, if there are any: to be written in place of
        /// the one that was seen.
        mended: Option<Box<LockRecord>>,
    },
    /// The slot's run has happened already. With the record's state.
    Skipped(Option<Payload>),
}

/// Decides whether `request` may hold now, given the record as it stands and what is known of the time.
///
/// The only place where the rules of admission live. A grant evicts what has expired in the same write.
#[must_use]
pub fn admit(record: Option<&LockRecord>, request: &AcquireRequest, time: &ServerTime) -> Verdict {
    if let Some(refusal) = record.and_then(|seen| settled(seen, request, time)) {
        return refusal;
    }
    let slot = match slot::judge(record, request, time) {
        Judged::NoSlot => None,
        Judged::Run(start) => Some(start),
        Judged::Done => return Verdict::Skipped(record.and_then(|seen| seen.state.clone())),
        Judged::TooEarly(wait) => return too_early(record, request, time, wait),
    };
    let Some(seen) = record else {
        let empty = LockRecord::new(request.mode);
        return if request.replaces.is_some() {
            refusal(&empty, Reason::Replaced, request, time)
        } else {
            grant(empty, request, slot, time)
        };
    };

    let (mut next, mended) = clamp(seen, time);
    next.holders.retain(|holder| is_live(holder, request, time));
    let is_mine = |holder: &&Holder| is_own(holder.owner(), seen.mode, request);
    let live = next.holders.len();
    let others = live - next.holders.iter().filter(is_mine).count();
    let takes_over = others < live;

    // Mine as well if it is late: nobody took the place, and who comes back keeps it.
    let waits = |waiter: &Waiter| {
        waiter.expires_at > time.earliest || waiter.claimant.owner == request.owner
    };
    // The dead count for this: who stands behind one that just expired had no turn before.
    let turns = turn::place(&next, request, others).turns();
    next.queue.retain(waits);
    let place = turn::place(&next, request, others);
    let pass_in = place.pass_in(&next, turns, freed(seen, request, time), time);
    let has_turn = takes_over || place.has_turn(request, pass_in);

    if has_turn && others < capacity(next.mode, request.mode) {
        if takes_over {
            next.queue
                .retain(|waiter| waiter.claimant.owner != request.owner);
        } else {
            place.leave(&mut next, request);
        }
        // An expired one as well: whoever it was granted to may wake up and ask again.
        if let Some(replaced) = seen.holders.iter().find(is_mine) {
            next.closed = replaced.id().cloned();
        }
        return grant(next, request, slot, time);
    }
    let reason = if has_turn {
        Reason::Busy
    } else {
        Reason::Queue
    };
    let mut refusal = contention(mended.as_deref().unwrap_or(seen), reason, request, time);
    refusal.ahead = place.ahead();
    if place.queues(&next, request) {
        let base = mended.as_deref().unwrap_or(seen).clone();
        let joined = match turn::join(base, mended.is_some(), request, time) {
            Joined::Already => Some(None),
            Joined::Write(next) => Some(Some(next)),
            Joined::Full => None,
        };
        if let Some(next) = joined {
            refusal.free_in = refusal.free_in.min(pass_in.unwrap_or(Duration::MAX));
            let contention = refusal;
            return Verdict::Queued { contention, next };
        }
    }
    Verdict::Held {
        contention: refusal,
        mended,
    }
}

/// What needs no look at the others: granted before, or over for good.
fn settled(seen: &LockRecord, request: &AcquireRequest, time: &ServerTime) -> Option<Verdict> {
    let refuse = |reason| refusal(seen, reason, request, time);
    if let Some(standing) = seen.holder(&request.id) {
        return Some(if seen.mode.same_kind(request.mode) {
            Verdict::Existing(standing.clone())
        } else {
            refuse(Reason::Busy)
        });
    }
    if seen.closed.as_ref() == Some(&request.id) {
        return Some(refuse(closed_or_replaced(seen, request)));
    }
    let stands = |replaced| seen.holder(replaced).is_some();
    let is_replaced =
        turn::is_replaced(seen, request) || !request.replaces.as_ref().is_none_or(stands);
    is_replaced.then(|| refuse(Reason::Replaced))
}

fn refusal(
    seen: &LockRecord,
    reason: Reason,
    request: &AcquireRequest,
    time: &ServerTime,
) -> Verdict {
    Verdict::Held {
        contention: contention(seen, reason, request, time),
        mended: None,
    }
}

fn too_early(
    record: Option<&LockRecord>,
    request: &AcquireRequest,
    time: &ServerTime,
    wait: Duration,
) -> Verdict {
    let empty = LockRecord::new(request.mode);
    let mut contention = contention(record.unwrap_or(&empty), Reason::Border, request, time);
    contention.free_in = wait;
    let mended = None;
    Verdict::Held { contention, mended }
}

/// When the lock last became free, if those who are evicted by this decision were the last to hold.
fn freed(seen: &LockRecord, request: &AcquireRequest, time: &ServerTime) -> Option<Timestamp> {
    let dead = seen.holders.iter();
    let dead = dead.filter(|holder| !is_live(holder, request, time));
    dead.map(|holder| holder.expires_at)
        .chain(seen.free_at)
        .max()
}

/// How many of the wanted mode may stand beside those that hold, the wanted one among them.
fn capacity(held: Mode, wanted: Mode) -> usize {
    if held.same_kind(wanted) {
        wanted.capacity()
    } else {
        1
    }
}

/// Whether a lease is the request's own, for it to take the place of. One of another kind is not, unless the request
/// names it: a late request of the owner's former lease would let others in beside its newer one.
fn is_own(owner: Option<&Owner>, held: Mode, request: &AcquireRequest) -> bool {
    let replaceable = held.same_kind(request.mode) || request.replaces.is_some();
    replaceable && owner == Some(&request.owner)
}

/// An id is closed by its release, or by its owner's next acquisition.
fn closed_or_replaced(seen: &LockRecord, request: &AcquireRequest) -> Reason {
    let same_owner = |holder: &Holder| holder.owner() == Some(&request.owner);
    if seen.holders.iter().any(same_owner) {
        Reason::Replaced
    } else {
        Reason::Closed
    }
}

fn is_live(holder: &Holder, request: &AcquireRequest, time: &ServerTime) -> bool {
    holder.expires_at > time.earliest && !was_watched_dead(holder, &request.watched)
}

fn was_watched_dead(holder: &Holder, watched: &[Watched]) -> bool {
    let matches = |seen: &Watched| Some(&seen.id) == holder.id() && seen.seq == holder.seq;
    watched.iter().any(matches)
}

/// No sane writer sets an expiry later than this: `latest`, or a wide interval would cut a fresh lease.
fn clamp(seen: &LockRecord, time: &ServerTime) -> (LockRecord, Option<Box<LockRecord>>) {
    let mut record = seen.clone();
    let mut changed = false;
    let mut cut = |expires_at: &mut Timestamp, ttl: Ttl| {
        let bound = time
            .latest
            .saturating_add(ttl.as_duration())
            .saturating_add(time.pad);
        if *expires_at > bound.saturating_add(time.tolerance) {
            *expires_at = bound;
            changed = true;
        }
    };
    for holder in &mut record.holders {
        cut(&mut holder.expires_at, holder.ttl);
    }
    for waiter in &mut record.queue {
        cut(&mut waiter.expires_at, waiter.ttl);
    }
    let mended = changed.then(|| {
        let mut mended = record.clone();
        mended.rev = mended.rev.saturating_add(1);
        Box::new(mended)
    });
    (record, mended)
}

fn grant(
    mut next: LockRecord,
    request: &AcquireRequest,
    slot: Option<Timestamp>,
    time: &ServerTime,
) -> Verdict {
    let least = least_token(next.token == 0, request, time);
    let is_mine = |holder: &Holder| holder.owner() == Some(&request.owner);
    let replaced = next.holders.iter().position(is_mine);
    let replaced = replaced.map(|index| next.holders.remove(index));

    next.rev = next.rev.saturating_add(1);
    next.token = next.token.saturating_add(1).max(least);
    next.mode = request.mode;
    let mut ttl = request.ttl;
    let mut expires_at = time.expiry(ttl);
    if let Some(old) = replaced {
        // The ttl with it, or the next one to look would cut the later expiry down as implausible. And the whole of
        // that ttl from now on: who recognises this grant later takes its ttl for its validity.
        ttl = ttl.max(old.ttl);
        expires_at = time.expiry(ttl).max(old.expires_at);
    }
    next.holders.push(Holder {
        claimant: Some(Claimant {
            owner: request.owner.clone(),
            id: request.id.clone(),
        }),
        token: Some(next.token),
        acquired_at: time.stamp,
        expires_at,
        ttl,
        seq: request.seq,
        label: request.label.clone(),
        data: request.data.clone(),
    });
    next.slot_started = next.slot_started.max(slot);
    if request.slot.is_some_and(Slot::recurs) {
        next.pinned = Some(next.pinned.unwrap_or(PINNED));
    }
    let purge_at = expires_at.saturating_add(RETENTION);
    next.purge_at = Some(next.pinned.unwrap_or(purge_at));
    Verdict::Granted(Box::new(next))
}

/// The least token of a new grant. One that was asked for stands in for the server's time, or the stores that it is asked
/// of would never agree; not for a first token, or one that was issued before the record was removed could come again.
fn least_token(is_first: bool, request: &AcquireRequest, time: &ServerTime) -> u64 {
    let floor = sane_floor(request.token_floor, time);
    if floor == 0 || is_first {
        floor.max(time.token_floor)
    } else {
        floor
    }
}

fn contention(
    shown: &LockRecord,
    reason: Reason,
    request: &AcquireRequest,
    time: &ServerTime,
) -> Contention {
    let occupants: Vec<_> = shown
        .holders
        .iter()
        .filter(|holder| is_live(holder, request, time))
        .map(|holder| Occupant {
            claimant: holder.claimant.clone(),
            seq: holder.seq,
            ttl: holder.ttl,
            label: holder.label.clone(),
            expires_in: holder.expires_at.saturating_since(time.earliest),
        })
        .collect();
    let free_in = free_in(shown, &occupants, request, time);
    let mut contention = Contention::new(reason, shown.mode, occupants, free_in);
    contention.queue = shown.queue.len();
    contention
}

/// When enough of the others will have expired, and all who queue. Never zero, which would be a busy wait.
fn free_in(
    shown: &LockRecord,
    occupants: &[Occupant],
    request: &AcquireRequest,
    time: &ServerTime,
) -> Duration {
    let is_other = |occupant: &&Occupant| {
        let owner = occupant.claimant.as_ref().map(|claimant| &claimant.owner);
        !is_own(owner, shown.mode, request)
    };
    let others = occupants.iter().filter(is_other);
    let mut ends: Vec<_> = others.map(|occupant| occupant.expires_in).collect();
    ends.sort_unstable();
    let last = ends.len().checked_sub(capacity(shown.mode, request.mode));
    let holders = last.and_then(|last| ends.get(last).copied());
    // Those ahead in the queue are no reason to come later: each of them may give up.
    if matches!(request.queueing, Queueing::Never) {
        let ends = shown.queue.iter().map(|waiter| waiter.expires_at);
        let live = ends.filter(|end| *end > time.earliest).max();
        let waiters = live.map(|end| end.saturating_since(time.earliest));
        return holders.max(waiters).unwrap_or(Duration::MAX);
    }
    holders.unwrap_or(Duration::MAX)
}
