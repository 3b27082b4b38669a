//! Read-write locks, semaphores, fair locks, elections, scheduled jobs and sets of keys, in the hands of processes.
//!
//! Durations and counts are scaled down to what a suite can bear; `DOCLOCK_TEST_FULL=1` takes the whole.

mod crowd;
mod dead_head;
mod jobs;
mod leaders;
mod loops;
mod mixed;
mod once;
mod order;
pub mod quorum;
mod rate;
mod repeats;
mod resource;
mod sections;
mod sets;
mod starvation;
mod team;
mod waits;

use std::fmt;
use std::time::Duration;

use anyhow::{Result, ensure};
use doclock::LockClient;
use serde::{Deserialize, Serialize};

use super::site::Site;
use super::workers::{Worker, answer};

/// What a worker process is told to do: `do` and this as JSON.
#[derive(Serialize, Deserialize)]
pub enum Task {
    Loops(loops::Loops),
    Stream(starvation::Stream),
    Lead(resource::Lead),
    Schedule(jobs::Schedule),
    Trigger(repeats::Trigger),
    Sets(sets::Sets),
    Calls(rate::Calls),
    Pay(once::Payments),
    Increments(quorum::increments::Increments),
}

impl Task {
    async fn run(self, locks: LockClient) -> Result<String> {
        let done = String::from("ok");
        match self {
            Self::Loops(loops) => loops.run(&locks).await.map(|()| done),
            Self::Stream(stream) => stream.run(&locks).await.map(|()| done),
            Self::Lead(lead) => lead.run(&locks).await.map(|()| done),
            Self::Schedule(schedule) => schedule.run(&locks).await.map(|()| done),
            Self::Trigger(trigger) => trigger.run(&locks).await,
            Self::Sets(sets) => sets.run(&locks).await.map(|()| done),
            Self::Calls(calls) => calls.run(&locks).await.map(|()| done),
            Self::Pay(payments) => payments.run(&locks).await.map(|()| done),
            Self::Increments(increments) => increments.run(&locks).await.map(|()| done),
        }
    }
}

/// In the worker: begins a task, which answers when it is done.
pub fn begin(locks: LockClient, task: &str) -> Result<()> {
    let task: Task = serde_json::from_str(task)?;
    tokio::task::spawn_local(async move {
        let outcome = task.run(locks).await;
        let text = outcome.unwrap_or_else(|error| format!("{error:?}").replace('\n', " "));
        answer("do", text);
    });
    Ok(())
}

/// In the test: sends a task only.
pub async fn tell(worker: &mut Worker, task: &Task) -> Result<()> {
    worker
        .tell(&format!("do {}", serde_json::to_string(task)?))
        .await
}

/// In the test: waits until one of the worker's tasks is done.
pub async fn done(worker: &mut Worker) -> Result<()> {
    let outcome = worker.answer("do").await?;
    ensure!(outcome == "ok", "{outcome}");
    Ok(())
}

/// How much of it: what the suite can bear, or with `DOCLOCK_TEST_FULL=1` the whole.
pub fn usual_or_full<T>(usual: T, full: T) -> T {
    let wants_full = std::env::var("DOCLOCK_TEST_FULL").is_ok_and(|value| value == "1");
    if wants_full { full } else { usual }
}

/// One aligned line of figures.
pub fn report(site: Site, test: &str, figures: impl fmt::Display) {
    let site = format!("{site:?}");
    println!("{test:<22} {site:<13} {figures}");
}

pub fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

pub fn longest(times: &[Duration]) -> Duration {
    times.iter().max().copied().unwrap_or_default()
}
