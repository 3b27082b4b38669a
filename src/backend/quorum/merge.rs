//! One picture of what several members show.

use std::cmp::Reverse;
use std::time::Duration;

use crate::backend::{Contention, Reason};
use crate::{Holder, LockRecord, Mode, Timestamp};

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

/// The record of most members, out of those that answered, with the holders that stand, or may stand for all that is known,
/// on a majority. Its token is the greatest; one of an attempt that failed may be greater than its holder's.
pub(super) fn record(
    answers: &[Option<LockRecord>],
    members: usize,
    majority: usize,
) -> Option<LockRecord> {
    let records: Vec<_> = answers.iter().flatten().collect();
    let unknown = members - answers.len();
    let mut holders: Vec<Holder> = Vec::new();
    for holder in records.iter().flat_map(|record| &record.holders) {
        if holders.iter().any(|known| is_same(known, holder)) {
            continue;
        }
        let standing = places(&records, holder);
        if standing.len() + unknown >= majority {
            holders.extend(newest_of(&standing));
        }
    }
    holders.sort_by_key(|holder| holder.acquired_at);
    let homes = holders.first().map(|holder| places(&records, holder));
    let homes = homes.map(|homes| homes.into_iter().map(|(record, _)| record).collect());
    let newest = newest(&homes.unwrap_or_else(|| records.clone()))?;
    Some(LockRecord {
        token: records.iter().map(|record| record.token).max()?,
        rev: records.iter().map(|record| record.rev).max()?,
        holders,
        ..newest.clone()
    })
}

/// Of records that are alike, that of the first member.
fn newest<'a>(records: &[&'a LockRecord]) -> Option<&'a LockRecord> {
    let numbered = records.iter().enumerate();
    let newest =
        numbered.max_by_key(|(number, record)| (record.token, record.rev, Reverse(*number)));
    newest.map(|(_, record)| *record)
}

/// Where it holds, and as whom.
fn places<'a>(records: &[&'a LockRecord], holder: &Holder) -> Vec<(&'a LockRecord, &'a Holder)> {
    let place = |record: &&'a LockRecord| {
        let mut holders = record.holders.iter();
        let found = holders.find(|other| is_same(other, holder))?;
        Some((*record, found))
    };
    records.iter().filter_map(place).collect()
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

/// The newest attempt, with the earliest of the expiries that it has, and the token that most members know.
fn newest_of(standing: &[(&LockRecord, &Holder)]) -> Option<Holder> {
    let holders = standing.iter().map(|(_, holder)| *holder);
    let seq = holders.clone().map(|holder| holder.seq).max()?;
    let newest = holders.filter(|holder| holder.seq == seq);
    let newest = newest.min_by_key(|holder| holder.expires_at)?;
    // One that granted late has a token of its own.
    let tokens = standing.iter().filter_map(|(record, holder)| {
        let alone = (record.mode == Mode::Exclusive).then_some(record.token);
        holder.token.or(alone)
    });
    let tokens: Vec<u64> = tokens.collect();
    let share = |token: &u64| tokens.iter().filter(|other| *other == token).count();
    Some(Holder {
        token: tokens
            .iter()
            .copied()
            .max_by_key(|token| (share(token), *token)),
        ..newest.clone()
    })
}

#[cfg(test)]
mod tests;
