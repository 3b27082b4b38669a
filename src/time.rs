//! The one place that reads clocks. Everything else is handed a [`Moment`] or a [`Timestamp`].
//!
//! Two notions of elapsed time are kept apart, because a process may be frozen (a suspended laptop, a
//! Lambda between invocations) while its monotonic clock stands still:
//!
//! * [`Moment::at_most_since`], for one's own lease: it may have lasted this long, so it counts as spent;
//! * [`Moment::at_least_since`], for somebody else's: it has certainly lasted this long.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// An instant on a server's clock or a wall clock, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The instant `ms` milliseconds after the Unix epoch (before it, if negative).
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This instant and `duration`, at most the last one that can be expressed.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// This instant less `duration`, at least the first one that can be expressed.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// How long after `earlier` this is; zero if it is not.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(millis(after)),
            Err(before) => {
                let ms = i64::try_from(before.duration().as_millis());
                Self(ms.map_or(i64::MIN, |ms| -ms))
            }
        }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(timestamp: Timestamp) -> Self {
        let distance = Duration::from_millis(timestamp.0.unsigned_abs());
        let time = if timestamp.0 < 0 {
            UNIX_EPOCH.checked_sub(distance)
        } else {
            UNIX_EPOCH.checked_add(distance)
        };
        time.unwrap_or(UNIX_EPOCH)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms since the epoch", self.0)
    }
}

/// One reading of a process's two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Moment {
    /// Since an arbitrary origin, the same for all moments of one [`Clock`]. Never steps; may stand still
    /// while the process is frozen.
    pub monotonic: Duration,
    /// What the machine believes the time of day to be. May step, either way.
    pub wall: Timestamp,
}

impl Moment {
    /// The longest that it can have been since `earlier`: the larger of both clocks' differences.
    #[must_use]
    pub fn at_most_since(self, earlier: Self) -> Duration {
        self.at_least_since(earlier)
            .max(self.wall.saturating_since(earlier.wall))
    }

    /// How long it has certainly been since `earlier`: the monotonic clock's difference.
    #[must_use]
    pub fn at_least_since(self, earlier: Self) -> Duration {
        self.monotonic.saturating_sub(earlier.monotonic)
    }
}

/// Where a client, or a backend without server time, reads the time.
///
/// [`SystemClock`] is right for everything but tests.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Reads both clocks.
    fn now(&self) -> Moment;
}

/// The machine's own clocks. Its monotonic half follows tokio's, so that a test with paused time sees that.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        static ORIGIN: OnceLock<tokio::time::Instant> = OnceLock::new();
        // Before every reading: another thread's may be a little earlier than the first one, a test's by what it paused.
        const BEFORE: Duration = Duration::from_hours(1);
        let now = tokio::time::Instant::now();
        let origin = ORIGIN.get_or_init(|| now.checked_sub(BEFORE).unwrap_or(now));
        Moment {
            monotonic: now.saturating_duration_since(*origin),
            wall: SystemTime::now().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_shows_what_it_counts() {
        assert_eq!(
            Timestamp::from_millis(-7).to_string(),
            "-7 ms since the epoch"
        );
    }
}
