//! How far this machine's clock is from the server's.

use std::time::Duration;

use crate::time::Timestamp;

use super::Check;

/// From here on people notice, and logs mislead.
const NOTICEABLE: Duration = Duration::from_secs(1);
/// What locks go by, wherever it matters that a clock is wrong.
const SERVER_TIME: &str = "locks go by the server's time, but logs, and the instants that are given to scheduled jobs, by \
     this machine's: have it synchronised (NTP)";

/// What was read at one moment: this machine's wall clock, and the bounds of the server's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    pub(crate) local: Timestamp,
    pub(crate) earliest: Timestamp,
    pub(crate) latest: Timestamp,
}

impl Clocks {
    /// By how much this machine's is ahead of or behind everything that the server's can be.
    fn error(self) -> (Duration, &'static str) {
        let ahead = self.local.saturating_since(self.latest);
        let behind = self.earliest.saturating_since(self.local);
        if behind > ahead {
            (behind, "behind")
        } else {
            (ahead, "ahead of")
        }
    }

    /// The furthest that they can be apart.
    fn at_most(self) -> Duration {
        let behind = self.latest.saturating_since(self.local);
        let ahead = self.local.saturating_since(self.earliest);
        behind.max(ahead)
    }

    /// By how much these servers' clocks differ, at the least.
    #[cfg(feature = "mongodb")]
    pub(crate) fn apart(servers: &[Self]) -> Duration {
        let since = |server: Timestamp, local: Timestamp| server.as_millis() - local.as_millis();
        let earliest = servers
            .iter()
            .map(|clocks| since(clocks.earliest, clocks.local));
        let latest = servers
            .iter()
            .map(|clocks| since(clocks.latest, clocks.local));
        let apart = earliest
            .max()
            .zip(latest.min())
            .map(|(most, least)| most - least);
        Duration::from_millis(u64::try_from(apart.unwrap_or_default()).unwrap_or(0))
    }

    /// What is said of it, where the protocol does without this machine's clock up to a limit, if any.
    pub(crate) fn check(self, limit: Option<(Duration, &str)>) -> Check {
        const NAME: &str = "clock";
        let (error, side) = self.error();
        let found = format!("{:.1} s {side} the server's", error.as_secs_f64());
        match limit {
            Some((limit, remedy)) if error >= limit => Check::fail(NAME, found, remedy),
            _ if error >= NOTICEABLE => Check::warn(NAME, found, SERVER_TIME),
            _ => {
                let bound = self.at_most().as_secs_f64().max(0.1);
                Check::ok(NAME, format!("less than {bound:.1} s from the server's"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CheckStatus;

    const LIMIT: Option<(Duration, &str)> = Some((Duration::from_mins(5), "set it"));

    /// This machine's clock, where the server's is between these.
    fn clocks(local: i64, earliest: i64, latest: i64) -> Clocks {
        let [local, earliest, latest] = [local, earliest, latest].map(Timestamp::from_millis);
        Clocks {
            local,
            earliest,
            latest,
        }
    }

    #[test]
    fn a_clock_is_right_or_noticed_or_refused() {
        use CheckStatus::{Fail, Ok, Warn};
        for (local, status, found) in [
            (10_000, Ok, "less than 0.5 s from"),
            (10_999, Ok, "less than 1.0 s from"),
            (11_500, Warn, "1.0 s ahead of"),
            (8_000, Warn, "2.0 s behind"),
            (310_499, Warn, "300.0 s ahead of"),
            (310_500, Fail, "300.0 s ahead of"),
            (-290_000, Fail, "300.0 s behind"),
        ] {
            let check = clocks(local, 10_000, 10_500).check(LIMIT);
            assert_eq!(check.status, status, "{check:?}");
            assert!(check.found.starts_with(found), "{check:?}");
        }
        assert_eq!(clocks(3_600_000, 0, 1).check(None).status, Warn);
    }

    #[cfg(feature = "mongodb")]
    #[test]
    fn servers_are_compared_by_what_is_certain() {
        let apart = |servers: &[Clocks]| Clocks::apart(servers).as_millis();
        assert_eq!(apart(&[]), 0);
        // This machine's clock is far off, and was read at different moments.
        let one = clocks(0, 5_000, 5_010);
        assert_eq!(apart(&[one]), 0);
        assert_eq!(apart(&[one, clocks(100, 5_090, 5_101)]), 0);
        assert_eq!(apart(&[one, clocks(100, 5_711, 5_720)]), 601);
        assert_eq!(apart(&[clocks(100, 5_711, 5_720), one]), 601);
    }
}
