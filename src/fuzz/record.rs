//! Well-formed records, reachable or not: few owners that meet each other, and numbers near every edge.

use bolero::TypeGenerator;

use crate::record::{Label, MAX_PARTIES, Payload};
use crate::{Claimant, Holder, LeaseId, LockRecord, Mode, Owner, Timestamp, Ttl, Waiter};

/// About when everything happens, in milliseconds.
pub(crate) const NOW: i64 = 1_700_000_000_000;
/// What `pinned` is if this crate sets it.
const YEAR_9999: i64 = 253_402_300_799_000;

/// What counts: never negative, and at most what a signed integer can be.
#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(crate) enum Number {
    Small(u8),
    Last(u8),
    Any(u64),
}

impl Number {
    pub(crate) fn get(self) -> u64 {
        let last = i64::MAX.unsigned_abs();
        match self {
            Self::Small(number) => number.into(),
            Self::Last(less) => last - u64::from(less),
            Self::Any(number) => number & last,
        }
    }
}

/// A time that both databases can keep.
#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(crate) enum When {
    Seconds(i8),
    Millis(i16),
    Hours(i8),
    First(u8),
    Last(u8),
    Any(i64),
}

impl When {
    pub(crate) fn get(self) -> Timestamp {
        Timestamp::from_millis(match self {
            Self::Seconds(off) => NOW + 1000 * i64::from(off),
            Self::Millis(off) => NOW + i64::from(off),
            Self::Hours(off) => NOW + 3_600_000 * i64::from(off),
            Self::First(ms) => ms.into(),
            Self::Last(less) => i64::MAX - i64::from(less),
            Self::Any(ms) => ms & i64::MAX,
        })
    }

    /// As DynamoDB keeps it.
    fn whole_seconds(self) -> Timestamp {
        Timestamp::from_millis(self.get().as_millis() / 1000 * 1000)
    }
}

/// An owner and one of its acquisitions.
#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(crate) struct Who(u8);

impl Who {
    pub(crate) fn get(self) -> Claimant {
        let owner = ["a", "$$ROOT", "#b.c", "🦀"][usize::from(self.0 % 4)];
        Claimant {
            owner: Owner::new(owner).unwrap(),
            id: self.id(),
        }
    }

    pub(crate) fn id(self) -> LeaseId {
        LeaseId::new(format!("id-{}", self.0 % 12)).unwrap()
    }
}

#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(crate) enum AnyMode {
    Exclusive,
    Shared,
    Few(u8),
    Permits(u8),
}

impl AnyMode {
    pub(crate) fn get(self) -> Mode {
        match self {
            Self::Exclusive => Mode::Exclusive,
            Self::Shared => Mode::Shared,
            Self::Few(limit) => Mode::Permit {
                limit: 1 + u32::from(limit % 3),
            },
            Self::Permits(limit) => Mode::Permit {
                limit: 1 + u32::from(limit),
            },
        }
    }
}

/// 1 ms to 24 h.
pub(crate) fn ttl(ms: u32) -> Ttl {
    Ttl::from_record("ttl", i64::from(ms % 86_400_000) + 1).unwrap()
}

#[derive(Clone, Debug, TypeGenerator)]
pub(crate) struct AnyHolder {
    /// `None`: the rest of a minimum hold.
    who: Option<Who>,
    token: Number,
    acquired_at: When,
    expires_at: When,
    ttl: u32,
    seq: Number,
    label: bool,
    data: bool,
}

impl AnyHolder {
    fn get(&self) -> Holder {
        let (acquired_at, expires_at) = (self.acquired_at.get(), self.expires_at.get());
        let claimant = self.who.map(Who::get);
        let mut holder = Holder::new(
            claimant,
            acquired_at,
            expires_at,
            ttl(self.ttl),
            self.seq.get(),
        );
        holder.token = self.who.map(|_| self.token.get());
        holder.label = self.label.then(|| Label::new("$label").unwrap());
        holder.data = self.data.then(|| Payload::new(&["data"]).unwrap());
        holder
    }
}

#[derive(Clone, Debug, TypeGenerator)]
pub(crate) struct AnyWaiter {
    who: Who,
    mode: AnyMode,
    enqueued_at: When,
    expires_at: When,
    ttl: u32,
    seq: Number,
}

impl AnyWaiter {
    fn get(&self) -> Waiter {
        let (claimant, mode) = (self.who.get(), self.mode.get());
        let (enqueued_at, expires_at) = (self.enqueued_at.get(), self.expires_at.get());
        Waiter::new(
            claimant,
            mode,
            enqueued_at,
            expires_at,
            ttl(self.ttl),
            self.seq.get(),
        )
    }
}

#[derive(Clone, Debug, TypeGenerator)]
pub(crate) struct AnyRecord {
    rev: Number,
    token: Number,
    mode: AnyMode,
    #[generator(bolero::produce::<Vec<AnyHolder>>().with().len(0..5_usize))]
    holders: Vec<AnyHolder>,
    #[generator(bolero::produce::<Vec<AnyWaiter>>().with().len(0..5_usize))]
    queue: Vec<AnyWaiter>,
    /// Rarely: as many more as there may be, holders or waiters.
    crowd: (u8, bool),
    free_at: Option<When>,
    closed: Option<Who>,
    slots: (Option<When>, Option<When>),
    pinned: Option<bool>,
    state: bool,
    purge_at: Option<When>,
}

impl AnyRecord {
    /// What MongoDB may have. Nothing keeps an owner from standing there twice.
    pub(crate) fn get(&self) -> LockRecord {
        let mut record = LockRecord::new(self.mode.get());
        (record.rev, record.token) = (self.rev.get(), self.token.get());
        record.holders = self.holders.iter().map(AnyHolder::get).collect();
        record.queue = self.queue.iter().map(AnyWaiter::get).collect();
        let (crowd, holds) = self.crowd;
        if crowd == 0 && holds {
            fill(&mut record.holders, crowded_holder);
        } else if crowd == 0 {
            fill(&mut record.queue, crowded_waiter);
        }
        record.free_at = self.free_at.map(When::get);
        record.closed = self.closed.map(Who::id);
        (record.slot_started, record.slot_done) =
            (self.slots.0.map(When::get), self.slots.1.map(When::get));
        record.pinned = self.pinned.map(|_| Timestamp::from_millis(YEAR_9999));
        record.state = self.state.then(|| Payload::new(&"state").unwrap());
        record.purge_at = self.purge_at.map(When::whole_seconds);
        record
    }

    /// What DynamoDB may have: an owner once, in the order of their grants, and tokens with none of them.
    #[cfg(feature = "dynamodb")]
    pub(crate) fn in_maps(&self) -> LockRecord {
        let mut record = self.get();
        let mut seen = Vec::new();
        let mut is_new = |owner: Option<&Owner>| {
            let known = owner.is_some_and(|owner| seen.contains(owner));
            seen.extend(owner.cloned());
            !known
        };
        record.holders.retain(|holder| is_new(holder.owner()));
        seen.clear();
        let mut is_new = |owner: &Owner| {
            let known = seen.contains(owner);
            seen.push(owner.clone());
            !known
        };
        record.queue.retain(|waiter| is_new(&waiter.claimant.owner));
        for holder in &mut record.holders {
            holder.token = None;
        }
        record
    }
}

fn fill<T>(parties: &mut Vec<T>, make: impl Fn(usize) -> T) {
    let missing = MAX_PARTIES.saturating_sub(parties.len());
    parties.extend((0..missing).map(make));
}

fn stranger(index: usize) -> Claimant {
    let name = format!("crowd-{index}");
    Claimant {
        owner: Owner::new(&name).unwrap(),
        id: LeaseId::new(&name).unwrap(),
    }
}

fn crowded_holder(index: usize) -> Holder {
    let (from, to) = (
        Timestamp::from_millis(NOW),
        Timestamp::from_millis(NOW + 9000),
    );
    let mut holder = Holder::new(Some(stranger(index)), from, to, ttl(9999), 1);
    holder.token = Some(1);
    holder
}

fn crowded_waiter(index: usize) -> Waiter {
    let (from, to) = (
        Timestamp::from_millis(NOW),
        Timestamp::from_millis(NOW + 5000),
    );
    Waiter::new(stranger(index), Mode::Exclusive, from, to, ttl(5999), 1)
}
