//! Who gets a lock, keeps it and gives it back: pure functions over a [`LockRecord`](crate::LockRecord).
//!
//! They do no I/O and read no clock. The in-memory backend applies them as they are; the database backends
//! let the server decide the plain cases by an expression that says the same, and apply them for the rest.

mod admit;
mod release;
mod renew;
mod slot;
mod turn;

use std::time::Duration;

use crate::time::Timestamp;

pub use admit::{Verdict, admit};
#[cfg(feature = "dynamodb")]
pub(crate) use release::linger;
pub use release::{Released, release};
pub use renew::{Renewed, renew};
#[cfg(feature = "mongodb")]
pub(crate) use slot::PINNED;
#[cfg(feature = "mongodb")]
pub(crate) use turn::REFRESH;

/// What is known of a server's time at the moment of a decision.
///
/// The truth lies within `earliest..=latest`. Whoever evicts compares with `earliest`, whoever writes an
/// expiry counts from `stamp`, so that an error costs time and never safety.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerTime {
    /// It is at least this late: what expiries are compared with.
    pub earliest: Timestamp,
    /// It is at most this late: what an implausible expiry is cut down to, with ttl and `pad`.
    pub latest: Timestamp,
    /// How much later than that an expiry may be before it is implausible: others' knowledge of the time may be worse.
    pub tolerance: Duration,
    /// What is written as the time of a grant, and what its expiry counts from.
    pub stamp: Timestamp,
    /// Added to every expiry, to cover what the writer does not know of the server's clock.
    pub pad: Duration,
    /// The least token that may be issued next: server time in microseconds where the server tells it (or
    /// creates the record), 0 otherwise.
    pub token_floor: u64,
    /// Whether a renewal leaves a later expiry as it stands, because its own time may be wrong.
    pub keep_later_expiry: bool,
}

impl ServerTime {
    /// The time of a server whose own clock stamps every write, with `skew` as the bound of the difference
    /// between any two servers.
    #[must_use]
    pub fn exact(now: Timestamp, skew: Duration) -> Self {
        Self {
            earliest: now.saturating_sub(skew),
            latest: now.saturating_add(skew),
            tolerance: Duration::ZERO,
            stamp: now,
            pad: Duration::ZERO,
            token_floor: micros(now),
            keep_later_expiry: true,
        }
    }

    /// How long each waiter has to claim its turn before the next one may: the slowest poll of the first in line, a
    /// second for its request, and what is not known of the time.
    pub(crate) fn claim(&self) -> Duration {
        Duration::from_secs(2).saturating_add(self.latest.saturating_since(self.earliest))
    }

    pub(crate) fn expiry(&self, ttl: crate::Ttl) -> Timestamp {
        self.stamp
            .saturating_add(ttl.as_duration())
            .saturating_add(self.pad)
    }
}

/// A time as the floor of a fencing token: microseconds since the epoch, below 2^53 until the year 2255.
#[must_use]
pub fn micros(time: Timestamp) -> u64 {
    u64::try_from(time.as_millis())
        .unwrap_or(0)
        .saturating_mul(1000)
}

/// How far ahead of the server's time a token may be asked for.
pub(crate) const MAX_LEAD: u64 = 24 * 3600 * 1_000_000;
/// No token that is asked for is greater: a clock at the end of its range must not exhaust that of the tokens.
pub(crate) const MAX_FLOOR: u64 = 1 << 60;

/// The least token that was asked for, or 0 if it is so great that only a broken clock can have made it.
pub(crate) fn sane_floor(floor: u64, time: &ServerTime) -> u64 {
    let bound = micros(time.stamp).saturating_add(MAX_LEAD).min(MAX_FLOOR);
    if floor <= bound { floor } else { 0 }
}

#[cfg(test)]
mod tests;
