//! What the clients were answered, counted.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::history::{Event, Side, What};
use crate::report::{counts, line};

/// How an acquisition may end in an outage.
const EXPECTED: [&str; 4] = ["WaitTimeout", "Throttled", "Unavailable", "OutcomeUnknown"];

#[derive(Default, Serialize)]
pub(crate) struct Figures {
    acquisitions: u64,
    grants: BTreeMap<String, u64>,
    refusals: BTreeMap<String, u64>,
    given_up: u64,
    renewals: u64,
    failed_renewals: u64,
    releases: u64,
    failed_releases: u64,
    writes_accepted: u64,
    writes_refused: u64,
    /// Acquisitions that took longer than their own wait by more than this many seconds, less what their clients stood still.
    late_by_100_ms: u64,
    late_by_a_second: u64,
    /// The latest of them, in seconds.
    latest: f64,
}

/// An acquisition under way.
struct Asked {
    at: u64,
    allowed: u64,
    side: Side,
    fair: bool,
}

impl Figures {
    /// `attempt`: how long an acquisition may take that does not wait, in nanoseconds.
    pub(crate) fn of(events: &[Event], attempt: u64) -> Self {
        let mut figures = Self::default();
        let mut asked = HashMap::new();
        let mut paused = Pauses::default();
        for event in events {
            paused.note(event);
            match &event.what {
                What::Acquire {
                    lease,
                    side,
                    fair,
                    wait,
                    ..
                } => {
                    figures.acquisitions += 1;
                    let allowed = if *wait == 0 { attempt } else { *wait };
                    let (at, side, fair) = (event.at, *side, *fair);
                    asked.insert(
                        (event.client, *lease),
                        Asked {
                            at,
                            allowed,
                            side,
                            fair,
                        },
                    );
                }
                What::Granted { lease, .. } => {
                    if let Some(asked) = asked.remove(&(event.client, *lease)) {
                        *figures.grants.entry(asked.mode()).or_default() += 1;
                        figures.ended(&asked, event, &paused);
                    }
                }
                What::NotGranted { lease, kind } => {
                    *figures.refusals.entry(kind.clone()).or_default() += 1;
                    if let Some(asked) = asked.remove(&(event.client, *lease)) {
                        figures.ended(&asked, event, &paused);
                    }
                }
                What::GivenUp { .. } => figures.given_up += 1,
                What::Renewed { ok: true, .. } => figures.renewals += 1,
                What::Renewed { ok: false, .. } => figures.failed_renewals += 1,
                What::Released { ok: true, .. } => figures.releases += 1,
                What::Released { ok: false, .. } => figures.failed_releases += 1,
                What::Write {
                    fenced: true,
                    accepted: true,
                    ..
                } => figures.writes_accepted += 1,
                What::Write {
                    fenced: true,
                    accepted: false,
                    ..
                } => figures.writes_refused += 1,
                _ => {}
            }
        }
        figures
    }

    /// Kinds of errors that nothing here explains.
    pub(crate) fn unexpected(&self) -> impl Iterator<Item = &str> {
        let kinds = self.refusals.keys().map(String::as_str);
        kinds.filter(|kind| !EXPECTED.contains(kind))
    }

    fn ended(&mut self, asked: &Asked, event: &Event, paused: &Pauses) {
        let took = event.at - asked.at;
        let took = took.saturating_sub(paused.since(event.client, asked.at, event.at));
        let late = Duration::from_nanos(took.saturating_sub(asked.allowed));
        self.late_by_100_ms += u64::from(late > Duration::from_millis(100));
        self.late_by_a_second += u64::from(late > Duration::from_secs(1));
        self.latest = self.latest.max(late.as_secs_f64());
    }
}

impl Asked {
    fn mode(&self) -> String {
        let mode = match self.side {
            Side::Exclusive => "exclusive",
            Side::Shared => "shared",
            Side::Permit { .. } => "permit",
        };
        if self.fair {
            format!("fair {mode}")
        } else {
            mode.to_owned()
        }
    }
}

/// When clients stood still.
#[derive(Default)]
struct Pauses(HashMap<u32, Vec<(u64, u64)>>);

impl Pauses {
    fn note(&mut self, event: &Event) {
        let pauses = self.0.entry(event.client).or_default();
        match event.what {
            What::Paused => pauses.push((event.at, u64::MAX)),
            What::Resumed => {
                if let Some((_, until)) = pauses.last_mut() {
                    *until = event.at;
                }
            }
            _ => {}
        }
    }

    /// How much of a time a client stood still.
    fn since(&self, client: u32, from: u64, until: u64) -> u64 {
        let pauses = self.0.get(&client).into_iter().flatten();
        let parts = pauses.map(|pause| pause.1.min(until).saturating_sub(pause.0.max(from)));
        parts.sum()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "acquisitions", self.acquisitions)?;
        for (mode, count) in &self.grants {
            line(f, &format!("granted, {mode}"), count)?;
        }
        counts(f, &self.refusals)?;
        line(f, "given up", self.given_up)?;
        line(f, "ended 0.1 s after their own wait", self.late_by_100_ms)?;
        line(f, "ended 1 s after it", self.late_by_a_second)?;
        line(f, "latest of all after it", format!("{:.2} s", self.latest))?;
        line(f, "renewed by hand", self.renewals)?;
        line(f, "  in vain", self.failed_renewals)?;
        line(f, "released", self.releases)?;
        line(f, "  in vain", self.failed_releases)?;
        line(f, "fenced writes accepted", self.writes_accepted)?;
        line(f, "  refused", self.writes_refused)
    }
}
