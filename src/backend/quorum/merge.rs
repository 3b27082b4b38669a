//! One picture of what several members show.

use std::cmp::Reverse;
use std::time::Duration;

use crate::backend::{Contention, Reason};
use crate::{Holder, LockRecord, Timestamp};

/// The refusal that stands for all: once so many of those that are `missing` to a majority have come free, the first to
/// come free first, there is one. A refusal for good comes last, so that it is told only if it rules a majority out.
pub(super) fn contention(mut refusals: Vec<Contention>, missing: usize) -> Option<Contention> {
    let ends = |refusal: &Contention| matches!(refusal.reason, Reason::Closed | Reason::Replaced);
    refusals.sort_by_key(|refusal| (ends(refusal), refusal.free_in));
    let decisive = missing
        .checked_sub(1)?
        .min(refusals.len().saturating_sub(1));
    let mut told = refusals.into_iter().nth(decisive)?;
    // Members come free one by one: never zero, which would be a busy wait.
    told.free_in = told.free_in.max(Duration::from_millis(1));
    Some(told)
}

/// The record of most members, out of those that answered: that of the greatest token, with the holders that stand, or may
/// stand for all that is known, on a majority.
pub(super) fn record(
    answers: &[Option<LockRecord>],
    members: usize,
    majority: usize,
) -> Option<LockRecord> {
    let records: Vec<_> = answers.iter().flatten().collect();
    let newest = records
        .iter()
        .enumerate()
        .max_by_key(|(number, record)| (record.token, record.rev, Reverse(*number)));
    let mut merged = (*newest?.1).clone();
    merged.rev = records.iter().map(|record| record.rev).max()?;
    let unknown = members - answers.len();
    let mut holders: Vec<Holder> = Vec::new();
    for holder in records.iter().flat_map(|record| &record.holders) {
        if holders.iter().any(|known| is_same(known, holder)) {
            continue;
        }
        let standing: Vec<_> = records
            .iter()
            .filter_map(|record| record.holders.iter().find(|other| is_same(other, holder)))
            .collect();
        if standing.len() + unknown >= majority {
            holders.extend(newest_of(&standing));
        }
    }
    holders.sort_by_key(|holder| holder.acquired_at);
    merged.holders = holders;
    Some(merged)
}

/// The rests of minimum holds have no id: those that end within a moment of each other are one.
fn is_same(one: &Holder, other: &Holder) -> bool {
    const MOMENT: Duration = Duration::from_secs(1);
    let apart = |a: Timestamp, b: Timestamp| a.saturating_since(b).max(b.saturating_since(a));
    match (one.id(), other.id()) {
        (None, None) => one.ttl == other.ttl && apart(one.expires_at, other.expires_at) < MOMENT,
        (one, other) => one == other,
    }
}

/// The newest attempt, with the earliest of the expiries that it has.
fn newest_of(standing: &[&Holder]) -> Option<Holder> {
    let seq = standing.iter().map(|holder| holder.seq).max()?;
    let newest = standing.iter().filter(|holder| holder.seq == seq);
    newest
        .min_by_key(|holder| holder.expires_at)
        .map(|holder| (*holder).clone())
}

#[cfg(test)]
mod tests;
