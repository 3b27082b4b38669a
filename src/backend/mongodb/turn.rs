//! `rules::admit` for one who queues, as update pipelines that commute with what others do meanwhile.

use std::time::Duration;

use mongodb::bson::{Bson, Document, bson, doc};

use super::pipeline::{
    array, bounds, granted, live, millis, not_settled, parties, replace_with, room,
};
use super::shape::{self, all};
use super::slot::Slot;
use super::{record, write};
use crate::backend::store::Seen;
use crate::backend::{AcquireRequest, Queueing};
use crate::record::{MAX_PARTIES, WAITER_TTL};
use crate::rules::REFRESH;
use crate::{Holder, LockRecord, Mode, Result, Waiter};

/// Grants a turn that nobody must go before, or refreshes the place in the queue.
///
/// Left alone are: a turn of one who passes others because they did not claim theirs, and what
/// [`newcomer`](super::pipeline::newcomer) leaves alone, the queue aside.
pub(super) fn turn(request: &AcquireRequest, skew: Duration) -> Result<Vec<Document>> {
    let slot = Slot::of(request, skew)?;
    let absent = write::absent(&request.key);
    // What a poll tells in most cases comes before all that a write must pass.
    let mut tests = vec![bson!({ "$or": ["$$turn", due(request)?] })];
    tests.extend(not_settled());
    tests.push(bson!({ "$eq": [{ "$ifNull": ["$$mine.id", "$$id"] }, "$$id"] }));
    tests.extend(shape::plausible_whole());
    let may = bson!({ "$or": [&absent, all(tests)] });
    let may = Slot::guard(slot.as_ref(), may);
    let others = queue_where(bson!({ "$ne": ["$$w.owner", "$$owner"] }), "$$waiting");
    let granted = granted(request, others, slot.as_ref())?;
    let written = bson!({ "$cond": ["$$turn", granted, refreshed(request)?] });
    let decision = bson!({ "$cond": [may, written, "$$ROOT"] });

    let mut parties = parties(request);
    parties.insert("queue", array("$queue"));
    parties.extend(bounds(skew)?);
    parties.extend(slot.map(|slot| ("slot".to_owned(), slot.start)));
    // Mine as well if it is late: nobody took the place, and who comes back keeps it.
    let waits = bson!({ "$or": [
        { "$gt": ["$$w.expiresAt", "$$earliest"] },
        { "$eq": ["$$w.owner", "$$owner"] },
    ] });
    let counted = doc! { "live": live(), "waiting": queue_where(waits, "$$queue") };
    let place = doc! { "place": { "$indexOfArray": ["$$waiting.owner", "$$owner"] } };
    let around = doc! {
        "mine": { "$first": queue_where(bson!({ "$eq": ["$$w.owner", "$$owner"] }), "$$waiting") },
        "ahead": { "$cond": [{ "$lt": ["$$place", 0] }, "$$waiting", { "$slice": ["$$waiting", "$$place"] }] },
    };
    let turn = all(vec![room(request.mode), is_first(request)]);
    let turn = doc! { "turn": { "$or": [absent, turn] } };
    let decision = [turn, around, place, counted].into_iter().fold(
        decision,
        |decision, vars| bson!({ "$let": { "vars": vars, "in": decision } }),
    );
    Ok(replace_with(parties, decision))
}

/// Whether `next` differs from the record by a grant, the eviction of the dead, and this place in the queue only: then
/// [`turn`] decides the same.
pub(super) fn is_turn(request: &AcquireRequest, seen: &Seen, next: &LockRecord) -> bool {
    let Some(record) = &seen.record else {
        return false;
    };
    let (earliest, latest) = (seen.time.earliest, seen.time.latest);
    let is_mine = |holder: &Holder| holder.owner() == Some(&request.owner);
    if record.holders.iter().any(is_mine) {
        return false;
    }
    let live = record.holders.iter();
    let live = live.filter(|holder| holder.expires_at > earliest);
    let others = next.holders.iter().filter(|holder| !is_mine(holder));
    let (mine, waiting): (Vec<_>, Vec<_>) = record
        .queue
        .iter()
        .partition(|waiter| waiter.claimant.owner == request.owner);
    let is_ordinary = |waiter: &Waiter| {
        let bound = latest.saturating_add(waiter.ttl.as_duration());
        waiter.claimant.id == request.id && waiter.expires_at <= bound
    };
    let waiting = waiting.into_iter();
    let waiting = waiting.filter(|waiter| waiter.expires_at > earliest);
    live.eq(others) && mine.into_iter().all(is_ordinary) && waiting.eq(&next.queue)
}

/// Whether `next` differs from the record by a new place at the end of the queue only: then [`enqueue`] does the same.
pub(super) fn is_arrival(seen: &Seen, next: &LockRecord) -> bool {
    let (Some(seen), Some(last)) = (&seen.record, next.queue.last()) else {
        return false;
    };
    let mut arrived = seen.clone();
    arrived.rev = arrived.rev.saturating_add(1);
    arrived.queue.push(last.clone());
    arrived == *next
}

pub(super) fn queue_where(condition: Bson, queue: &str) -> Bson {
    bson!({ "$filter": { "input": queue, "as": "w", "cond": condition } })
}

/// Whether none of those ahead must go first. It fails on no document, whatever is in the queue.
fn is_first(request: &AcquireRequest) -> Bson {
    let mode = request.mode;
    let nobody = bson!({ "$eq": ["$$ahead", []] });
    if mode == Mode::Exclusive {
        return nobody;
    }
    let mut beside = vec![bson!({ "$setIsSubset": ["$$ahead.mode", [mode.name()]] })];
    if request.queueing == Queueing::Fair {
        // In order of arrival, newcomers go behind all.
        beside.push(bson!({ "$gte": ["$$place", 0] }));
    }
    if let Mode::Permit { limit } = mode {
        // All of them and I find room, by the smallest of the limits.
        let held =
            bson!({ "$cond": [{ "$eq": ["$mode", mode.name()] }, { "$size": "$$live" }, 0] });
        let limits = bson!({ "$concatArrays": ["$$ahead.limit", [i64::from(limit)]] });
        beside.push(bson!({ "$lt": [
            { "$add": [{ "$size": "$$ahead" }, held] },
            { "$min": limits },
        ] }));
    }
    bson!({ "$or": [nobody, all(beside)] })
}

/// Whether my place is old enough to be refreshed.
fn due(request: &AcquireRequest) -> Result<Bson> {
    if request.queueing == Queueing::Never {
        return Ok(false.into());
    }
    let left = millis(WAITER_TTL.as_duration().saturating_sub(REFRESH))?;
    Ok(all(vec![
        bson!({ "$lte": ["$$mine.expiresAt", { "$add": ["$$NOW", left] }] }),
        bson!({ "$lt": ["$$mine.seq", record::signed("seq", request.seq)?] }),
        bson!({ "$gte": ["$$place", 0] }),
    ]))
}

/// The document with my place refreshed. `rev` stays, or a crowd would never find it unchanged.
fn refreshed(request: &AcquireRequest) -> Result<Bson> {
    let fresh = doc! { "expiresAt": expiry(), "seq": record::signed("seq", request.seq)? };
    let queue = bson!({ "$map": { "input": "$queue", "as": "w", "in": { "$cond": [
        { "$eq": ["$$w.id", "$$id"] },
        { "$mergeObjects": ["$$w", fresh] },
        "$$w",
    ] } } });
    Ok(bson!({ "$mergeObjects": ["$$ROOT", { "queue": queue }] }))
}

/// Puts a newcomer behind all others, unless there is a reason to ask the rules again.
pub(super) fn enqueue(request: &AcquireRequest) -> Result<Vec<Document>> {
    let room = i32::try_from(MAX_PARTIES).unwrap_or(i32::MAX);
    let mut tests = vec![
        bson!({ "$lt": [{ "$size": "$$queue" }, room] }),
        bson!({ "$ne": ["$closed", "$$id"] }),
        bson!({ "$not": [{ "$in": ["$$id", "$$all.id"] }] }),
        bson!({ "$not": [{ "$in": ["$$owner", "$$queue.owner"] }] }),
    ];
    tests.extend(shape::well_formed());
    // In the order of fields that a written record has.
    let entry = doc! {
        "owner": "$$owner",
        "id": "$$id",
        "mode": request.mode.name(),
        "limit": i64::from(request.mode.limit()),
        "enqueuedAt": "$$NOW",
        "expiresAt": expiry(),
        "ttlMs": WAITER_TTL.as_millis(),
        "seq": record::signed("seq", request.seq)?,
    };
    let changed = bson!({ "$mergeObjects": ["$$ROOT", {
        "rev": { "$add": ["$rev", 1_i64] },
        "queue": { "$concatArrays": ["$queue", [entry]] },
    }] });
    let mut parties = parties(request);
    parties.insert("queue", array("$queue"));
    Ok(replace_with(
        parties,
        bson!({ "$cond": [all(tests), changed, "$$ROOT"] }),
    ))
}

fn expiry() -> Bson {
    bson!({ "$add": ["$$NOW", WAITER_TTL.as_millis()] })
}
