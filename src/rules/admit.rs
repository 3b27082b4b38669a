use std::time::Duration;

use super::ServerTime;
use crate::backend::{AcquireRequest, Contention, Occupant, Reason, Watched};
use crate::record::RETENTION;
use crate::{Claimant, Holder, LockRecord, Mode};

/// What [`admit`] decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request is granted, by writing this record in place of the one that was seen.
    Granted(Box<LockRecord>),
    /// This very acquisition holds already: an earlier attempt was granted and its answer got lost.
    /// Nothing is written.
    Existing(Holder),
    /// Others are in the way.
    Held {
        /// Who, and until when.
        contention: Contention,
        /// The record with implausibly late expiries cut down, if there are any: to be written in place of
        /// the one that was seen.
        mended: Option<Box<LockRecord>>,
    },
}

/// Decides whether `request` may hold now, given the record as it stands and what is known of the time.
///
/// The only place where the rules of admission live. A grant evicts what has expired in the same write.
#[must_use]
pub fn admit(record: Option<&LockRecord>, request: &AcquireRequest, time: &ServerTime) -> Verdict {
    let Some(seen) = record else {
        return grant(LockRecord::new(request.mode), request, time);
    };
    if let Some(standing) = seen.holder(&request.id) {
        return if seen.mode.same_kind(request.mode) {
            Verdict::Existing(standing.clone())
        } else {
            held(seen, None, Reason::Busy, request, time)
        };
    }
    if seen.closed.as_ref() == Some(&request.id) {
        return held(seen, None, closed_or_replaced(seen, request), request, time);
    }

    let (mut next, clamped) = clamp(seen, time);
    next.holders.retain(|holder| is_live(holder, request, time));
    next.queue
        .retain(|waiter| waiter.expires_at > time.earliest);

    let is_mine = |holder: &Holder| holder.owner() == Some(&request.owner);
    let takes_over = next.holders.iter().any(is_mine);
    let others = next
        .holders
        .iter()
        .filter(|holder| !is_mine(holder))
        .count();

    if !next.queue.is_empty() && !takes_over {
        return held(seen, clamped, Reason::Queue, request, time);
    }
    if others > 0 && !(shares(next.mode, request.mode) && others < request.mode.capacity()) {
        return held(seen, clamped, Reason::Busy, request, time);
    }
    grant(next, request, time)
}

/// Two of these may stand side by side.
fn shares(held: Mode, wanted: Mode) -> bool {
    held.same_kind(wanted) && wanted != Mode::Exclusive
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
    for holder in &mut record.holders {
        let bound = time
            .latest
            .saturating_add(holder.ttl.as_duration())
            .saturating_add(time.pad);
        if holder.expires_at > bound {
            holder.expires_at = bound;
            changed = true;
        }
    }
    let mended = changed.then(|| {
        let mut mended = record.clone();
        mended.rev = mended.rev.saturating_add(1);
        Box::new(mended)
    });
    (record, mended)
}

fn grant(mut next: LockRecord, request: &AcquireRequest, time: &ServerTime) -> Verdict {
    let is_mine = |holder: &Holder| holder.owner() == Some(&request.owner);
    let replaced = next.holders.iter().position(is_mine);
    let replaced = replaced.map(|index| next.holders.remove(index));

    next.rev = next.rev.saturating_add(1);
    next.token = next.token.saturating_add(1).max(time.token_floor);
    next.mode = request.mode;
    let mut ttl = request.ttl;
    let mut expires_at = time.expiry(ttl);
    if let Some(mut old) = replaced {
        // The ttl with it, or the next one to look would cut the later expiry down as implausible.
        ttl = ttl.max(old.ttl);
        expires_at = expires_at.max(old.expires_at);
        next.closed = old.claimant.take().map(|claimant| claimant.id);
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
    let purge_at = expires_at.saturating_add(RETENTION);
    next.purge_at = Some(next.pinned.unwrap_or(purge_at));
    Verdict::Granted(Box::new(next))
}

fn held(
    seen: &LockRecord,
    mended: Option<Box<LockRecord>>,
    reason: Reason,
    request: &AcquireRequest,
    time: &ServerTime,
) -> Verdict {
    let shown = mended.as_deref().unwrap_or(seen);
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
    let free_in = free_in(shown.mode, request.mode, &occupants);
    Verdict::Held {
        contention: Contention::new(reason, occupants, free_in),
        mended,
    }
}

/// When the holders in the way will have expired: the first of them where one place is enough.
fn free_in(held: Mode, wanted: Mode, occupants: &[Occupant]) -> Duration {
    let left = occupants.iter().map(|occupant| occupant.expires_in);
    let when = if shares(held, wanted) {
        left.min()
    } else {
        left.max()
    };
    when.unwrap_or(Duration::ZERO)
}
