//! Records: whatever one can be, reachable or not, as long as it is well-formed.

use std::time::Duration;

use doclock::{
    Claimant, Holder, LeaseId, LockRecord, MAX_PARTIES, Mode, Owner, Timestamp, Ttl, WAITER_TTL,
    Waiter,
};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{HOUR, at, claimant, far, label, mode, payload, ttl};

/// The year 9999.
const PINNED: i64 = 253_402_300_799_000;
/// Whatever happened happened before that: for longer than any number of waiters needs to claim its turn.
const LONG_AGO: i64 = 60_000;

pub fn record(now: Timestamp) -> impl Strategy<Value = LockRecord> {
    let holders = prop::collection::vec(holder(now), 0..=3);
    let freed =
        prop_oneof![4 => past(now), 1 => far(2000..=5000).prop_map(move |ahead| at(now, ahead))];
    let rest = (
        option::weighted(0.4, freed),
        option::weighted(0.5, claimant()),
        option::weighted(0.4, slot(now)),
        option::weighted(0.4, slot(now)),
        option::weighted(0.15, Just(Timestamp::from_millis(PINNED))),
        option::weighted(0.3, payload()),
        option::weighted(
            0.9,
            (-1..96 * HOUR / 1000).prop_map(move |ahead| whole_second(now, ahead)),
        ),
    );
    let modes = (mode(), prop::bool::weighted(0.4));
    (0_u64..1000, token(now), modes, holders, queue(now), rest).prop_map(
        move |(rev, token, (mode, alike), holders, mut queue, rest)| {
            // All for the same kind, and each with its own limit.
            let others = queue
                .iter_mut()
                .filter(|waiter| !waiter.mode.same_kind(mode));
            others
                .filter(|_| alike)
                .for_each(|waiter| waiter.mode = mode);
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
            record.queue = queue;
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
    // Without a claimant, it is the rest of a minimum hold.
    (option::weighted(0.88, claimant()), lease, 0_u64..4, text).prop_map(
        move |(claimant, (ttl, expires_at), seq, (label, data))| {
            let mut holder = Holder::new(claimant, now, expires_at, ttl, seq);
            (holder.label, holder.data) = (label, data);
            holder
        },
    )
}

/// Over for long, or not before 20 s from now, or implausibly late by hours.
fn expiry(now: Timestamp, ttl: Ttl) -> impl Strategy<Value = Timestamp> {
    let ttl = ttl.as_millis();
    prop_oneof![
        4 => far(LONG_AGO..=30 * HOUR).prop_map(move |ago| at(now, -ago)),
        5 => far(20_000..=ttl).prop_map(move |ahead| at(now, ahead)),
        1 => far(HOUR..=40 * HOUR).prop_map(move |late| at(now, ttl + late)),
    ]
}

/// Nobody, some, or nearly as many as there may be.
fn queue(now: Timestamp) -> impl Strategy<Value = Vec<Waiter>> {
    let few = prop::collection::vec(waiter(now), 1..=4).prop_map(|drawn| {
        let mut queue: Vec<Waiter> = Vec::new();
        for waiter in drawn {
            if queue
                .iter()
                .all(|other| other.claimant.owner != waiter.claimant.owner)
            {
                queue.push(waiter);
            }
        }
        queue
    });
    let full = (
        few.clone(),
        MAX_PARTIES - 1..=MAX_PARTIES,
        select(vec![0, 1, MAX_PARTIES]),
    );
    prop_oneof![
        30 => Just(Vec::new()),
        30 => few,
        1 => full.prop_map(move |(few, length, dead)| crowd(now, few, length, dead)),
    ]
}

/// Fills a queue up; so many of those that are added are dead.
fn crowd(now: Timestamp, mut queue: Vec<Waiter>, length: usize, dead: usize) -> Vec<Waiter> {
    for index in 0..length - queue.len() {
        let name = format!("crowd-{index}");
        let claimant = Claimant {
            owner: Owner::new(&name).unwrap(),
            id: LeaseId::new(&name).unwrap(),
        };
        let ends = if index < dead { -LONG_AGO } else { 30_000 };
        let ttl = Ttl::new(Duration::from_mins(1)).unwrap();
        queue.push(Waiter::new(
            claimant,
            Mode::Exclusive,
            now,
            at(now, ends),
            ttl,
            1,
        ));
    }
    for waiter in &mut queue {
        // All their turns together take a quarter of an hour.
        waiter.enqueued_at = at(now, -2 * HOUR);
    }
    queue
}

fn waiter(now: Timestamp) -> impl Strategy<Value = Waiter> + Clone {
    let lease = prop_oneof![
        // An entry of the queue lives for 6 s: a longer one, for the sake of the test's own time.
        4 => far(20_000..=60_000).prop_map(move |ahead| (at(now, ahead), Duration::from_mins(1))),
        3 => far(LONG_AGO..=HOUR).prop_map(move |ago| (at(now, -ago), WAITER_TTL.as_duration())),
        1 => far(HOUR..=2 * HOUR).prop_map(move |late| (at(now, late), WAITER_TTL.as_duration())),
    ];
    let joined = prop_oneof![
        4 => far(LONG_AGO..=HOUR).prop_map(move |ago| at(now, -ago)),
        // By another server's clock: its turn has not come for some seconds to come.
        1 => far(2000..=5000).prop_map(move |ahead| at(now, ahead)),
    ];
    (claimant(), mode(), joined, lease, 0_u64..4).prop_map(
        move |(claimant, mode, joined, (expires_at, ttl), seq)| {
            Waiter::new(
                claimant,
                mode,
                joined,
                expires_at,
                Ttl::new(ttl).unwrap(),
                seq,
            )
        },
    )
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

pub(super) fn past(now: Timestamp) -> impl Strategy<Value = Timestamp> {
    far(LONG_AGO..=48 * HOUR).prop_map(move |ago| at(now, -ago))
}

/// A scheduled run's, or that of the only one.
fn slot(now: Timestamp) -> impl Strategy<Value = Timestamp> {
    prop_oneof![3 => past(now), 1 => Just(Timestamp::default())]
}

fn whole_second(now: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_millis((now.as_millis() / 1000 + seconds) * 1000)
}
