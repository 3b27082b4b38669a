//! What a backend is asked and what it answers. No type of any database appears here.

use std::time::Duration;

use crate::record::{Label, MAX_KEEP, Payload, RETENTION};
use crate::{Claimant, Key, LeaseId, Mode, Owner, Timestamp, Ttl};

/// How long a request may take unless its sender says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether an acquisition that is not granted at once joins the queue.
///
/// Whatever it says, nobody passes those who queue already, unless it may stand beside all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Queueing {
    /// It never does: it does not come back to claim its turn.
    #[default]
    Never,
    /// It joins a queue that it meets. It starts one where holders of another sharable mode are in the way, or a stream of
    /// them could keep it out for ever.
    WhenNeeded,
    /// It always does, and is granted in the order of arrival.
    Fair,
}

/// The run of a scheduled job that an acquisition is for, and how often it may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Slot {
    /// When the run's slot starts.
    pub start: SlotStart,
    /// Granted again in a slot whose run did not succeed; otherwise once, whatever becomes of it.
    pub until_done: bool,
}

impl Slot {
    /// A run that happens at most once.
    #[must_use]
    pub fn new(start: SlotStart) -> Self {
        Self {
            start,
            until_done: false,
        }
    }

    /// Whether others follow: then which one it is rests on the time, and the record must not be collected before the
    /// next, however far away that is.
    pub(crate) fn recurs(self) -> bool {
        self.start != SlotStart::Once
    }
}

/// When a slot starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SlotStart {
    /// At the last whole multiple of a period since the epoch, by the server's time.
    Every(Duration),
    /// At an instant that the caller knows.
    At(Timestamp),
    /// At the epoch, whatever the time: the only run that the key ever has. It does not pin the record.
    Once,
}

/// One attempt to acquire.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AcquireRequest {
    /// What to lock.
    pub key: Key,
    /// For whom.
    pub owner: Owner,
    /// Which acquisition: the same for all its attempts.
    pub id: LeaseId,
    /// Which attempt of it, growing.
    pub seq: u64,
    /// What the lease allows beside it.
    pub mode: Mode,
    /// Whether it queues.
    pub queueing: Queueing,
    /// An earlier attempt of it was [`Queued`](AcquireOutcome::Queued).
    pub queued: bool,
    /// Which run of a scheduled job it is for.
    pub slot: Option<Slot>,
    /// The lease of the same owner that it is to take the place of, in another mode or for another task: if that one does
    /// not stand in the record any more, it is refused as [`Replaced`](Reason::Replaced). Somebody may have been in
    /// between.
    pub replaces: Option<LeaseId>,
    /// How long the lease lives without renewal.
    pub ttl: Ttl,
    /// How much of the ttl the client counts as spent from the start.
    pub margin: Duration,
    /// A few words for people.
    pub label: Option<Label>,
    /// A payload for other programs.
    pub data: Option<Payload>,
    /// Holders that this waiter saw unchanged for 1.25 × their ttl + 1 s on its own monotonic clock: they may be
    /// evicted whatever their record says.
    pub watched: Vec<Watched>,
    /// The lock is probably held, as it was seen before or because it is asked for in order of arrival: a backend
    /// whose refused writes cost more than reads may look before it writes.
    pub waiting: bool,
    /// The least fencing token that it may be granted, 0 for any: whoever locks in several stores at once keeps their
    /// tokens alike by it. One that is more than a day of microseconds ahead of the store's time counts for nothing.
    pub token_floor: u64,
    /// How long the sender waits for the answer.
    pub timeout: Duration,
}

impl AcquireRequest {
    /// The first attempt of a new acquisition, with nothing optional.
    #[must_use]
    pub fn new(key: &Key, owner: &Owner, mode: Mode, ttl: Ttl) -> Self {
        Self {
            key: key.clone(),
            owner: owner.clone(),
            id: LeaseId::random(),
            seq: 1,
            mode,
            queueing: Queueing::default(),
            queued: false,
            slot: None,
            replaces: None,
            ttl,
            margin: ttl.as_duration() / 10,
            label: None,
            data: None,
            watched: Vec::new(),
            waiting: false,
            token_floor: 0,
            timeout: DEFAULT_TIMEOUT,
        }
    }

    /// The exclusive lease that it is to take the place of, alike and with nothing else to decide: what a server can do
    /// by itself.
    #[cfg(any(feature = "mongodb", feature = "dynamodb"))]
    pub(crate) fn takes_over(&self) -> Option<&LeaseId> {
        let is_plain = self.mode == Mode::Exclusive
            && self.slot.is_none()
            && !self.queued
            && self.watched.is_empty();
        let replaced = self.replaces.as_ref().filter(|_| is_plain);
        // A retry may find itself there.
        replaced.filter(|replaced| **replaced != self.id)
    }
}

/// A holder that a waiter watched, as it was all the time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Watched {
    /// Its acquisition.
    pub id: LeaseId,
    /// Its attempt.
    pub seq: u64,
}

/// How an attempt to acquire ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcquireOutcome {
    /// The lock is ours.
    Granted(Grant),
    /// Others are in the way, and it stands in the queue: ask again, with [`AcquireRequest::queued`], before the entry
    /// expires, or leave the queue by a release.
    Queued(Contention),
    /// Others are in the way.
    Held(Contention),
    /// The slot's run has happened already. With the record's [`state`](crate::LockRecord::state).
    Skipped(Option<Payload>),
}

/// A lock that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The fencing token.
    pub token: u64,
    /// For how long.
    pub validity: Validity,
    /// The start of the slot that it is for, if [`AcquireRequest::slot`] asked for one.
    pub slot: Option<Timestamp>,
}

/// For how long a lease is valid, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Validity {
    /// The attempt that stands in the record. The validity counts from the instant before *it* was sent.
    pub seq: u64,
    /// How long the lease is valid, counted from there.
    pub valid_for: Duration,
    /// The record's expiry was written by a wrong clock: renew, with [`RenewRequest::restamp`], before the lease
    /// is handed out.
    pub refresh: bool,
}

/// Why and by whom a key is held.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contention {
    /// Why the attempt was refused.
    pub reason: Reason,
    /// The mode of the live holders, if there are any.
    pub mode: Mode,
    /// The live holders.
    pub occupants: Vec<Occupant>,
    /// How many waiters must be granted or pass away before it is this one's turn.
    pub ahead: usize,
    /// How many queue in all.
    pub queue: usize,
    /// When it is worth trying again if nobody releases before.
    pub free_in: Duration,
}

impl Contention {
    /// A refusal with nobody in the queue.
    #[must_use]
    pub fn new(reason: Reason, mode: Mode, occupants: Vec<Occupant>, free_in: Duration) -> Self {
        Self {
            reason,
            mode,
            occupants,
            ahead: 0,
            queue: 0,
            free_in,
        }
    }
}

/// Why an attempt to acquire was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Live leases stand in the way.
    Busy,
    /// Others queue for it.
    Queue,
    /// This acquisition was released: the attempt is a late duplicate.
    Closed,
    /// A newer acquisition of the same owner took this one over, or its place in the queue.
    Replaced,
    /// The slot has not begun yet, or its border is too near to tell which slot it is.
    Border,
}

/// A live holder, as a refused attempt saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupant {
    /// Whose it is. `None`: the rest of a minimum hold.
    pub claimant: Option<Claimant>,
    /// Its attempt.
    pub seq: u64,
    /// How long it lives without renewal.
    pub ttl: Ttl,
    /// What it says of itself.
    pub label: Option<Label>,
    /// How long until it certainly expired, unless renewed.
    pub expires_in: Duration,
}

/// One attempt to prolong a lease.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RenewRequest {
    /// What is locked.
    pub key: Key,
    /// Whose lease it is.
    pub owner: Owner,
    /// Which acquisition.
    pub id: LeaseId,
    /// Which attempt of it, growing over acquire and renew.
    pub seq: u64,
    /// The lease's mode.
    pub mode: Mode,
    /// The lease's fencing token.
    pub token: u64,
    /// How long it shall live from now on without renewal. Raises the record's ttl, never lowers it.
    pub ttl: Ttl,
    /// How much of the ttl the client counts as spent from the start.
    pub margin: Duration,
    /// Correct the time of the grant too: it was written by a wrong clock.
    pub restamp: bool,
    /// The lease's token becomes this, which is greater than `token`, with the renewal: another store granted so much.
    /// A lease that has it already is renewed all the same, one that cannot because a later grant of the record has it or
    /// a greater one is not: that is an [`Unavailable`](crate::ErrorKind::Unavailable).
    pub raise_token: Option<u64>,
    /// How long the sender waits for the answer.
    pub timeout: Duration,
}

impl RenewRequest {
    /// A renewal of what `request` was granted.
    #[must_use]
    pub fn new(request: &AcquireRequest, token: u64, seq: u64) -> Self {
        Self {
            key: request.key.clone(),
            owner: request.owner.clone(),
            id: request.id.clone(),
            seq,
            mode: request.mode,
            token,
            ttl: request.ttl,
            margin: request.margin,
            restamp: false,
            raise_token: None,
            timeout: request.timeout,
        }
    }
}

/// How an attempt to prolong a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RenewOutcome {
    /// It lives on.
    Renewed(Validity),
    /// It is not there any more, and never comes back.
    Lost,
}

/// One attempt to end a lease, or to leave the queue.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReleaseRequest {
    /// What is locked.
    pub key: Key,
    /// Whose lease it is.
    pub owner: Owner,
    /// Which acquisition.
    pub id: LeaseId,
    /// It probably stands in the queue: a hint which of its places to look at first.
    pub queued: bool,
    /// Only this attempt ends and those before it, and the acquisition goes on: nothing ends where a later attempt
    /// stands, and a later one may be granted.
    pub attempt: Option<u64>,
    /// What stays of a minimum hold.
    pub linger: Option<Linger>,
    /// The slot whose run succeeded.
    pub slot_done: Option<Timestamp>,
    /// What the record's [`state`](crate::LockRecord::state) is from now on; `None` leaves it as it is.
    pub state: Option<Payload>,
    /// How long the record is kept from now on, but no less than [`RETENTION`](crate::RETENTION) and no more than 100
    /// years; `None` leaves that as it is. A pinned record is kept for ever.
    pub keep: Option<Duration>,
    /// How long the sender waits for the answer.
    pub timeout: Duration,
}

/// What a release leaves of a minimum hold: an entry that nobody owns, and that nobody may enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linger {
    /// The whole minimum hold.
    pub ttl: Ttl,
    /// What is left of it.
    pub left: Duration,
}

impl ReleaseRequest {
    /// For how long the record is kept, if the release says so.
    pub(crate) fn kept(&self) -> Option<Duration> {
        // Further away, a server's arithmetic would overflow.
        self.keep.map(|keep| keep.clamp(RETENTION, MAX_KEEP))
    }

    /// Whether it leaves more behind than a lease that is gone.
    pub(crate) fn says_more(&self) -> bool {
        self.linger.is_some()
            || self.slot_done.is_some()
            || self.state.is_some()
            || self.keep.is_some()
    }

    /// A release of an acquisition.
    #[must_use]
    pub fn new(key: &Key, owner: &Owner, id: &LeaseId) -> Self {
        Self {
            key: key.clone(),
            owner: owner.clone(),
            id: id.clone(),
            queued: false,
            attempt: None,
            linger: None,
            slot_done: None,
            state: None,
            keep: None,
            timeout: DEFAULT_TIMEOUT,
        }
    }
}

/// How an attempt to end a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReleaseOutcome {
    /// It ended or left the queue, now or by an earlier attempt; and the state that it brought stands there, and its slot
    /// is done.
    Released,
    /// It neither held nor queued.
    NotHeld,
}
