//! Random lock records, and requests that meet them: their owners and ids come from a pool so small that they collide.
//!
//! Every time is given relative to `now`. Nothing expires within seconds of it, so that neither the noise of a server's
//! clock nor the time that a test takes changes a verdict.

use std::ops::RangeInclusive;
use std::time::Duration;

use doclock::{
    AcquireRequest, Claimant, Holder, Key, Label, LeaseId, LockRecord, Mode, Owner, Payload,
    ReleaseRequest, RenewRequest, Timestamp, Ttl, Waiter, Watched,
};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Owners that a careless backend would take for something else.
const OWNERS: [&str; 4] = ["$$ROOT", "a.b[0] $holders", "\"'`\\ :id #me", "🦀 𝕠𝕨𝕟𝕖𝕣"];
/// Labels, payloads and parts of keys.
const TEXTS: [&str; 6] = [
    "plain",
    "$$REMOVE",
    "$token",
    "{\"a.b\": [\"$x\", 'é']}",
    "attribute_not_exists(pk)",
    "🔒",
];
/// The year 9999.
const PINNED: i64 = 253_402_300_799_000;
const HOUR: i64 = 3_600_000;

/// A record, or none, and an attempt to acquire.
pub fn acquire(now: Timestamp) -> impl Strategy<Value = (Option<LockRecord>, AcquireRequest)> {
    let optional = (option::of(label()), option::of(payload()), any::<bool>());
    let request = (key(), claimant(), mode(), ttl(), 1_u64..4, optional);
    let watched = option::weighted(0.2, (any::<Index>(), 0_u64..2));
    (option::weighted(0.95, record(now)), request, watched).prop_map(
        |(record, (key, claimant, mode, ttl, seq, optional), watched)| {
            let mut request = AcquireRequest::new(&key, &claimant.owner, mode, ttl);
            (request.id, request.seq) = (claimant.id, seq);
            (request.label, request.data, request.waiting) = optional;
            let holders = record.as_ref().map_or(&[][..], |record| &record.holders);
            if let Some((which, off)) = watched.filter(|_| !holders.is_empty()) {
                let holder = which.get(holders);
                let seq = holder.seq + off;
                request.watched = holder
                    .id()
                    .map(|id| Watched {
                        id: id.clone(),
                        seq,
                    })
                    .into_iter()
                    .collect();
            }
            (record, request)
        },
    )
}

/// A record, or none, and a renewal: mostly of a lease that is there.
pub fn renew(now: Timestamp) -> impl Strategy<Value = (Option<LockRecord>, RenewRequest)> {
    let request = (
        key(),
        claimant(),
        option::weighted(0.85, any::<Index>()),
        ttl(),
    );
    let fits = (
        option::weighted(0.1, mode()),
        0_u64..6,
        0_u8..10,
        any::<bool>(),
    );
    let owner = option::weighted(0.05, claimant());
    (option::weighted(0.95, record(now)), request, fits, owner).prop_map(
        |(record, (key, mut claimant, standing, ttl), (mode, ahead, token, restamp), owner)| {
            let empty = LockRecord::new(Mode::Exclusive);
            let seen = record.as_ref().unwrap_or(&empty);
            let standing = standing.filter(|_| !seen.holders.is_empty());
            let holder = standing.map(|which| which.get(&seen.holders));
            let (mut seq, mut held) = (1, None);
            if let Some(holder) = holder {
                claimant = holder.claimant.clone().unwrap_or(claimant);
                (seq, held) = (holder.seq, holder.token);
            }
            let owner = owner.map_or(claimant.owner, |other| other.owner);
            let mut request = AcquireRequest::new(&key, &owner, mode.unwrap_or(seen.mode), ttl);
            request.id = claimant.id;
            let token = match token {
                0 => 1,
                1 | 2 => seen.token,
                _ => held.unwrap_or(seen.token),
            };
            let mut request = RenewRequest::new(&request, token, (seq + ahead).saturating_sub(1));
            request.restamp = restamp;
            (record, request)
        },
    )
}

/// A record, or none, and a release: mostly of a lease that is there.
pub fn release(now: Timestamp) -> impl Strategy<Value = (Option<LockRecord>, ReleaseRequest)> {
    (renew(now), prop::bool::weighted(0.1)).prop_map(|((record, renewal), again)| {
        let closed = record.as_ref().and_then(|record| record.closed.as_ref());
        let id = closed.filter(|_| again).unwrap_or(&renewal.id);
        let request = ReleaseRequest::new(&renewal.key, &renewal.owner, id);
        (record, request)
    })
}

/// Whatever a record can be, reachable or not, as long as it is well-formed.
pub fn record(now: Timestamp) -> impl Strategy<Value = LockRecord> {
    let holders = prop::collection::vec(holder(now), 0..=3);
    let queue = prop_oneof![
        3 => Just(Vec::new()),
        1 => prop::collection::vec(waiter(now), 1..=3),
    ];
    let past = move || option::weighted(0.3, (1..48 * HOUR).prop_map(move |ago| at(now, -ago)));
    let rest = (
        past(),
        option::weighted(0.5, claimant()),
        past(),
        past(),
        option::weighted(0.15, Just(Timestamp::from_millis(PINNED))),
        option::weighted(0.3, payload()),
        option::weighted(
            0.9,
            (-1..96 * HOUR / 1000).prop_map(move |ahead| whole_second(now, ahead)),
        ),
    );
    (0_u64..1000, token(now), mode(), holders, queue, rest).prop_map(
        move |(rev, token, mode, holders, queue, rest)| {
            let mut record = LockRecord::new(mode);
            (record.rev, record.token) = (rev, token);
            for (index, mut holder) in holders.into_iter().enumerate() {
                // In the order of their grants, and one for each owner.
                holder.acquired_at = at(now, i64::try_from(index).unwrap() * 7 - 2 * HOUR);
                holder.token = holder
                    .claimant
                    .as_ref()
                    .map(|_| token.saturating_sub(holder.seq % 3));
                if record
                    .holders
                    .iter()
                    .all(|other| holder.owner().is_none() || other.owner() != holder.owner())
                {
                    record.holders.push(holder);
                }
            }
            for waiter in queue {
                if record
                    .queue
                    .iter()
                    .all(|other: &Waiter| other.claimant.owner != waiter.claimant.owner)
                {
                    record.queue.push(waiter);
                }
            }
            let (free_at, closed, started, done, pinned, state, purge_at) = rest;
            record.free_at = free_at;
            record.closed = closed.map(|claimant| claimant.id);
            (record.slot_started, record.slot_done, record.pinned) = (started, done, pinned);
            (record.state, record.purge_at) = (state, purge_at);
            record
        },
    )
}

fn holder(now: Timestamp) -> impl Strategy<Value = Holder> {
    let lease = ttl().prop_flat_map(move |ttl| (Just(ttl), expiry(now, ttl)));
    let text = (
        option::weighted(0.3, label()),
        option::weighted(0.3, payload()),
    );
    (option::weighted(0.93, claimant()), lease, 0_u64..4, text).prop_map(
        move |(claimant, (ttl, expires_at), seq, (label, data))| {
            let mut holder = Holder::new(claimant, now, expires_at, ttl, seq);
            (holder.label, holder.data) = (label, data);
            holder
        },
    )
}

fn waiter(now: Timestamp) -> impl Strategy<Value = Waiter> {
    let lease = prop_oneof![
        // An entry of the queue lives for 6 s: a longer one, for the sake of the test's own time.
        3 => far(20_000..=60_000).prop_map(move |ahead| at(now, ahead)),
        3 => far(3000..=HOUR).prop_map(move |ago| at(now, -ago)),
        1 => far(HOUR..=2 * HOUR).prop_map(move |late| at(now, late)),
    ];
    (claimant(), mode(), far(1..=HOUR), lease, 0_u64..9).prop_map(
        move |(claimant, mode, ago, expires_at, seq)| {
            let ttl = Ttl::new(Duration::from_mins(1)).unwrap();
            Waiter::new(claimant, mode, at(now, -ago), expires_at, ttl, seq)
        },
    )
}

/// Over for at least 3 s, or not before 20 s from now, or implausibly late by hours.
fn expiry(now: Timestamp, ttl: Ttl) -> impl Strategy<Value = Timestamp> {
    let ttl = ttl.as_millis();
    prop_oneof![
        4 => far(3000..=30 * HOUR).prop_map(move |ago| at(now, -ago)),
        5 => far(20_000..=ttl).prop_map(move |ahead| at(now, ahead)),
        1 => far(HOUR..=40 * HOUR).prop_map(move |late| at(now, ttl + late)),
    ]
}

fn far(range: RangeInclusive<i64>) -> RangeInclusive<i64> {
    range
}

fn ttl() -> impl Strategy<Value = Ttl> {
    let seconds = select(vec![30, 60, 3600, 24 * 3600]);
    seconds.prop_map(|seconds| Ttl::new(Duration::from_secs(seconds)).unwrap())
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        2 => Just(Mode::Exclusive),
        2 => Just(Mode::Shared),
        2 => (1_u32..=3).prop_map(|limit| Mode::Permit { limit }),
        1 => Just(Mode::Permit { limit: 256 }),
    ]
}

/// Below and above what server time in microseconds is.
fn token(now: Timestamp) -> impl Strategy<Value = u64> {
    let micros = now.as_millis().unsigned_abs() * 1000;
    prop_oneof![
        0_u64..100,
        micros - 1_000_000..micros,
        micros + 1_000_000_000..micros + 2_000_000_000
    ]
}

/// An id belongs to one owner, as it is random in truth.
fn claimant() -> impl Strategy<Value = Claimant> {
    (select(OWNERS.to_vec()), 1..=2).prop_map(|(owner, n)| Claimant {
        owner: Owner::new(owner).unwrap(),
        id: LeaseId::new(format!("{owner}-{n}")).unwrap(),
    })
}

fn key() -> impl Strategy<Value = Key> {
    text().prop_map(|text| Key::new(text).unwrap())
}

fn label() -> impl Strategy<Value = Label> {
    text().prop_map(|text| Label::new(text).unwrap())
}

fn payload() -> impl Strategy<Value = Payload> {
    text().prop_map(|text| Payload::new(&text).unwrap())
}

fn text() -> impl Strategy<Value = &'static str> {
    select(TEXTS.to_vec())
}

fn at(now: Timestamp, ms: i64) -> Timestamp {
    Timestamp::from_millis(now.as_millis() + ms)
}

fn whole_second(now: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_millis((now.as_millis() / 1000 + seconds) * 1000)
}
