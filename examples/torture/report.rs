//! What a run tells, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::client::TTL;
use crate::conductor::{Outcome, Plan};
use crate::figures::Figures;
use crate::history::Event;
use crate::history::check::{Bounds, Report, check};
use crate::journal;
use crate::takeovers::slowest;

/// Fewer grants a second prove nothing.
const FEWEST: f64 = 1.0;
/// Two busy cores.
const GRACE: Duration = Duration::from_secs(3);
/// What an acquisition that does not wait may take: the client's request timeout.
const ATTEMPT: Duration = Duration::from_secs(5);

/// All that is to be said of a run.
#[derive(Serialize)]
pub(crate) struct Summary {
    backend: String,
    seed: u64,
    seconds: f64,
    faults: BTreeMap<String, u64>,
    /// Requests about records that are none of ours, all refused.
    foreign_requests: u64,
    complaints: Vec<String>,
    figures: Figures,
    /// In seconds, while servers and network were well.
    slowest_takeover: Option<f64>,
    report: Report,
    #[serde(skip)]
    events: Vec<Event>,
}

impl Summary {
    pub(crate) fn new(plan: &Plan, outcome: Outcome) -> Self {
        let uncertainty = plan.backend.site().takeover(TTL).saturating_sub(TTL);
        let bounds = Bounds {
            uncertainty: nanos(uncertainty),
            grace: nanos(GRACE),
            attempt: nanos(ATTEMPT),
        };
        Self {
            backend: plan.backend.to_string(),
            seed: plan.seed,
            seconds: plan.length.as_secs_f64(),
            faults: outcome.faults,
            foreign_requests: outcome.meddled,
            complaints: outcome.complaints,
            slowest_takeover: slowest(&outcome.events).map(|took| took.as_secs_f64()),
            figures: Figures::of(&outcome.events, nanos(ATTEMPT)),
            report: check(&outcome.events, &bounds),
            events: outcome.events,
        }
    }

    /// `report.txt`, `report.json` and `history.jsonl`.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        fs::write(folder.join("report.txt"), self.to_string())?;
        let json = serde_json::to_vec_pretty(self)?;
        fs::write(folder.join("report.json"), json)?;
        journal::write(&self.events, &folder.join("history.jsonl"))
    }

    /// What must not be.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures: Vec<String> = (self.violations().iter())
            .map(|(invariant, count)| format!("{invariant} violated {count} times"))
            .collect();
        #[allow(clippy::cast_precision_loss)]
        if (self.report.grants as f64) < FEWEST * self.seconds {
            let grants = self.report.grants;
            failures.push(format!("only {grants} grants: nothing proved"));
        }
        let unexpected = self.figures.unexpected();
        failures.extend(unexpected.map(|kind| format!("an acquisition ended with {kind}")));
        failures.extend(self.complaints.iter().cloned());
        failures
    }

    /// Without a fence nothing went wrong: then the run says nothing about those with one.
    pub(crate) fn nothing_proved(&self) -> Option<String> {
        (self.report.control == 0)
            .then(|| "no unfenced write came out of order: nothing proved".to_owned())
    }

    /// By invariant.
    pub(crate) fn violations(&self) -> BTreeMap<&'static str, u64> {
        let mut violations = BTreeMap::new();
        for violation in &self.report.violations {
            *violations.entry(violation.invariant).or_default() += 1;
        }
        violations
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backend, seed, .. } = self;
        writeln!(f, "{backend}, {:.0} s of faults, seed {seed}", self.seconds)?;
        writeln!(f, "\nfaults")?;
        counts(f, &self.faults)?;
        line(f, "in all", self.faults.values().sum::<u64>())?;
        writeln!(f, "\nlocks")?;
        write!(f, "{}", self.figures)?;
        line(f, "foreign records refused", self.foreign_requests)?;
        line(f, "leases lost", self.report.lost)?;
        line(f, "takeovers", self.report.takeovers)?;
        line(
            f,
            "  by a client younger than the ttl",
            self.report.young_takeovers,
        )?;
        if let Some(slowest) = self.slowest_takeover {
            line(f, "  slowest while all was well", format!("{slowest:.2} s"))?;
        }
        if let Some(worst) = self.report.worst_takeover {
            let [delay, bound] = [worst.delay, worst.bound].map(Duration::from_nanos);
            line(f, "    its bound", format!("{:.2} s", bound.as_secs_f64()))?;
            line(
                f,
                "  slowest, whatever was down",
                format!("{:.2} s", delay.as_secs_f64()),
            )?;
        }
        writeln!(f, "\nverdict")?;
        line(f, "unfenced writes out of order", self.report.control)?;
        line(f, "violations", self.report.violations.len())?;
        self.complaints
            .iter()
            .try_for_each(|complaint| writeln!(f, "  {complaint}"))?;
        self.report
            .violations
            .iter()
            .try_for_each(|it| write!(f, "{it}"))
    }
}

/// Aligned, as a table of two columns.
pub(crate) fn line(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    value: impl fmt::Display,
) -> fmt::Result {
    writeln!(f, "  {name:<38} {:>10}", value.to_string())
}

pub(crate) fn counts(f: &mut fmt::Formatter<'_>, counts: &BTreeMap<String, u64>) -> fmt::Result {
    counts
        .iter()
        .try_for_each(|(name, count)| line(f, name, count))
}
