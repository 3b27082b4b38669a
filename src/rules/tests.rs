//! One test for each rule, and a trace of random operations that keeps the invariants.

mod admitting;
mod ending;
mod keeping;
mod once;
mod queueing;
mod slots;
mod tokens;
mod trace;
mod turns;

use std::time::Duration;

use super::*;
use crate::backend::{
    AcquireRequest, Contention, Queueing, Reason, ReleaseRequest, RenewRequest, Watched,
};
use crate::record::{RETENTION, WAITER_TTL};
use crate::{Claimant, Holder, Key, LeaseId, LockRecord, Mode, Owner, Ttl, Waiter};

/// When all tests take place, in ms.
const NOW: i64 = 1_700_000_000_000;
const SKEW: i64 = 500;
const TTL: i64 = 10_000;
const PERMITS: fn(u32) -> Mode = |limit| Mode::Permit { limit };

/// Server time as MongoDB tells it.
fn exact() -> ServerTime {
    ServerTime::exact(at(0), ms(SKEW))
}

/// Server time as DynamoDB lets us know it: between 1 s before and 2 s after [`NOW`], on a verified clock.
fn interval() -> ServerTime {
    ServerTime {
        earliest: at(-1000),
        latest: at(2000),
        tolerance: Duration::ZERO,
        stamp: at(2000),
        pad: ms(1500),
        token_floor: 0,
        keep_later_expiry: false,
    }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(NOW + ms)
}

fn ms(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}

fn ttl(millis: i64) -> Ttl {
    Ttl::new(ms(millis)).unwrap()
}

fn owner(name: &str) -> Owner {
    Owner::new(name).unwrap()
}

fn id(name: &str) -> LeaseId {
    LeaseId::new(name).unwrap()
}

/// The id "a1" belongs to the owner "a".
fn claimant(name: &str) -> Claimant {
    Claimant {
        owner: owner(&name[..1]),
        id: id(name),
    }
}

/// A holder that expires at `NOW + expires`.
fn holder(name: &str, expires: i64) -> Holder {
    let claimant = Some(claimant(name));
    Holder {
        token: Some(7),
        ..Holder::new(claimant, at(expires - TTL), at(expires), ttl(TTL), 3)
    }
}

fn waiter(name: &str, expires: i64) -> Waiter {
    let expires_at = at(expires);
    Waiter::new(
        claimant(name),
        Mode::Exclusive,
        at(-60_000),
        expires_at,
        ttl(6000),
        1,
    )
}

/// Somebody alive who has waited for long.
fn waiting(name: &str, mode: Mode) -> Waiter {
    let mut waiter = waiter(name, 4000);
    waiter.mode = mode;
    waiter
}

/// The rest of a minimum hold.
fn linger(expires: i64) -> Holder {
    Holder::new(None, at(expires - TTL), at(expires), ttl(TTL), 0)
}

fn record(mode: Mode, holders: &[Holder]) -> LockRecord {
    LockRecord {
        rev: 40,
        token: 7,
        holders: holders.to_vec(),
        ..LockRecord::new(mode)
    }
}

fn acquire(name: &str, mode: Mode) -> AcquireRequest {
    let key = Key::new("k").unwrap();
    AcquireRequest {
        id: id(name),
        ..AcquireRequest::new(&key, &owner(&name[..1]), mode, ttl(TTL))
    }
}

/// A later attempt of somebody who stands in the queue.
fn fair(name: &str, mode: Mode) -> AcquireRequest {
    AcquireRequest {
        queueing: Queueing::Fair,
        queued: true,
        seq: 2,
        ..acquire(name, mode)
    }
}

/// Its owner's lease `of` in another mode.
fn change(name: &str, mode: Mode, of: &str) -> AcquireRequest {
    AcquireRequest {
        replaces: Some(id(of)),
        ..acquire(name, mode)
    }
}

fn renewal(name: &str, mode: Mode) -> RenewRequest {
    RenewRequest::new(&acquire(name, mode), 7, 4)
}

fn ending(name: &str) -> ReleaseRequest {
    ReleaseRequest::new(&Key::new("k").unwrap(), &owner(&name[..1]), &id(name))
}

#[track_caller]
fn granted(seen: Option<&LockRecord>, request: &AcquireRequest, time: &ServerTime) -> LockRecord {
    match admit(seen, request, time) {
        Verdict::Granted(next) => *next,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(
    seen: &LockRecord,
    request: &AcquireRequest,
    time: &ServerTime,
) -> (Contention, Option<LockRecord>) {
    match admit(Some(seen), request, time) {
        Verdict::Held { contention, mended } => (contention, mended.map(|mended| *mended)),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn queued(
    seen: &LockRecord,
    request: &AcquireRequest,
    time: &ServerTime,
) -> (Contention, Option<LockRecord>) {
    match admit(Some(seen), request, time) {
        Verdict::Queued { contention, next } => (contention, next.map(|next| *next)),
        other => panic!("{other:?}"),
    }
}

/// Who queues, by id.
fn line(record: &LockRecord) -> Vec<&str> {
    let ids = record
        .queue
        .iter()
        .map(|waiter| waiter.claimant.id.as_str());
    ids.collect()
}

/// Who holds, by id.
fn ids(record: &LockRecord) -> Vec<&str> {
    let ids = record.holders.iter().filter_map(Holder::id);
    ids.map(LeaseId::as_str).collect()
}
