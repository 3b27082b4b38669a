//! The interval clock: what time it is at DynamoDB, as `[earliest, latest]`.
//!
//! DynamoDB has no function that tells its time, but every response carries an HTTP `Date`. A `Date` of `D` proves
//! that some front end's clock stood in `[D, D + 1 s)` at an instant between the send and the receipt, and no other
//! front end differs from that one by more than `clock_skew`. So after the receipt every server's clock is past
//! `D - clock_skew`, and at the send none was past `D + 1 s + clock_skew`. Each of the two is a bound that the local
//! clocks carry on to any other moment; of many bounds the best one counts, so the interval narrows with every
//! response, down to about `2 × clock_skew`.
//!
//! A bound loosens by 1/64 of the time that it is carried: sound as long as the local clock's rate is within ±1.5 %
//! of the servers'. An upper bound is carried by the *larger* of monotonic and wall time, because a frozen process's
//! monotonic clock may have stood still. What the local clocks cannot prove is not guessed: when they diverge, there
//! is no interval until the next `Date`. A freeze *and* a wall clock that hides it go unnoticed here; that is what
//! the validity rule is for.

use std::time::Duration;

use crate::time::{Moment, Timestamp};

use self::bounds::Bounds;
use self::estimate::{Estimate, diverged};

mod bounds;
mod estimate;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;

/// A `Date` header says whole seconds, so the true instant is up to this much later.
pub(super) const DATE_RESOLUTION: Duration = Duration::from_secs(1);

/// Server time lies between these two, whichever server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) earliest: Timestamp,
    pub(super) latest: Timestamp,
}

impl Interval {
    /// By the wall clock alone, which may be off by `max_clock_skew`.
    pub(super) fn unverified(now: Moment, max_clock_skew: Duration) -> Self {
        Self {
            earliest: now.wall.saturating_sub(max_clock_skew),
            latest: now.wall.saturating_add(max_clock_skew),
        }
    }
}

/// The time to write a lease from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WriteTime {
    pub(super) latest: Timestamp,
    /// If not, an `expires_at` is never moved back, no record is created and no slot is judged.
    pub(super) verified: bool,
}

/// Estimates server time from the `Date`s of responses. Reads no clock: every moment is handed in.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(PartialEq, Eq, Hash))]
pub(crate) struct IntervalClock {
    clock_skew: Duration,
    estimate: Option<Estimate>,
    seen: Seen,
}

/// Whether this endpoint sends `Date`s. One is proof for good; until then a response without is the only evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
enum Seen {
    Nothing,
    Undated,
    Dated,
}

impl IntervalClock {
    pub(crate) fn new(clock_skew: Duration) -> Self {
        Self {
            clock_skew,
            estimate: None,
            seen: Seen::Nothing,
        }
    }

    pub(super) fn clock_skew(&self) -> Duration {
        self.clock_skew
    }

    /// Learns from the `Date` of a response, given the moments just before its send and just after its receipt.
    ///
    /// To be called before anything is decided from that response.
    pub(crate) fn observe(&mut self, sent: Moment, received: Moment, date: Timestamp) {
        self.seen = Seen::Dated;
        // A freeze or a step inside the request: the two moments do not measure one span, so the sample says little.
        if diverged(sent, received) {
            return;
        }
        let fresh = Bounds::of(sent, received, date, self.clock_skew);
        self.estimate = Some(match self.estimate {
            Some(known) if !diverged(known.at, received) => known.with(fresh, received),
            _ => Estimate::first(fresh, received),
        });
    }

    /// Notes a response without a usable `Date` (none, or from a cache or proxy).
    pub(crate) fn observe_undated(&mut self) {
        if self.seen == Seen::Nothing {
            self.seen = Seen::Undated;
        }
    }

    /// Verified server time; `None` before the first `Date` and after the local clocks diverged.
    pub(super) fn interval(&self, now: Moment) -> Option<Interval> {
        let known = self.estimate.filter(|known| !diverged(known.at, now))?;
        Some(known.bounds.at(now))
    }

    /// The interval by which *another's* lease may be judged (evicted, clamped); `None`: ask the server again.
    ///
    /// The wall clock serves only where no response ever had a `Date`. Elsewhere one is a request away, and a wall
    /// clock that just stepped by an hour would throw out a live holder.
    pub(super) fn judge(&self, now: Moment, max_clock_skew: Duration) -> Option<Interval> {
        self.interval(now).or_else(|| {
            (self.seen == Seen::Undated).then(|| Interval::unverified(now, max_clock_skew))
        })
    }

    /// The time from which a lease sent at `now` is written.
    ///
    /// Before the first `Date` it is the plain wall clock: the response brings a `Date`, and the validity rule turns
    /// an error of the wall clock into one more request.
    pub(super) fn write_time(&self, now: Moment, max_clock_skew: Duration) -> WriteTime {
        match self.interval(now) {
            Some(interval) => WriteTime {
                latest: interval.latest,
                verified: true,
            },
            None if self.seen == Seen::Undated => WriteTime {
                latest: Interval::unverified(now, max_clock_skew).latest,
                verified: false,
            },
            None => WriteTime {
                latest: now.wall,
                verified: false,
            },
        }
    }

    /// What no server's clock had passed when a request was sent, for the validity rule.
    ///
    /// With a `Date` of the response itself the estimate has no say: it may be stale, the response is not.
    pub(crate) fn latest_at_send(
        &self,
        sent: Moment,
        date: Option<Timestamp>,
        max_clock_skew: Duration,
    ) -> Timestamp {
        if let Some(date) = date {
            return date_at_most(date, self.clock_skew);
        }
        self.interval(sent)
            .unwrap_or_else(|| Interval::unverified(sent, max_clock_skew))
            .latest
    }
}

/// What no server's clock had passed when the request was sent that was answered with `date`.
fn date_at_most(date: Timestamp, clock_skew: Duration) -> Timestamp {
    date.saturating_add(DATE_RESOLUTION)
        .saturating_add(clock_skew)
}
