//! Renewing, releasing and leaving the queue.

use doclock::rules::{self, Released, Renewed};
use doclock::{
    ErrorKind, Key, LockRecord, ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest,
};

use super::{Case, Database, Failure, disagreement, failure, worth};

pub(in super::super) async fn renew<D: Database>(
    database: &D,
    key: &Key,
    seen: Option<LockRecord>,
    mut request: RenewRequest,
) -> Result<&'static str, Failure> {
    request.key = key.clone();
    let case = Case::plant(database, key, seen).await?;
    let outcome = match database.backend().renew(&request).await {
        Err(error) if error.kind() != ErrorKind::Unavailable => {
            return Err(failure("renew failed", error));
        }
        outcome => outcome.ok(),
    };
    let after = case.look().await?;

    let standing = case.seen.as_ref().and_then(|seen| seen.holder(&request.id));
    let holder = after
        .record
        .as_ref()
        .and_then(|record| record.holder(&request.id));
    let stamp = match (standing, holder) {
        (_, Some(holder)) if request.restamp && holder.seq == request.seq => holder.acquired_at,
        (Some(before), Some(holder)) if holder.expires_at != before.expires_at => {
            let pad = database.time(case.started, true).pad;
            holder
                .expires_at
                .saturating_sub(holder.ttl.as_duration() + pad)
        }
        _ => case.started,
    };
    match (
        rules::renew(case.seen.as_ref(), &request, &database.time(stamp, true)),
        outcome,
    ) {
        (Renewed::Write(next), Some(RenewOutcome::Renewed(validity))) => {
            case.sane(stamp, &after)?;
            let mine = next.holder(&request.id).unwrap();
            case.fresh(
                &validity,
                mine,
                request.ttl.as_duration().saturating_sub(request.margin),
            )?;
            let raise = request.raise_token.filter(|raise| *raise > request.token);
            let seen = case.seen.as_ref().unwrap();
            let plain = standing.is_some_and(|holder| {
                let as_asked = holder.ttl <= request.ttl && holder.owner() == Some(&request.owner);
                let as_seen = seen.token < raise.unwrap_or(u64::MAX) && holder.seq <= request.seq;
                (!database.looks() || as_asked) && (raise.is_none() || as_seen)
            });
            let by_rules = if database.looks() { 2 } else { 3 };
            after.cost(if plain { 1 } else { by_rules })?;
            let raised = next.token > seen.token;
            case.stored(&after, *next)?;
            Ok(if raised { "raised" } else { "renewed" })
        }
        (Renewed::Passed, None) => {
            case.unchanged(&after)?;
            Ok("passed")
        }
        (Renewed::Newer { .. }, Some(RenewOutcome::Renewed(validity))) => {
            worth(&validity, standing.unwrap())?;
            case.unchanged(&after)?;
            Ok("newer")
        }
        (Renewed::Lost, Some(RenewOutcome::Lost)) => {
            case.unchanged(&after)?;
            Ok("lost")
        }
        (expected, found) => Err(disagreement(&expected, &found)),
    }
}

pub(in super::super) async fn release<D: Database>(
    database: &D,
    key: &Key,
    seen: Option<LockRecord>,
    mut request: ReleaseRequest,
) -> Result<&'static str, Failure> {
    request.key = key.clone();
    let case = Case::plant(database, key, seen).await?;
    let outcome = database.backend().release(&request).await;
    let outcome = outcome.map_err(|error| failure("release failed", error))?;
    let after = case.look().await?;

    let standing = case.seen.as_ref().and_then(|seen| seen.holder(&request.id));
    let freed = after.record.as_ref().and_then(|record| record.free_at);
    let stamp = freed.filter(|_| standing.is_some()).unwrap_or(case.started);
    match (
        rules::release(case.seen.as_ref(), &request, &database.time(stamp, true)),
        outcome,
    ) {
        (Released::Write(next), ReleaseOutcome::Released) => {
            case.sane(stamp, &after)?;
            after.cost(database.release_cost(case.seen.as_ref(), &request))?;
            let lingers = next
                .holders
                .iter()
                .any(|holder| holder.acquired_at == stamp);
            case.stored(&after, *next)?;
            Ok(match standing {
                None => "left the queue",
                Some(_) if request.attempt.is_some() => "given back",
                Some(_) if lingers => "lingers",
                Some(_) => "released",
            })
        }
        (Released::Already, ReleaseOutcome::Released) => {
            case.unchanged(&after)?;
            Ok("already")
        }
        (Released::NotHeld, ReleaseOutcome::NotHeld) => {
            case.unchanged(&after)?;
            Ok("not held")
        }
        (expected, found) => Err(disagreement(&expected, &found)),
    }
}
