//! Renewing, releasing and leaving the queue.

use doclock::rules::{self, Released, Renewed};
use doclock::{Key, LockRecord, ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest};

use super::{Case, Database, Failure, disagreement, failure, worth};

pub(in super::super) async fn renew<D: Database>(
    database: &D,
    key: &Key,
    seen: Option<LockRecord>,
    mut request: RenewRequest,
) -> Result<&'static str, Failure> {
    request.key = key.clone();
    let case = Case::plant(database, key, seen).await?;
    let outcome = database.backend().renew(&request).await;
    let outcome = outcome.map_err(|error| failure("renew failed", error))?;
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
        (Renewed::Write(next), RenewOutcome::Renewed(validity)) => {
            case.sane(stamp, &after)?;
            let mine = next.holder(&request.id).unwrap();
            case.fresh(
                &validity,
                mine,
                request.ttl.as_duration().saturating_sub(request.margin),
            )?;
            let plain = standing.is_some_and(|holder| {
                let as_asked = holder.ttl <= request.ttl && holder.owner() == Some(&request.owner);
                !database.looks() || as_asked
            });
            after.cost(if plain { 1 } else { 2 })?;
            case.stored(&after, *next)?;
            Ok("renewed")
        }
        (Renewed::Newer { .. }, RenewOutcome::Renewed(validity)) => {
            worth(&validity, standing.unwrap())?;
            case.unchanged(&after)?;
            Ok("newer")
        }
        (Renewed::Lost, RenewOutcome::Lost) => {
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
