//! Random lock records, and requests that meet them: their owners and ids come from a pool so small that they collide.
//!
//! Every time is given relative to `now`. Nothing expires, begins or becomes due within seconds of it, so that neither
//! the noise of a server's clock nor the time that a test takes changes a verdict.

mod handing;
mod record;

use std::ops::RangeInclusive;
use std::time::Duration;

use doclock::{
    AcquireRequest, Claimant, Key, Label, LeaseId, Linger, LockRecord, Mode, Owner, Payload,
    Queueing, RETENTION, ReleaseRequest, RenewRequest, Slot, SlotStart, Timestamp, Ttl, WAITER_TTL,
    Waiter, Watched,
};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use handing::handing;
use record::past;
pub use record::record;

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
const HOUR: i64 = 3_600_000;

/// A record, or none, and an attempt to acquire.
pub fn acquire(now: Timestamp) -> impl Strategy<Value = (Option<LockRecord>, AcquireRequest)> {
    let optional = (option::of(label()), option::of(payload()), any::<bool>());
    let request = (key(), claimant(), mode(), ttl(), 1_u64..4, optional);
    let request = request.prop_map(|(key, claimant, mode, ttl, seq, optional)| {
        let mut request = AcquireRequest::new(&key, &claimant.owner, mode, ttl);
        (request.id, request.seq) = (claimant.id, seq);
        (request.label, request.data, request.waiting) = optional;
        request
    });
    let watched = option::weighted(0.2, (any::<Index>(), 0_u64..2));
    let slot = option::weighted(0.25, slot(now));
    let replaces = option::weighted(0.1, any::<Index>());
    let floor = option::weighted(0.3, 0..FLOORS);
    let hands = option::weighted(0.15, handing());
    let case = (
        option::weighted(0.95, record(now)),
        request,
        queueing(),
        slot,
        watched,
        replaces,
        floor,
        hands,
    );
    case.prop_map(
        move |(mut record, mut request, queueing, slot, watched, replaces, floor, hands)| {
            let token = record.as_ref().map_or(0, |record| record.token);
            request.token_floor = floor.map_or(0, |which| floors(token, now)[which]);
            if let Some(record) = &mut record {
                if let Some(slot) = &slot {
                    slot.leave(record, &mut request);
                }
                queueing.apply(&mut request, record, now);
                let holder = watched.filter(|_| !record.holders.is_empty());
                let holder = holder.map(|(which, off)| (which.get(&record.holders), off));
                request.watched = holder
                    .and_then(|(holder, off)| {
                        let id = holder.id()?.clone();
                        let seq = holder.seq + off;
                        Some(Watched { id, seq })
                    })
                    .into_iter()
                    .collect();
            }
            if let Some(which) = replaces {
                replace(&mut request, record.as_ref(), which);
            }
            if let (Some(hands), Some(record)) = (hands, &mut record) {
                hands.apply(&mut request, record);
            } else if let Some(slot) = slot {
                request.slot = Some(slot.of(record.as_ref()));
                // A scheduled job runs alone.
                request.mode = Mode::Exclusive;
            }
            (record, request)
        },
    )
}

const FLOORS: usize = 7;

/// Tokens to ask for, about the last one that was given and about the time; the last two are none that counts.
fn floors(token: u64, now: Timestamp) -> [u64; FLOORS] {
    let now = doclock::rules::micros(now);
    [
        token.max(1),
        token + 1,
        token + 2,
        token + 1000,
        now + 3_600_000_000,
        now + 48 * 3_600_000_000,
        u64::MAX,
    ]
}

/// Names a lease that is to be replaced: one that stands there if there are any.
fn replace(request: &mut AcquireRequest, record: Option<&LockRecord>, which: Index) {
    let holders = record.map_or(&[][..], |record| &record.holders);
    let standing = Some(holders).filter(|holders| !holders.is_empty());
    let standing = standing.and_then(|holders| which.get(holders).claimant.clone());
    request.replaces = Some(match standing {
        Some(claimant) => {
            request.owner = claimant.owner;
            claimant.id
        }
        None => LeaseId::random(),
    });
}

/// How a request queues, before it is known who does.
#[derive(Clone, Debug)]
struct AnyQueueing {
    queueing: Queueing,
    /// One of those who stand there.
    stands: Option<Index>,
    /// For what the present holders have.
    alike: bool,
    queued: u8,
    /// Its place is due to be refreshed, and dead perhaps.
    due: Option<bool>,
}

fn queueing() -> impl Strategy<Value = AnyQueueing> {
    let queueing = select(vec![Queueing::Never, Queueing::WhenNeeded, Queueing::Fair]);
    let stands = option::weighted(0.3, any::<Index>());
    let alike = prop::bool::weighted(0.3);
    (queueing, stands, alike, 0_u8..10, option::of(any::<bool>())).prop_map(
        |(queueing, stands, alike, queued, due)| AnyQueueing {
            queueing,
            stands,
            alike,
            queued,
            due,
        },
    )
}

impl AnyQueueing {
    fn apply(&self, request: &mut AcquireRequest, record: &mut LockRecord, now: Timestamp) {
        request.queueing = self.queueing;
        if self.alike && !record.mode.same_kind(request.mode) {
            request.mode = record.mode;
        }
        let queue = &mut record.queue;
        if let Some(which) = self.stands.filter(|_| !queue.is_empty()) {
            let waiter = which.get(queue);
            request.owner = waiter.claimant.owner.clone();
            (request.id, request.mode) = (waiter.claimant.id.clone(), waiter.mode);
        }
        let mine = |waiter: &&mut Waiter| waiter.claimant.owner == request.owner;
        let mine = queue.iter_mut().find(mine);
        let stands = mine
            .as_ref()
            .is_some_and(|mine| mine.claimant.id == request.id);
        request.queued = self.queued < if stands { 8 } else { 2 };
        if let (Some(mine), Some(dead)) = (mine, self.due) {
            // For as long as a test takes.
            mine.ttl = WAITER_TTL;
            mine.expires_at = at(now, if dead { -5000 } else { 3500 });
        }
    }
}

/// A slot, before it is known which ones a record remembers.
#[derive(Clone, Debug)]
struct AnySlot {
    /// One that has not begun.
    future: Option<Timestamp>,
    /// Near the one that began last, or the one that was done last.
    near_started: bool,
    off: i64,
    /// If there is none.
    otherwise: Timestamp,
    kind: Kind,
    until_done: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Every,
    At,
    Once,
}

fn slot(now: Timestamp) -> impl Strategy<Value = AnySlot> {
    let off = select(vec![-HOUR, -1, 0, 1, 10_000]);
    let future = far(20_000..=HOUR).prop_map(move |ahead| at(now, ahead));
    let near = (any::<bool>(), off, past(now));
    (
        option::weighted(0.1, future),
        near,
        select(vec![Kind::Every, Kind::At, Kind::Once, Kind::Once]),
        any::<bool>(),
    )
        .prop_map(
            |(future, (near_started, off, otherwise), kind, until_done)| AnySlot {
                future,
                near_started,
                off,
                otherwise,
                kind,
                until_done,
            },
        )
}

impl AnySlot {
    /// What former runs of the only one leave, done or not, with nothing else in the way: the server decides by itself.
    fn leave(&self, record: &mut LockRecord, request: &mut AcquireRequest) {
        if self.near_started || !matches!(self.kind, Kind::Once) {
            return;
        }
        let epoch = Timestamp::default();
        record.holders.clear();
        record.queue.clear();
        record.slot_started = Some(epoch);
        record.slot_done = Some(epoch).filter(|_| self.off <= 0);
        request.waiting = false;
    }

    fn of(&self, record: Option<&LockRecord>) -> Slot {
        let mut slot = Slot::new(self.start(record));
        slot.until_done = self.until_done;
        slot
    }

    fn start(&self, record: Option<&LockRecord>) -> SlotStart {
        if matches!(self.kind, Kind::Once) {
            return SlotStart::Once;
        }
        if let Some(future) = self.future {
            return SlotStart::At(future);
        }
        let known = record.and_then(|record| {
            if self.near_started {
                record.slot_started
            } else {
                record.slot_done
            }
        });
        let known = known.filter(|known| *known > Timestamp::default());
        let start = known.map_or(self.otherwise, |known| at(known, self.off));
        if matches!(self.kind, Kind::Every) {
            // The first whole multiple of a period as long as that; it lasts for as long again.
            return SlotStart::Every(Duration::from_millis(start.as_millis().unsigned_abs()));
        }
        SlotStart::At(start)
    }
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
    let raise = option::weighted(0.5, 0_usize..6);
    let other = (owner, raise);
    (option::weighted(0.95, record(now)), request, fits, other).prop_map(
        |(record, request, (mode, ahead, token, restamp), (owner, raise))| {
            let (key, mut claimant, standing, ttl) = request;
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
                0 | 1 => 1,
                2 => seen.token,
                _ => held.unwrap_or(seen.token),
            };
            let mut request = RenewRequest::new(&request, token, (seq + ahead).saturating_sub(1));
            request.restamp = restamp;
            let last = seen.token;
            let raises = [last, last, last, last + 1, last + 1000, token];
            request.raise_token = raise.map(|which| raises[which]);
            (record, request)
        },
    )
}

/// A record, or none, and a release: mostly of a lease or of a place in the queue that is there.
pub fn release(now: Timestamp) -> impl Strategy<Value = (Option<LockRecord>, ReleaseRequest)> {
    let waits = option::weighted(0.4, any::<Index>());
    let linger = option::weighted(0.4, (ttl(), option::weighted(0.8, 20_000_u64..30_000)));
    let done = option::weighted(0.3, slot(now));
    let tells = (option::weighted(0.4, (payload(), any::<bool>())), keep());
    (
        renew(now),
        (prop::bool::weighted(0.1), prop::bool::weighted(0.3)),
        waits,
        0_u8..10,
        linger,
        (done, tells),
    )
        .prop_map(
            |(
                (record, renewal),
                (again, goes_on),
                waits,
                queued,
                linger,
                (done, (state, keep)),
            )| {
                let seen = record.as_ref();
                let queue = seen.map_or(&[][..], |record| &record.queue);
                let waiter = waits
                    .filter(|_| !queue.is_empty())
                    .map(|which| which.get(queue));
                let mut request = ReleaseRequest::new(&renewal.key, &renewal.owner, &renewal.id);
                if let Some(waiter) = waiter {
                    request.owner = waiter.claimant.owner.clone();
                    request.id = waiter.claimant.id.clone();
                }
                if let Some(closed) = seen.and_then(|seen| seen.closed.as_ref()).filter(|_| again) {
                    request.id = closed.clone();
                }
                request.queued = queued < if waiter.is_some() { 7 } else { 2 };
                request.attempt = goes_on.then_some(renewal.seq);
                request.linger = linger.map(|(ttl, left)| Linger {
                    ttl,
                    left: Duration::from_millis(left.unwrap_or(0)),
                });
                request.slot_done = done.and_then(|slot| match slot.start(seen) {
                    SlotStart::At(start) => Some(start),
                    SlotStart::Once => Some(Timestamp::default()),
                    _ => None,
                });
                let stands = seen.and_then(|seen| seen.state.clone());
                request.state = state.map(|(new, again)| stands.filter(|_| again).unwrap_or(new));
                request.keep = keep;
                (record, request)
            },
        )
}

fn keep() -> impl Strategy<Value = Option<Duration>> {
    let second = Duration::from_secs(1);
    let times = vec![
        Duration::ZERO,
        RETENTION,
        RETENTION + second,
        10 * RETENTION,
        Duration::MAX,
    ];
    option::weighted(0.4, select(times))
}

fn far(range: RangeInclusive<i64>) -> RangeInclusive<i64> {
    range
}

fn ttl() -> impl Strategy<Value = Ttl> {
    let seconds = select(vec![30, 60, 3600, 24 * 3600]);
    seconds.prop_map(|seconds| Ttl::new(Duration::from_secs(seconds)).unwrap())
}

fn mode() -> impl Strategy<Value = Mode> + Clone {
    prop_oneof![
        2 => Just(Mode::Exclusive),
        2 => Just(Mode::Shared),
        2 => (1_u32..=3).prop_map(|limit| Mode::Permit { limit }),
        1 => Just(Mode::Permit { limit: 256 }),
    ]
}

/// An id belongs to one owner, as it is random in truth.
fn claimant() -> impl Strategy<Value = Claimant> + Clone {
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
