//! Runs of a scheduled job that fail, or die with their process: repeated in the same slot if so wished.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail, ensure};
use doclock::LockClient;
use serde::{Deserialize, Serialize};

use super::jobs::{Entry, Outcome, note};
use super::sections::{Log, read};
use super::team::Team;
use super::{Task, report, tell};
use crate::processes::site::on_every_server;
use crate::processes::workers::Worker;
use crate::support::poll;

const PATIENCE: Duration = Duration::from_secs(30);

/// One trigger of a job that is repeated until it succeeds, or not.
#[derive(Serialize, Deserialize)]
pub struct Trigger {
    log: PathBuf,
    key: String,
    slot: When,
    until_done: bool,
    act: Act,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum When {
    Every(Duration),
    At(SystemTime),
}

/// What becomes of the run.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum Act {
    Succeeds,
    Fails,
    Hangs,
}

impl Trigger {
    pub async fn run(self, locks: &LockClient) -> Result<String> {
        let log = Log::open(&self.log)?;
        let lock = locks.lock(&self.key);
        let lock = lock.ttl(Duration::from_secs(1)).wait(PATIENCE);
        let job = match self.slot {
            When::Every(period) => lock.once_per(period),
            When::At(start) => lock.once_per_slot(start),
        };
        let job = if self.until_done {
            job.at_least_once()
        } else {
            job
        };
        let run = job.run(async |lease| {
            note(&log, lease)?;
            match self.act {
                Act::Succeeds => Ok(()),
                Act::Fails => bail!("as it was told"),
                Act::Hangs => std::future::pending().await,
            }
        });
        Ok(format!("{:?}", Outcome::from(run.await?)))
    }
}

/// A job's triggers in one slot.
struct Day<'a> {
    team: &'a mut Team,
    key: &'a str,
    slot: When,
    until_done: bool,
    logs: Vec<PathBuf>,
}

impl Day<'_> {
    async fn tell(&mut self, worker: usize, act: Act) -> Result<PathBuf> {
        let trigger = Trigger {
            log: self.team.log(),
            key: self.key.to_owned(),
            slot: self.slot,
            until_done: self.until_done,
            act,
        };
        let log = trigger.log.clone();
        self.logs.push(log.clone());
        tell(&mut self.team.workers[worker], &Task::Trigger(trigger)).await?;
        Ok(log)
    }

    async fn trigger(&mut self, worker: usize, act: Act) -> Result<String> {
        self.tell(worker, act).await?;
        self.team.workers[worker].answer("do").await
    }

    /// Its process is killed in the middle of the run.
    async fn crash(&mut self, url: &str, worker: usize) -> Result<()> {
        let fresh = Worker::start(url).await?;
        let log = self.tell(worker, Act::Hangs).await?;
        poll::until("it runs", PATIENCE, || async {
            read::<Entry>(std::slice::from_ref(&log)).is_ok_and(|runs| !runs.is_empty())
        })
        .await?;
        std::mem::replace(&mut self.team.workers[worker], fresh)
            .kill()
            .await
    }

    /// How many runs there were, all in the same slot.
    fn runs(&self) -> Result<usize> {
        let runs: Vec<Entry> = read(&self.logs)?;
        let slot = |entry: &Entry| match entry {
            Entry::Ran { slot, .. } => Some(*slot),
            Entry::Triggered { .. } => None,
        };
        let slots: BTreeSet<_> = runs.iter().map(slot).collect();
        ensure!(slots.len() == 1, "several slots: {slots:?}");
        Ok(runs.len())
    }
}

on_every_server! {
    async fn a_run_that_failed_or_died_is_repeated_if_so_wished(site: Site) {
        let _alone = site.alone().await;
        let url = site.fresh().await?;
        let mut team = Team::start(&url, 3).await?;
        // Its slot does not end while the test runs.
        let century = When::Every(Duration::from_hours(100 * 365 * 24));
        let now = When::At(SystemTime::now());
        for (key, slot) in [("every", century), ("at", now)] {
            let mut day = Day { team: &mut team, key, slot, until_done: true, logs: Vec::new() };
            assert_eq!(day.trigger(0, Act::Fails).await?, "Failed", "{key}");
            day.crash(&url, 1).await?;
            assert_eq!(day.trigger(2, Act::Succeeds).await?, "Succeeded", "{key}");
            for worker in 0..3 {
                assert_eq!(day.trigger(worker, Act::Succeeds).await?, "Skipped", "{key}");
            }
            assert_eq!(day.runs()?, 3, "{key}");
        }
        for (key, slot) in [("every, once", century), ("at, once", now)] {
            let mut day = Day { team: &mut team, key, slot, until_done: false, logs: Vec::new() };
            day.crash(&url, 0).await?;
            assert_eq!(day.trigger(1, Act::Succeeds).await?, "Skipped", "{key}");
            assert_eq!(day.runs()?, 1, "{key}");
        }
        report(site, "job, repeated", "failed, killed, succeeded, skipped");
    }
}
