//! Scheduled jobs on several hosts, triggered around the slots' borders, one of them by a wrong clock.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use doclock::{Lease, LockClient, Run, Timestamp};
use serde::{Deserialize, Serialize};

use super::sections::Log;
use super::team::Team;
use super::{Task, report, usual_or_full};
use crate::processes::site::on_every_server;
use crate::processes::workers::{CLOCK, Worker};

const PERIOD: Duration = Duration::from_secs(5);
/// A trigger comes this much before or after the border, at most.
const JITTER: Duration = Duration::from_millis(1500);
/// Of each run.
const RUN: Duration = Duration::from_millis(50);

/// The machine's own time, which is the database's too, in ms.
fn wall() -> i64 {
    Timestamp::from(SystemTime::now()).as_millis()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// What a host writes down.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Entry {
    Ran {
        slot: i64,
        at: i64,
    },
    Triggered {
        called: i64,
        returned: i64,
        outcome: Outcome,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Succeeded,
    Failed,
    Skipped,
    Busy,
}

impl<T, E> From<Run<T, E>> for Outcome {
    fn from(run: Run<T, E>) -> Self {
        match run {
            Run::Succeeded(_) => Self::Succeeded,
            Run::Failed(_) => Self::Failed,
            Run::Skipped => Self::Skipped,
            Run::Busy => Self::Busy,
        }
    }
}

pub fn note(log: &Log, lease: &Lease) -> Result<()> {
    let slot = Timestamp::from(lease.slot().context("no slot")?);
    log.write(&Entry::Ran {
        slot: slot.as_millis(),
        at: wall(),
    })
}

/// Triggers a job around the beginning of each slot.
#[derive(Serialize, Deserialize)]
pub struct Schedule {
    log: PathBuf,
    span: Duration,
    /// Never before the border.
    is_late: bool,
}

impl Schedule {
    pub async fn run(self, locks: &LockClient) -> Result<()> {
        let log = Log::open(&self.log)?;
        let (period, end) = (millis(PERIOD), wall() + millis(self.span));
        // The first one that no jitter moves into the past.
        let mut border = (wall() + millis(JITTER)).div_euclid(period) * period + period;
        while border < end {
            let luck = fastrand::f64();
            let luck = if self.is_late { luck } else { 2.0 * luck - 1.0 };
            let jitter = millis(JITTER.mul_f64(luck.abs()));
            let due = border + if luck < 0.0 { -jitter } else { jitter };
            let left = u64::try_from(due - wall()).unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(left)).await;
            let called = wall();
            let job = locks.lock("job").ttl(PERIOD).once_per(PERIOD);
            let run = job.try_run(async |lease| {
                note(&log, lease)?;
                tokio::time::sleep(RUN).await;
                anyhow::Ok(())
            });
            let outcome = Outcome::from(run.await?);
            log.write(&Entry::Triggered {
                called,
                returned: wall(),
                outcome,
            })?;
            border += period;
        }
        Ok(())
    }
}

/// How many slots ran, and how many of them had to: those that somebody's trigger lay in as a whole.
fn check(entries: &[Entry]) -> Result<(usize, usize)> {
    let period = millis(PERIOD);
    let (mut runs, mut due) = (BTreeMap::new(), BTreeSet::new());
    for entry in entries {
        match *entry {
            Entry::Ran { slot, at } => {
                ensure!(slot % period == 0 && slot <= at, "at {at}: slot {slot}");
                *runs.entry(slot).or_insert(0_usize) += 1;
            }
            Entry::Triggered {
                called,
                returned,
                outcome,
            } => {
                ensure!(outcome != Outcome::Failed, "a run failed");
                let slot = called - called.rem_euclid(period);
                // A run in the way may be that of the slot before.
                if returned < slot + period && outcome != Outcome::Busy {
                    due.insert(slot);
                }
            }
        }
    }
    let twice: Vec<_> = runs.iter().filter(|(_, times)| **times > 1).collect();
    ensure!(twice.is_empty(), "slots that ran twice: {twice:?}");
    let missed: Vec<_> = due.iter().filter(|slot| !runs.contains_key(slot)).collect();
    ensure!(missed.is_empty(), "slots that did not run: {missed:?}");
    Ok((runs.len(), due.len()))
}

on_every_server! {
    async fn a_job_runs_once_in_each_slot(site: Site) {
        let _alone = site.alone().await;
        let url = site.fresh().await?;
        let mut team = Team::start(&url, 3).await?;
        team.workers[2] = Worker::start_with(&url, &[(CLOCK, "20000")]).await?;
        let span = usual_or_full(Duration::from_secs(30), Duration::from_mins(2));
        let entries: Vec<Entry> = team
            .each(|index, log| Task::Schedule(Schedule { log, span, is_late: index == 0 }))
            .await?;
        let (runs, due) = check(&entries)?;
        let triggers = entries.len() - runs;
        let slots = span.as_secs() / PERIOD.as_secs();
        report(site, "job", format_args!("{runs} runs in {slots} slots, {due} of them due; {triggers} triggers"));
        // The late host's triggers alone are as many, but for the first and the last.
        assert!(u64::try_from(due)? + 2 >= slots, "{due} slots were due: nothing to show");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn triggered(called: i64, returned: i64, outcome: Outcome) -> Entry {
        Entry::Triggered {
            called,
            returned,
            outcome,
        }
    }

    #[test]
    fn each_fault_of_a_schedule_is_seen() {
        let ran = |slot, at| Entry::Ran { slot, at };
        let once = [ran(5000, 5001), triggered(5000, 5060, Outcome::Succeeded)];
        assert_eq!(check(&once).unwrap(), (1, 1));
        let at_the_border = [triggered(4999, 5060, Outcome::Skipped)];
        assert_eq!(check(&at_the_border).unwrap(), (0, 0));
        let missed = [triggered(5000, 5060, Outcome::Skipped)];
        assert!(check(&missed).is_err());
        let twice = [ran(5000, 5001), ran(5000, 6001)];
        assert!(check(&twice).is_err());
        assert!(check(&[ran(5000, 4999)]).is_err());
    }
}
