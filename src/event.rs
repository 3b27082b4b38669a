//! What happens to a client's locks, as its hook is told.

use std::time::Duration;

use crate::lease::Loss;
use crate::{ErrorKind, Key, Mode, Owner};

/// Something that happened to one of a client's locks: what [`LockClientBuilder::on_event`] tells.
///
/// Each acquisition ends in one [`Acquired`](EventKind::Acquired) or [`NotAcquired`](EventKind::NotAcquired), each
/// lease in one [`Released`](EventKind::Released) or [`Lost`](EventKind::Lost). A change of mode is an acquisition,
/// and ends the lease before it. What was refused before any request, such as an impossible key, is none.
///
/// [`LockClientBuilder::on_event`]: crate::LockClientBuilder::on_event
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// What the lock is on.
    pub key: Key,
    /// In whose name.
    pub owner: Owner,
    /// What it allows beside it.
    pub mode: Mode,
    /// What happened.
    pub kind: EventKind,
}

/// What happened to a lock.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EventKind {
    /// A lease was granted, and is about to be handed out.
    #[non_exhaustive]
    Acquired {
        /// Its fencing token.
        token: u64,
        /// How the acquisition went.
        effort: Effort,
        /// Who had it before and let it run out: somebody who crashed, or was cut off. Known only where it was waited
        /// for; a lease that had run out before is not seen.
        took_over: Option<Owner>,
    },
    /// An acquisition ended without a lease.
    #[non_exhaustive]
    NotAcquired {
        /// Why.
        why: WhyNot,
        /// How the acquisition went.
        effort: Effort,
    },
    /// A renewal failed. It is tried again while the lease lives.
    #[non_exhaustive]
    RenewalFailed {
        /// The lease's fencing token.
        token: u64,
        /// What kind of failure it was.
        error: ErrorKind,
        /// How long until the lease is lost unless a later one succeeds.
        remaining: Duration,
    },
    /// A lease may not be ours any more.
    #[non_exhaustive]
    Lost {
        /// Its fencing token.
        token: u64,
        /// Why.
        why: Loss,
        /// How long it was held, counted from the first grant if its mode was changed.
        held: Duration,
    },
    /// A lease was given up, and ended here at once. What the database says of it comes later.
    #[non_exhaustive]
    Released {
        /// Its fencing token.
        token: u64,
        /// How long it was held, counted from the first grant if its mode was changed.
        held: Duration,
    },
    /// The database did not confirm that a lease ended, which it did here: the lock stays taken until it expires.
    /// [`ErrorKind::LeaseLost`]: it was gone before, so what was done last may not have been alone.
    #[non_exhaustive]
    ReleaseFailed {
        /// What kind of failure it was.
        error: ErrorKind,
    },
}

/// How an acquisition went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Effort {
    /// How long it took in all.
    pub took: Duration,
    /// How much of that was over when the last request was sent: the wait for others, or for a database that did not
    /// answer. The rest is that request's own time. All of it if none was sent.
    pub waited: Duration,
    /// How many requests were sent.
    pub attempts: u32,
    /// How many of them were refused because others hold it or queue for it.
    pub refusals: u32,
}

/// Why an acquisition ended without a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhyNot {
    /// Others were in the way, and it was not to wait.
    Busy,
    /// Others were in the way until the end of its wait.
    TimedOut,
    /// Its run has happened already: a scheduled job's, or the only one of an id.
    Skipped,
    /// Its future was dropped.
    Cancelled,
    /// It failed.
    Failed(ErrorKind),
}
