//! Whether all went well in a world: by its history, by the database's own eyes, and by how long anybody had to wait when
//! nothing went wrong any more.

use std::collections::HashMap;
use std::fmt;

use crate::history::check::{Bounds, Report, check};
use crate::history::{Event, What};
use crate::workload::{CALM_WAIT, LONGEST_REQUEST, LONGEST_TTL};
use crate::world::Past;
use crate::{HEALED, MS, SECOND};

/// How long after the world was healed a place in the queue or a lease from before may still stand.
const SETTLED: u64 = HEALED + LONGEST_TTL + SECOND + SECOND / 2;

/// What is not known of the time (the skew that is allowed for and the one that there is), the slowest poll, and requests
/// of the slowest wire.
const UNCERTAINTY: u64 = 500 * MS + 400 * MS + SECOND + 4 * 300 * MS + MINIMUM_HOLD;
/// What a release may leave in the record.
pub(crate) const MINIMUM_HOLD: u64 = 800 * MS;

pub(crate) struct Verdict {
    pub(crate) report: Report,
    pub(crate) violations: Vec<(&'static str, String)>,
    /// The longest that anybody waited for its turn when all was well.
    pub(crate) longest_wait: u64,
}

impl Verdict {
    pub(crate) fn of(past: &Past) -> Self {
        let bounds = Bounds {
            uncertainty: UNCERTAINTY,
            grace: SECOND / 2,
            // A set that is not to be had gives back what it has got.
            attempt: 2 * LONGEST_REQUEST,
        };
        let mut verdict = Self {
            report: check(&past.events, &bounds),
            violations: past.violations.clone(),
            longest_wait: 0,
        };
        verdict.turns(&past.events);
        verdict
    }

    /// Every waiter gets its turn.
    fn turns(&mut self, events: &[Event]) {
        let mut waiting = HashMap::new();
        for event in events.iter().filter(|event| event.at >= SETTLED) {
            match &event.what {
                What::Acquire { lease, wait, .. } if *wait == CALM_WAIT => {
                    waiting.insert((event.client, *lease), event.at);
                }
                What::Granted { lease, .. } => {
                    if let Some(asked) = waiting.remove(&(event.client, *lease)) {
                        self.longest_wait = self.longest_wait.max(event.at - asked);
                    }
                }
                What::NotGranted { lease, kind }
                    if waiting.remove(&(event.client, *lease)).is_some() =>
                {
                    let sentence = format!(
                        "client {} waited {} s for lease {lease}, and all was well: {kind}",
                        event.client,
                        CALM_WAIT / SECOND,
                    );
                    self.violations.push(("liveness", sentence));
                }
                _ => {}
            }
        }
    }

    pub(crate) fn is_bad(&self) -> bool {
        !self.violations.is_empty() || !self.report.violations.is_empty()
    }

    /// The invariants that did not hold.
    #[cfg(test)]
    pub(crate) fn broken(&self) -> Vec<&'static str> {
        let seen = self.report.violations.iter().map(|it| it.invariant);
        let mut broken: Vec<_> = seen.chain(self.violations.iter().map(|it| it.0)).collect();
        broken.sort_unstable();
        broken.dedup();
        broken
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for violation in &self.report.violations {
            write!(f, "{violation}")?;
        }
        for (invariant, sentence) in &self.violations {
            writeln!(f, "{invariant}: {sentence}")?;
        }
        Ok(())
    }
}
