//! The rules on any well-formed record, reachable or not: they never panic, and what they write never breaks a promise.

use super::TRIES;
use super::record::AnyRecord;
use super::request::{AnyRequest, AnyTime};
use crate::record::MAX_PARTIES;
use crate::rules::{Released, Renewed, ServerTime, Verdict, admit, release, renew, sane_floor};
use crate::{AcquireRequest, Holder, LockRecord, Mode, ReleaseRequest, RenewRequest, Waiter};

#[test]
fn what_the_rules_write_keeps_every_promise() {
    bolero::check!()
        .with_type::<(Option<AnyRecord>, AnyRequest, AnyTime)>()
        .with_iterations(TRIES)
        .for_each(|(record, request, time)| {
            let record = record.as_ref().map(AnyRecord::get);
            for_all_three(record.as_ref(), request, &time.get());
        });
}

#[test]
fn no_public_argument_makes_a_rule_panic() {
    bolero::check!()
        .with_type::<(AnyRecord, AnyRequest, AnyTime, (u64, u64, u64))>()
        .with_iterations(TRIES)
        .for_each(|(record, request, time, (rev, token, seq))| {
            let mut record = record.get();
            (record.rev, record.token) = (*rev, *token);
            record
                .holders
                .iter_mut()
                .for_each(|holder| holder.seq = *seq);
            for time in [time.get(), time.anywhere()] {
                let _ = admit(Some(&record), &request.unchecked(), &time);
                let _ = renew(Some(&record), &request.renew(), &time);
                let _ = release(Some(&record), &request.release(), &time);
            }
        });
}

/// What each of the rules writes on this record, checked.
pub(crate) fn for_all_three(
    seen: Option<&LockRecord>,
    request: &AnyRequest,
    time: &ServerTime,
) -> Vec<LockRecord> {
    let written = [
        admitted(seen, &request.acquire(), time),
        renewed(seen, &request.renew(), time),
        released(seen, &request.release(), time),
    ];
    written.into_iter().flatten().collect()
}

fn admitted(
    seen: Option<&LockRecord>,
    request: &AcquireRequest,
    time: &ServerTime,
) -> Option<LockRecord> {
    match admit(seen, request, time) {
        Verdict::Granted(next) => {
            granted(seen, &next, request, time);
            Some(*next)
        }
        Verdict::Existing(holder) => {
            assert_eq!(holder.id(), Some(&request.id));
            None
        }
        Verdict::Queued { next, .. } => {
            let next = *next?;
            let seen = seen.expect("nobody queues for what nobody holds");
            assert!(next.waiter(&request.id).is_some());
            assert!(next.queue.len() <= MAX_PARTIES.max(seen.queue.len()));
            only_mended(seen, &next, time);
            Some(next)
        }
        Verdict::Held { mended, .. } => {
            let (seen, mended) = (seen?, *mended?);
            assert_eq!(mended.queue.len(), seen.queue.len());
            only_mended(seen, &mended, time);
            Some(mended)
        }
        Verdict::Skipped(state) => {
            assert!(request.slot.is_some());
            assert_eq!(state, seen.and_then(|seen| seen.state.clone()));
            None
        }
    }
}

fn granted(
    seen: Option<&LockRecord>,
    next: &LockRecord,
    request: &AcquireRequest,
    time: &ServerTime,
) {
    let mine = next.holder(&request.id).expect("the grant stands there");
    assert!(seen.is_none_or(|seen| next.token > seen.token), "I2");
    assert!(next.token >= sane_floor(request.token_floor, time));
    assert_eq!(next.rev, seen.map_or(0, |seen| seen.rev) + 1);
    assert_eq!((mine.token, mine.seq), (Some(next.token), request.seq));
    assert_eq!(next.mode, request.mode);
    assert!(mine.expires_at >= time.expiry(request.ttl));

    let is_other = |holder: &&Holder| holder.owner() != Some(&request.owner);
    let others = next.holders.iter().filter(is_other).count();
    assert!(others < request.mode.capacity(), "I10: {others} others");
    let seen_holders = seen.map_or(&[][..], |seen| &seen.holders);
    for stood in seen_holders.iter().filter(is_other) {
        let watched =
            |watched: &&crate::Watched| stood.id() == Some(&watched.id) && stood.seq == watched.seq;
        let is_dead =
            stood.expires_at <= time.earliest || request.watched.iter().any(|seen| watched(&seen));
        let stands = next.holders.iter().any(|holder| same(holder, stood));
        assert!(is_dead || stands, "I12: {stood:?} was evicted");
        assert!(
            !stands || is_dead || seen.is_some_and(|seen| seen.mode.same_kind(request.mode)),
            "I10: beside {stood:?}"
        );
    }
    for holder in &next.holders {
        assert!(next.purge_at >= Some(holder.expires_at), "I14: {holder:?}");
    }
}

/// Nothing but expiries cut down to what is plausible, and the queue.
fn only_mended(seen: &LockRecord, next: &LockRecord, time: &ServerTime) {
    assert!(next.rev == seen.rev || next.rev == seen.rev + 1);
    assert_eq!((next.token, next.mode), (seen.token, seen.mode));
    assert_eq!(next.holders.len(), seen.holders.len());
    for (now, before) in next.holders.iter().zip(&seen.holders) {
        let mut as_before = now.clone();
        as_before.expires_at = before.expires_at;
        assert_eq!(&as_before, before);
        assert!(now.expires_at <= before.expires_at);
        assert!(
            now.expires_at == before.expires_at || now.expires_at > time.earliest,
            "I12"
        );
    }
}

fn renewed(
    seen: Option<&LockRecord>,
    request: &RenewRequest,
    time: &ServerTime,
) -> Option<LockRecord> {
    let Renewed::Write(next) = renew(seen, request, time) else {
        return None;
    };
    let seen = seen.expect("there is nothing to renew");
    let (now, before) = (next.holder(&request.id)?, seen.holder(&request.id)?);
    let raised = next.token > seen.token;
    assert!(raised || before.seq < request.seq);
    assert_eq!(now.seq, before.seq.max(request.seq));
    assert!(!raised || Some(next.token) == request.raise_token);
    assert!(!raised || now.token.is_none_or(|token| token == next.token));
    assert!(raised || now.token == before.token);
    assert!(now.ttl >= before.ttl);
    assert!(!time.keep_later_expiry || now.expires_at >= before.expires_at);
    let known = [Some(request.token), request.raise_token];
    assert!(
        request.mode != Mode::Exclusive || known.contains(&Some(seen.token)),
        "I5"
    );
    assert!(next.token >= seen.token, "I2");
    assert_eq!(next.mode, seen.mode);
    assert_eq!((next.rev, &next.queue), (seen.rev + 1, &seen.queue));
    assert_eq!(others(&next, &request.id), others(seen, &request.id));
    Some(*next)
}

fn released(
    seen: Option<&LockRecord>,
    request: &ReleaseRequest,
    time: &ServerTime,
) -> Option<LockRecord> {
    let Released::Write(next) = release(seen, request, time) else {
        return None;
    };
    let seen = seen.expect("there is nothing to release");
    assert_eq!((next.token, next.rev), (seen.token, seen.rev + 1));
    assert!(next.holder(&request.id).is_none(), "I6");
    let others_stay = others(&next, &request.id).starts_with(&others(seen, &request.id));
    assert!(others_stay, "I5");
    let held = seen.holder(&request.id).is_some();
    if held && request.keep.is_some() {
        for holder in &next.holders {
            let is_late = holder.expires_at > time.stamp.saturating_add(holder.ttl.as_duration());
            assert!(
                is_late || next.purge_at >= Some(holder.expires_at),
                "I14: {holder:?}"
            );
        }
    }
    let waits = |waiter: &&Waiter| waiter.claimant.id != request.id;
    assert!(held || next.queue.iter().eq(seen.queue.iter().filter(waits)));
    let closed = match request.attempt {
        Some(_) => seen.closed.as_ref(),
        None => Some(&request.id),
    };
    assert!(!held || (next.closed.as_ref() == closed && next.queue == seen.queue));
    let is_later = |holder: &Holder| request.attempt.is_some_and(|last| holder.seq > last);
    assert!(!seen.holder(&request.id).is_some_and(is_later), "I5");
    Some(*next)
}

/// Two with one id are one holder to the rules.
fn others<'a>(record: &'a LockRecord, id: &crate::LeaseId) -> Vec<&'a Holder> {
    let is_other = |holder: &&Holder| holder.id() != Some(id);
    record.holders.iter().filter(is_other).collect()
}

/// The same, but for an expiry that was cut down.
fn same(one: &Holder, other: &Holder) -> bool {
    (&one.claimant, one.seq, one.acquired_at) == (&other.claimant, other.seq, other.acquired_at)
}
