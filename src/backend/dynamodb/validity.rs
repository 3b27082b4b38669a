//! The validity rule: for how long a lease that was just written may be believed.
//!
//! A lease is written with an `expires_at` that rests on what the writer thought the time was. That may be wrong: a
//! cold process knows only its wall clock, a thawed one may not have noticed. But the response to the write itself
//! says the time, so every writer checks afterwards how much its `expires_at` was worth at the send, and believes in
//! no more. A sane clock passes at no cost; a wrong one costs one more request, never safety.
//!
//! All of this counts from the instant before the send. Where a response has no `Date`, what stands in for it is
//! [`IntervalClock::latest_at_send`](super::clock::IntervalClock::latest_at_send): the verified estimate if there is
//! one, else the wall clock plus `max_clock_skew`.

use std::time::Duration;

use super::clock::DATE_RESOLUTION;
use crate::time::Timestamp;

/// An `expires_at` may exceed what it should be by as much; the estimate that it came from need not be narrow.
pub(super) const EXCESS: Duration = Duration::from_secs(3);

/// What is added to every `expires_at`, so that the error of reading a `Date` does not come out of the ttl.
pub(super) fn pad(clock_skew: Duration) -> Duration {
    DATE_RESOLUTION.saturating_add(clock_skew)
}

/// One successful write of a lease.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    /// As the record shows it now, whoever computed it.
    pub(super) expires_at: Timestamp,
    pub(super) ttl: Duration,
    /// The lease's safety margin. It only sets how much loss is worth a refresh; it is not subtracted here.
    pub(super) margin: Duration,
}

/// What a write is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    /// Counts from the instant before the send; the safety margin is still in it.
    pub(super) valid_for: Duration,
    /// Renew once, now that the time is known, before the lease is handed out.
    pub(super) refresh: bool,
}

impl Written {
    /// `latest_at_send`: what no server's clock had passed at the send, by the response to this very write.
    pub(super) fn validity(&self, latest_at_send: Timestamp, clock_skew: Duration) -> Validity {
        let left = self.expires_at.saturating_since(latest_at_send);
        // Too early: the caller gets less than it asked for. Too late: a crash would lock everybody out.
        let too_early = left < self.ttl.saturating_sub(self.margin);
        let too_late = left
            > self
                .ttl
                .saturating_add(pad(clock_skew))
                .saturating_add(EXCESS);
        Validity {
            valid_for: left.min(self.ttl),
            refresh: too_early || too_late,
        }
    }
}

/// What is written when server time is `latest` at most.
#[cfg(test)]
pub(super) fn expires_at(latest: Timestamp, ttl: Duration, clock_skew: Duration) -> Timestamp {
    latest.saturating_add(ttl).saturating_add(pad(clock_skew))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SKEW: Duration = Duration::from_millis(500);
    const TTL: Duration = Duration::from_secs(10);
    const MARGIN: Duration = Duration::from_secs(1);

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + ms)
    }

    /// The validity of a 10 s lease whose `expires_at` is so far from the server's latest time at the send.
    fn left(ms: i64) -> Validity {
        let written = Written {
            expires_at: at(ms),
            ttl: TTL,
            margin: MARGIN,
        };
        written.validity(at(0), SKEW)
    }

    #[test]
    fn an_expiry_is_padded_by_a_second_and_the_skew() {
        assert_eq!(pad(SKEW), Duration::from_millis(1_500));
    }

    #[test]
    fn a_lease_is_worth_its_ttl_at_most() {
        assert_eq!(
            left(10_000),
            Validity {
                valid_for: TTL,
                refresh: false
            }
        );
        assert_eq!(
            left(14_500),
            Validity {
                valid_for: TTL,
                refresh: false
            }
        );
    }

    #[test]
    fn what_an_early_expiry_leaves_is_all_there_is() {
        let valid_for = Duration::from_secs(9);
        assert_eq!(
            left(9_000),
            Validity {
                valid_for,
                refresh: false
            }
        );
    }

    #[test]
    fn an_expiry_that_costs_more_than_the_margin_is_refreshed() {
        let valid_for = Duration::from_millis(8_999);
        assert_eq!(
            left(8_999),
            Validity {
                valid_for,
                refresh: true
            }
        );
    }

    #[test]
    fn a_lease_that_was_over_when_sent_is_worth_nothing() {
        assert_eq!(
            left(-1),
            Validity {
                valid_for: Duration::ZERO,
                refresh: true
            }
        );
    }

    #[test]
    fn an_expiry_too_far_away_is_refreshed() {
        assert_eq!(
            left(14_501),
            Validity {
                valid_for: TTL,
                refresh: true
            }
        );
    }

    #[test]
    fn nothing_overflows() {
        let written = Written {
            expires_at: Timestamp::from_millis(i64::MAX),
            ttl: Duration::MAX,
            margin: Duration::MAX,
        };
        let validity = written.validity(Timestamp::from_millis(i64::MIN), Duration::MAX);
        assert!(!validity.refresh);
        assert_eq!(
            expires_at(Timestamp::from_millis(i64::MAX), Duration::MAX, SKEW),
            Timestamp::from_millis(i64::MAX)
        );
    }

    proptest! {
        /// Whatever the writer thought the time was: nobody believes in a lease past its `expires_at`.
        #[test]
        fn belief_ends_before_the_expiry(
            error in -3_600_000_i64..3_600_000,
            ttl in 1_u64..86_400_000,
            true_at_send in -1_000_i64..=0,
        ) {
            let ttl = Duration::from_millis(ttl);
            let expires_at = expires_at(at(error), ttl, SKEW);
            let validity = Written { expires_at, ttl, margin: ttl / 10 }.validity(at(0), SKEW);
            let believed_until = at(true_at_send).saturating_add(validity.valid_for);
            prop_assert!(validity.valid_for.is_zero() || believed_until <= expires_at);
            prop_assert!(validity.valid_for <= ttl);
        }

        /// A writer whose estimate is right needs no second request, if the round trip fits into the margin:
        /// `estimate` is how far its latest time was ahead of the truth, `date` how far the one of the response is.
        #[test]
        fn a_sane_clock_costs_nothing(estimate in 0_i64..=3_000, date in 500_i64..=2_500) {
            let expires_at = expires_at(at(estimate), TTL, SKEW);
            let validity = Written { expires_at, ttl: TTL, margin: MARGIN }.validity(at(date), SKEW);
            prop_assert!(!validity.refresh);
        }
    }
}
