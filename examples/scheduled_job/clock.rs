//! A host's clock, as clocks are.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

/// It is wrong by so many milliseconds.
pub(crate) struct Clock(i64);

impl Clock {
    pub(crate) fn wrong_by(millis: i64) -> Self {
        Self(millis)
    }

    pub(crate) fn now(&self) -> Zoned {
        let now = Timestamp::now() + SignedDuration::from_millis(self.0);
        now.to_zoned(TimeZone::UTC)
    }

    /// How long until then by this clock, and some jitter.
    pub(crate) fn until(&self, then: &Zoned) -> Duration {
        let left = self.now().duration_until(then);
        let left = Duration::try_from(left).unwrap_or_default();
        left + Duration::from_millis(fastrand::u64(0..1000))
    }
}
