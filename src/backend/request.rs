//! What a backend is asked and what it answers. No type of any database appears here.

use std::time::Duration;

use crate::record::{Label, Payload};
use crate::{Claimant, Key, LeaseId, Mode, Owner, Ttl};

/// How long a request may take unless its sender says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether an acquisition queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fairness {
    /// It does not queue. It does not pass those who do.
    #[default]
    Unfair,
    /// It joins the queue and is granted in the order of arrival.
    Fair,
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
    pub fairness: Fairness,
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
    /// The lock was seen held and is being waited for: a backend whose refused writes cost more than reads may
    /// look before it writes.
    pub waiting: bool,
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
            fairness: Fairness::default(),
            ttl,
            margin: ttl.as_duration() / 10,
            label: None,
            data: None,
            watched: Vec::new(),
            waiting: false,
            timeout: DEFAULT_TIMEOUT,
        }
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
    /// Others are in the way.
    Held(Contention),
}

/// A lock that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The fencing token.
    pub token: u64,
    /// For how long.
    pub validity: Validity,
}

/// For how long a lease is valid, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// The live holders.
    pub occupants: Vec<Occupant>,
    /// When it is worth trying again if nobody releases before.
    pub free_in: Duration,
}

impl Contention {
    /// A refusal.
    #[must_use]
    pub fn new(reason: Reason, occupants: Vec<Occupant>, free_in: Duration) -> Self {
        Self {
            reason,
            occupants,
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
    /// A newer acquisition of the same owner took this one over.
    Replaced,
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

/// One attempt to end a lease.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReleaseRequest {
    /// What is locked.
    pub key: Key,
    /// Whose lease it is.
    pub owner: Owner,
    /// Which acquisition.
    pub id: LeaseId,
    /// How long the sender waits for the answer.
    pub timeout: Duration,
}

impl ReleaseRequest {
    /// A release of an acquisition.
    #[must_use]
    pub fn new(key: &Key, owner: &Owner, id: &LeaseId) -> Self {
        Self {
            key: key.clone(),
            owner: owner.clone(),
            id: id.clone(),
            timeout: DEFAULT_TIMEOUT,
        }
    }
}

/// How an attempt to end a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReleaseOutcome {
    /// It ended, now or by an earlier attempt.
    Released,
    /// It did not hold.
    NotHeld,
}
