//! What the samples prove together, and what to do when they contradict each other.
//!
//! Samples that agree are intersected. One that contradicts is a lie, or all the former ones were: which of them only
//! later samples can tell. Until three that agree span two seconds, the estimate is the hull of everything that was
//! heard, so it stays right whoever lied.

use std::time::Duration;

use super::bounds::Bounds;
use crate::time::Moment;

/// By how much wall and monotonic time may disagree about one span before it counts as a thaw or a step.
const DIVERGENCE_MS: u64 = 50;
/// So many samples must agree, over such a time, before a contested estimate is believed again.
const AGREEING_SAMPLES: u32 = 3;
const AGREEING_OVER: Duration = Duration::from_secs(2);

/// Whether wall and monotonic time disagree about the span between two moments: a freeze, or a step of the wall clock.
pub(super) fn diverged(one: Moment, other: Moment) -> bool {
    let later = later(one, other);
    let earlier = if later == one { other } else { one };
    let monotonic = later.at_least_since(earlier).as_millis();
    let wall = later
        .wall
        .as_millis()
        .saturating_sub(earlier.wall.as_millis());
    wall.abs_diff(i64::try_from(monotonic).unwrap_or(i64::MAX)) > DIVERGENCE_MS
}

fn later(one: Moment, other: Moment) -> Moment {
    if one.monotonic >= other.monotonic {
        one
    } else {
        other
    }
}

/// All samples so far, as of the newest.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(test, derive(PartialEq, Eq, Hash))]
pub(super) struct Estimate {
    pub(super) bounds: Bounds,
    /// The newest receipt: where wall and monotonic time were last seen together.
    pub(super) at: Moment,
    contest: Option<Contest>,
}

impl Estimate {
    pub(super) fn first(bounds: Bounds, received: Moment) -> Self {
        Self {
            bounds,
            at: received,
            contest: None,
        }
    }

    /// The estimate after one more sample. Responses may come in another order than they were received in.
    pub(super) fn with(self, fresh: Bounds, received: Moment) -> Self {
        let at = later(self.at, received);
        let (bounds, contest) = match self.contest {
            Some(contest) => {
                let contest = contest.with(fresh, received, at);
                if contest.is_settled(received) {
                    (contest.bounds, None)
                } else {
                    (self.bounds.hull(fresh, at), Some(contest))
                }
            }
            None => match self.bounds.meet(fresh, at) {
                Some(bounds) => (bounds, None),
                None => (
                    self.bounds.hull(fresh, at),
                    Some(Contest::of(fresh, received)),
                ),
            },
        };
        Self {
            bounds,
            at,
            contest,
        }
    }
}

/// The newest run of samples that agree with each other, while the estimate is in doubt.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(test, derive(PartialEq, Eq, Hash))]
struct Contest {
    bounds: Bounds,
    since: Moment,
    agreeing: u32,
}

impl Contest {
    fn of(bounds: Bounds, received: Moment) -> Self {
        Self {
            bounds,
            since: received,
            agreeing: 1,
        }
    }

    fn with(self, fresh: Bounds, received: Moment, at: Moment) -> Self {
        match self.bounds.meet(fresh, at) {
            Some(bounds) => Self {
                bounds,
                agreeing: self.agreeing.saturating_add(1),
                ..self
            },
            None => Self::of(fresh, received),
        }
    }

    fn is_settled(&self, received: Moment) -> bool {
        self.agreeing >= AGREEING_SAMPLES && received.at_least_since(self.since) >= AGREEING_OVER
    }
}
