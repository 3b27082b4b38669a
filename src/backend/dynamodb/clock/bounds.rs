//! What one sample proves about server time, carried by the local clocks to another moment.

use std::time::Duration;

use super::{Interval, date_at_most};
use crate::time::{Moment, Timestamp};

/// A carried bound loosens by `1 / DRIFT_DIVISOR` of the elapsed time: 1.56 %, for clock rates within ±1.5 %.
const DRIFT_DIVISOR: u32 = 64;
/// Wall time has a resolution of 1 ms, and so has the result: what is rounded must not be lost.
const GRAIN: Duration = Duration::from_millis(1);

/// The most that can have passed on a server's clock while `elapsed` passed here.
fn at_most(elapsed: Duration) -> Duration {
    elapsed
        .saturating_add(elapsed / DRIFT_DIVISOR)
        .saturating_add(GRAIN)
}

/// The least that can have passed on a server's clock while `elapsed` passed here.
fn at_least(elapsed: Duration) -> Duration {
    elapsed.saturating_sub(elapsed / DRIFT_DIVISOR)
}

/// A lower and an upper bound of server time, each from the sample that gave the best one.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(test, derive(PartialEq, Eq, Hash))]
pub(super) struct Bounds {
    lower: Bound,
    upper: Bound,
}

impl Bounds {
    pub(super) fn of(
        sent: Moment,
        received: Moment,
        date: Timestamp,
        clock_skew: Duration,
    ) -> Self {
        Self {
            lower: Bound {
                at: received,
                server: date.saturating_sub(clock_skew),
            },
            upper: Bound {
                at: sent,
                server: date_at_most(date, clock_skew),
            },
        }
    }

    pub(super) fn at(self, now: Moment) -> Interval {
        Interval {
            earliest: self.lower.earliest(now),
            latest: self.upper.latest(now),
        }
    }

    /// The intersection, unless the two contradict.
    pub(super) fn meet(self, other: Self, at: Moment) -> Option<Self> {
        let met = self.pick(other, at, Timestamp::gt, Timestamp::lt);
        let Interval { earliest, latest } = met.at(at);
        (earliest <= latest).then_some(met)
    }

    pub(super) fn hull(self, other: Self, at: Moment) -> Self {
        self.pick(other, at, Timestamp::lt, Timestamp::gt)
    }

    fn pick(self, other: Self, at: Moment, lower: Prefer, upper: Prefer) -> Self {
        let (mine, theirs) = (self.at(at), other.at(at));
        let other_lower = lower(&theirs.earliest, &mine.earliest);
        let other_upper = upper(&theirs.latest, &mine.latest);
        Self {
            lower: if other_lower { other.lower } else { self.lower },
            upper: if other_upper { other.upper } else { self.upper },
        }
    }
}

type Prefer = fn(&Timestamp, &Timestamp) -> bool;

/// What a server's clock showed at the earliest or at the latest, at one moment.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(test, derive(PartialEq, Eq, Hash))]
struct Bound {
    at: Moment,
    server: Timestamp,
}

impl Bound {
    /// As a lower bound: carried forward by the least that can have passed, back by the most.
    fn earliest(self, now: Moment) -> Timestamp {
        if now.monotonic >= self.at.monotonic {
            self.server
                .saturating_add(at_least(now.at_least_since(self.at)))
        } else {
            self.server
                .saturating_sub(at_most(self.at.at_most_since(now)))
        }
    }

    /// As an upper bound: carried forward by the most that can have passed, back by the least.
    fn latest(self, now: Moment) -> Timestamp {
        if now.monotonic >= self.at.monotonic {
            self.server
                .saturating_add(at_most(now.at_most_since(self.at)))
        } else {
            self.server
                .saturating_sub(at_least(self.at.at_least_since(now)))
        }
    }
}
