//! What came of a check.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::history::Event;

/// No more violations than this are told: one is enough.
const MOST: usize = 100;

/// How often what happened, and what should not have.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) grants: u64,
    /// Grants whose predecessor by token was never asked to release.
    pub(crate) takeovers: u64,
    /// Takeovers by a client that was younger than the ttl of the lease that it took over.
    pub(crate) young_takeovers: u64,
    pub(crate) releases: u64,
    pub(crate) lost: u64,
    pub(crate) crashes: u64,
    pub(crate) pauses: u64,
    pub(crate) faults: BTreeMap<String, u64>,
    /// The longest that somebody waited after a holder had crashed or was paused, whatever else went wrong.
    pub(crate) worst_takeover: Option<Takeover>,
    /// How many writes the unfenced resource accepted after one with a later token. A history with pauses where this is
    /// zero proves nothing: nobody wrote when it was dangerous.
    pub(crate) control: u64,
    pub(crate) violations: Vec<Violation>,
}

/// The way from one holder's end to the next grant, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Takeover {
    pub(crate) delay: u64,
    /// What it may take while the servers are well.
    pub(crate) bound: u64,
}

/// An invariant that did not hold.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Violation {
    pub(crate) invariant: &'static str,
    pub(crate) sentence: String,
    pub(crate) events: Vec<Event>,
}

impl Report {
    pub(crate) fn violate(
        &mut self,
        invariant: &'static str,
        sentence: impl Into<String>,
        events: &[&Event],
    ) {
        if self.violations.len() < MOST {
            self.violations.push(Violation {
                invariant,
                sentence: sentence.into(),
                events: events.iter().map(|event| (*event).clone()).collect(),
            });
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in [
            ("grants", self.grants),
            ("takeovers", self.takeovers),
            ("  by a younger client", self.young_takeovers),
            ("releases", self.releases),
            ("lost leases", self.lost),
            ("crashes", self.crashes),
            ("pauses", self.pauses),
            ("unfenced writes out of order", self.control),
        ] {
            writeln!(f, "{name:<32} {count:>10}")?;
        }
        for (name, count) in &self.faults {
            writeln!(f, "fault: {name:<25} {count:>10}")?;
        }
        if let Some(Takeover { delay, bound }) = self.worst_takeover {
            let [delay, bound] = [delay, bound].map(Duration::from_nanos);
            let name = "worst takeover";
            writeln!(f, "{name:<32} {delay:>10.2?} ({bound:.2?} if all is well)")?;
        }
        writeln!(f, "{:<32} {:>10}", "violations", self.violations.len())?;
        self.violations.iter().try_for_each(|it| write!(f, "{it}"))
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.invariant, self.sentence)?;
        for event in &self.events {
            let at = Duration::from_nanos(event.at).as_secs_f64();
            writeln!(
                f,
                "  {at:>12.6} s  client {:<4} {:?}",
                event.client, event.what
            )?;
        }
        Ok(())
    }
}
