//! What happened in all the worlds together.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::history::{Event, Side, What};
use crate::verdict::Verdict;
use crate::world::Past;

/// Counts, by what they count.
#[derive(Default)]
pub(crate) struct Sums {
    seeds: u64,
    counts: BTreeMap<(u8, String), u64>,
    worst_takeover: Duration,
    longest_wait: Duration,
    took: Duration,
    threads: usize,
}

impl Sums {
    pub(crate) fn add(&mut self, past: &Past, verdict: &Verdict) {
        self.seeds += 1;
        self.modes(&past.events);
        let report = &verdict.report;
        for (rank, name, count) in [
            (2, "takeovers", report.takeovers),
            (
                2,
                "takeovers by a client younger than the ttl",
                report.young_takeovers,
            ),
            (2, "releases", report.releases),
            (2, "lost leases", report.lost),
            (2, "grants past waiters that did not claim", past.passed),
            (2, "unfenced writes out of order", report.control),
            (3, "crash", report.crashes),
            (3, "pause", report.pauses),
        ] {
            self.count(rank, name, count);
        }
        for (name, count) in &report.faults {
            self.count(3, name, *count);
        }
        let delay = report.worst_takeover.map_or(0, |worst| worst.delay);
        self.worst_takeover = self.worst_takeover.max(Duration::from_nanos(delay));
        let waited = Duration::from_nanos(verdict.longest_wait);
        self.longest_wait = self.longest_wait.max(waited);
    }

    /// Grants by mode, and acquisitions that were dropped.
    fn modes(&mut self, events: &[Event]) {
        let mut sides = BTreeMap::new();
        for event in events {
            match &event.what {
                What::Acquire { lease, side, .. } => {
                    sides.insert((event.client, *lease), side);
                }
                What::Granted { lease, .. } => {
                    let name = match sides.get(&(event.client, *lease)) {
                        Some(Side::Shared) => "grants, shared",
                        Some(Side::Permit { .. }) => "grants, permit",
                        _ => "grants, exclusive",
                    };
                    self.count(1, name, 1);
                }
                What::GivenUp { .. } => self.count(3, "future dropped, or left to expire", 1),
                _ => {}
            }
        }
    }

    fn count(&mut self, rank: u8, name: &str, count: u64) {
        *self.counts.entry((rank, name.to_owned())).or_default() += count;
    }

    #[cfg(test)]
    pub(crate) fn of(&self, name: &str) -> u64 {
        let found = self.counts.iter().find(|((_, it), _)| it == name);
        found.map_or(0, |(_, count)| *count)
    }

    pub(crate) fn took(&mut self, took: Duration, threads: usize) {
        (self.took, self.threads) = (took, threads);
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<44} {:>12}", "seeds", self.seeds)?;
        for ((rank, name), count) in &self.counts {
            let indent = if *rank == 3 { "  " } else { "" };
            let width = 44 - indent.len();
            writeln!(f, "{indent}{name:<width$} {count:>12}")?;
        }
        for (name, time) in [
            (
                "worst takeover, whatever else went wrong",
                self.worst_takeover,
            ),
            ("longest wait when all was well", self.longest_wait),
        ] {
            writeln!(f, "{name:<44} {:>10.2} s", time.as_secs_f64())?;
        }
        let rate = Duration::from_secs(self.seeds).div_duration_f64(self.took);
        let each = rate / f64::from(u32::try_from(self.threads.max(1)).unwrap_or(u32::MAX));
        writeln!(f, "{:<44} {rate:>12.1}", "seeds a second")?;
        writeln!(f, "{:<44} {each:>12.1}", "  by each thread")
    }
}
