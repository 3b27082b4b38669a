//! Acquiring and queueing.

use std::time::Duration;

use doclock::rules::{self, ServerTime, Verdict};
use doclock::{
    AcquireOutcome, AcquireRequest, Contention, Grant, Holder, Key, LockRecord, Mode, Occupant,
    Reason, Timestamp, WAITER_TTL,
};

use super::super::rests_on_the_record;
use super::{After, Case, Database, Failure, TOLERANCE, disagreement, failure, same, worth};

pub(in super::super) async fn acquire<D: Database>(
    database: &D,
    key: &Key,
    seen: Option<LockRecord>,
    mut request: AcquireRequest,
) -> Result<&'static str, Failure> {
    request.key = key.clone();
    let case = Case::plant(database, key, seen).await?;
    let outcome = database.backend().acquire(&request).await;
    let outcome = outcome.map_err(|error| failure("acquire failed", error))?;
    let after = case.look().await?;
    let seen = case.seen.as_ref();

    let stamp = stamp(&case, &after, &request);
    let time = database.time(stamp, seen.is_some());
    let looks = usize::from(request.waiting && database.looks());
    // Who joins and is granted by what it then sees decides twice.
    let first = after
        .record
        .as_ref()
        .and_then(|record| mended(&case, record));
    let first = database.time(first.unwrap_or(stamp), seen.is_some());
    let admitted = rules::admit(seen, &request, &first);
    let evicts = match (seen, &admitted) {
        (Some(seen), Verdict::Granted(next)) => next.holders.len() <= seen.holders.len(),
        _ => false,
    };
    let at_once = without_eviction(&case, &request, &time);
    let plain = matches!(at_once, Verdict::Granted(_))
        && database.is_plain(seen, &request, case.started)
        && !(looks > 0 && evicts);
    let hands = database.hands_over(seen, &request, case.started);
    let (queued, expected) = if hands {
        (None, beside_the_dead(&case, admitted))
    } else if plain {
        (None, at_once)
    } else {
        queue(admitted, &request, &time)
    };
    let is_late = rests_on_the_record(&request) && database.creates_late();
    // That a lease is gone with its record is looked at twice.
    let is_gone = request.replaces.is_some();
    let created = usize::from(seen.is_none() && (looks > 0 || is_late || is_gone));

    match (expected, outcome) {
        (Verdict::Granted(next), AcquireOutcome::Granted(grant)) => {
            case.sane(stamp, &after)?;
            same("another token", &grant.token, &next.token)?;
            let slot = request.slot.and(next.slot_started);
            same("another slot", &grant.slot, &slot)?;
            let mine = next.holder(&request.id).unwrap();
            case.fresh(
                &grant.validity,
                mine,
                request.ttl.as_duration().saturating_sub(request.margin),
            )?;
            let took_turn = seen.is_some_and(|seen| next.queue.len() < seen.queue.len());
            let was_queued = queued.is_some();
            case.stored(&after, *next)?;
            if hands {
                after.cost(1)?;
                return Ok("handed on");
            }
            if plain {
                after.cost(1 + looks)?;
                return Ok(if took_turn {
                    "plain turn"
                } else {
                    "plain grant"
                });
            }
            after.cost(2 + created + usize::from(was_queued))?;
            Ok(match (was_queued, took_turn) {
                (true, _) => "grant after joining",
                (_, true) => "turn by the rules",
                _ => "grant by the rules",
            })
        }
        (Verdict::Existing(holder), AcquireOutcome::Granted(grant)) => {
            recognised(&case, &after, &request, &holder, &grant)?;
            Ok("existing")
        }
        (Verdict::Queued { contention, .. }, AcquireOutcome::Queued(found)) => {
            contended(&contention, &found)?;
            let Some(next) = queued else {
                case.unchanged(&after)?;
                after.cost(1)?;
                return Ok("stands in the queue");
            };
            case.sane(stamp, &after)?;
            case.stored(&after, next)?;
            let plain = database.is_plain_refresh(seen, &request, case.started);
            after.cost(if plain { 1 } else { 2 })?;
            Ok(joined(&case, &request))
        }
        (Verdict::Held { contention, mended }, AcquireOutcome::Held(found)) => {
            contended(&contention, &found)?;
            let again = usize::from(database.confirms(&request, found.reason));
            let Some(mended) = mended else {
                case.unchanged(&after)?;
                after.cost(1 + again + created)?;
                return Ok(match found.reason {
                    Reason::Busy => "held",
                    Reason::Queue => "behind a queue",
                    Reason::Border => "too early",
                    _ => "closed or replaced",
                });
            };
            case.sane(stamp, &after)?;
            case.stored(&after, *mended)?;
            after.cost(2 + again)?;
            Ok("mended")
        }
        (Verdict::Skipped(state), AcquireOutcome::Skipped(found)) => {
            same("another state", &found, &state)?;
            case.unchanged(&after)?;
            // What a look shows ends nothing.
            let again = usize::from(looks > 0 && !rests_on_the_record(&request));
            after.cost(1 + again)?;
            // All but the slot allows it.
            let plain = looks == 0 && database.is_plain(seen, &request, case.started);
            Ok(if plain {
                "skipped by the server"
            } else {
                "skipped"
            })
        }
        (expected, found) => Err(disagreement(&expected, &found)),
    }
}

/// Who has joined the queue is looked at again: it may be its turn. What it wrote to join, and the last verdict.
fn queue(
    mut verdict: Verdict,
    request: &AcquireRequest,
    time: &ServerTime,
) -> (Option<LockRecord>, Verdict) {
    let mut written = None;
    while let Verdict::Queued {
        next: Some(next), ..
    } = verdict
    {
        verdict = rules::admit(Some(&next), request, time);
        written = Some(*next);
    }
    (written, verdict)
}

fn joined<D: Database>(case: &Case<'_, D>, request: &AcquireRequest) -> &'static str {
    let queue = case.seen.as_ref().map_or(&[][..], |seen| &seen.queue);
    let mine = queue
        .iter()
        .find(|waiter| waiter.claimant.owner == request.owner);
    match mine {
        None => "joined",
        Some(mine) if mine.claimant.id == request.id => "refreshed",
        Some(_) => "took its own place over",
    }
}

/// What is granted at once needs nobody evicted on suspicion; and some do not evict at all then.
fn without_eviction<D: Database>(
    case: &Case<'_, D>,
    request: &AcquireRequest,
    time: &ServerTime,
) -> Verdict {
    let mut request = request.clone();
    request.watched.clear();
    let verdict = rules::admit(case.seen.as_ref(), &request, time);
    match (verdict, &case.seen) {
        (Verdict::Granted(mut next), Some(seen)) if !case.database.plain_evicts() => {
            let mine = next.holder(&request.id).unwrap().clone();
            next.holders.clone_from(&seen.holders);
            next.holders.push(mine);
            Verdict::Granted(next)
        }
        (verdict, _) => verdict,
    }
}

/// What is handed on by a server that sees nobody in the queue leaves the dead there.
fn beside_the_dead<D: Database>(case: &Case<'_, D>, mut verdict: Verdict) -> Verdict {
    if let (Verdict::Granted(next), Some(seen)) = (&mut verdict, &case.seen)
        && !case.database.plain_evicts()
    {
        next.queue.clone_from(&seen.queue);
    }
    verdict
}

/// The time that the backend decided by, from what it wrote; now, if it wrote nothing.
fn stamp<D: Database>(
    case: &Case<'_, D>,
    after: &After<D::Raw>,
    request: &AcquireRequest,
) -> Timestamp {
    let Some(record) = &after.record else {
        return case.started;
    };
    let seen = case.seen.as_ref();
    let stood = seen.and_then(|seen| seen.holder(&request.id));
    if let (Some(mine), None) = (record.holder(&request.id), stood) {
        return mine.acquired_at;
    }
    let time = case.database.time(case.started, true);
    let stood = seen.and_then(|seen| seen.waiter(&request.id));
    if let Some(mine) = record.waiter(&request.id)
        && stood.is_none_or(|stood| stood.seq != mine.seq)
    {
        return mine
            .expires_at
            .saturating_sub(WAITER_TTL.as_duration() + time.pad);
    }
    mended(case, record).unwrap_or(case.started)
}

/// The time that it decided by when it cut an expiry down, which then is the latest time, a ttl and the pad.
fn mended<D: Database>(case: &Case<'_, D>, record: &LockRecord) -> Option<Timestamp> {
    let time = case.database.time(case.started, true);
    let ahead = time.latest.saturating_since(case.started) + time.pad;
    let ends = |record: &LockRecord| {
        let holders = record.holders.iter().map(|holder| {
            let who = (true, holder.claimant.clone(), holder.acquired_at);
            (who, holder.expires_at, holder.ttl)
        });
        let waiters = record.queue.iter().map(|waiter| {
            let who = (false, Some(waiter.claimant.clone()), waiter.enqueued_at);
            (who, waiter.expires_at, waiter.ttl)
        });
        holders.chain(waiters).collect::<Vec<_>>()
    };
    let seen = ends(case.seen.as_ref()?);
    ends(record).into_iter().find_map(|(who, expires_at, ttl)| {
        let before = seen.iter().find(|(other, ..)| *other == who)?.1;
        let cut = expires_at < before;
        cut.then(|| expires_at.saturating_sub(ttl.as_duration() + ahead))
    })
}

fn recognised<D: Database>(
    case: &Case<'_, D>,
    after: &After<D::Raw>,
    request: &AcquireRequest,
    holder: &Holder,
    grant: &Grant,
) -> Result<(), Failure> {
    worth(&grant.validity, holder)?;
    let mut record = case.seen.clone().unwrap();
    if request.mode != Mode::Exclusive && case.database.retokens() {
        record.token += 1;
        record.rev += 1;
        same(
            "another token of an existing grant",
            &grant.token,
            &record.token,
        )?;
        return case.stored(after, record);
    }
    let token = holder.token.unwrap_or(record.token);
    same("another token of an existing grant", &grant.token, &token)?;
    case.unchanged(after)
}

fn contended(expected: &Contention, found: &Contention) -> Result<(), Failure> {
    same("another reason", &found.reason, &expected.reason)?;
    same("others ahead", &found.ahead, &expected.ahead)?;
    let who = |contention: &Contention| -> Vec<Occupant> {
        let occupants = contention.occupants.iter().cloned();
        occupants
            .map(|occupant| Occupant {
                expires_in: Duration::ZERO,
                ..occupant
            })
            .collect()
    };
    same("other occupants", &who(found), &who(expected))?;
    let times = |contention: &Contention| {
        let occupants = contention
            .occupants
            .iter()
            .map(|occupant| occupant.expires_in);
        occupants.chain([contention.free_in]).collect::<Vec<_>>()
    };
    let near = times(found)
        .into_iter()
        .zip(times(expected))
        .all(|(found, expected)| found.abs_diff(expected) < TOLERANCE);
    if !near {
        return Err(failure(
            "other times",
            format!("{found:?}\ninstead of {expected:?}"),
        ));
    }
    Ok(())
}
