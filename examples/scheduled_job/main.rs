//! A cron job on three hosts, whose clocks differ: each time that the cron expression gives runs once, on whichever host
//! comes first.
//!
//! ```sh
//! cargo run --all-features --example scheduled_job
//! cargo run --all-features --example scheduled_job -- --url mongodb://localhost/test
//! ```
//!
//! Without `--url` the locks are in an embedded DynamoDB emulator. In a database of yours it leaves one small record,
//! `example:report`, for good: it remembers what has run.
//!
//! What to copy is `trigger`, and `run_on_schedule` if you have no scheduler yet; the rest starts processes and draws.

mod clock;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use croner::parser::CronParser;
use doclock::{LockClient, Run};
use tokio::time::sleep;

use crate::clock::Clock;
use crate::support::team::{self, Team};

/// Every two seconds; the first field is seconds.
const CRON: &str = "*/2 * * * * *";
const SLOTS: usize = 4;
/// By how much each host's clock is wrong, in milliseconds.
const CLOCKS: [i64; 3] = [-200, 0, 300];

/// A cron job on three hosts, whose clocks differ.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    common: support::Common,
}

/// Does what was to be done at that instant, unless another host has.
async fn trigger(locks: &LockClient, instant: SystemTime) -> doclock::Result<&'static str> {
    let job = locks.lock("example:report").once_per_slot(instant);
    Ok(match job.try_run(async |_lease| report().await).await? {
        Run::Succeeded(()) => "ran",
        Run::Failed(error) => {
            eprintln!("the report failed: {error}");
            "failed"
        }
        Run::Skipped => "skipped",
        Run::Busy => "busy",
    })
}

/// Triggers it at each time that the cron expression gives, by this host's clock.
async fn run_on_schedule(locks: &LockClient, clock: &Clock) -> Result<()> {
    let cron = CronParser::new().parse(CRON)?;
    let mut last = clock.now();
    for _ in 0..SLOTS {
        let next = cron.find_next_occurrence(&last, false)?;
        sleep(clock.until(&next)).await;
        let outcome = trigger(locks, next.timestamp().into()).await?;
        println!("{} {outcome}", next.strftime("%H:%M:%S"));
        last = next;
    }
    Ok(())
}

/// Stands for the job.
async fn report() -> std::io::Result<()> {
    sleep(Duration::from_millis(50)).await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse().common;
    if let Some(number) = args.process {
        let locks = team::join().await?;
        run_on_schedule(&locks, &Clock::wrong_by(CLOCKS[number - 1])).await?;
        locks.shutdown().await;
        return Ok(());
    }

    let mut team = Team::start(&args.database().await?, CLOCKS.len(), &[]).await?;
    println!(
        "{} hosts have a cron job, `{CRON}`. Their clocks are wrong by {CLOCKS:?} ms.",
        CLOCKS.len()
    );
    println!();
    let progress = support::progress(SLOTS * CLOCKS.len(), "triggers")?;
    // In the middle between two times, so that all hosts begin with the same one.
    let past = u64::try_from(SystemTime::UNIX_EPOCH.elapsed()?.as_millis() % 2000)?;
    sleep(Duration::from_millis((3000 - past) % 2000)).await;
    team.begin_all().await?;
    let mut slots = BTreeMap::<String, BTreeMap<usize, String>>::new();
    while let Some((number, line)) = team.line().await {
        let (slot, outcome) = line.split_once(' ').context("an unexpected line")?;
        let row = slots.entry(slot.to_owned()).or_default();
        row.insert(number, outcome.to_owned());
        progress.inc(1);
    }
    progress.finish_and_clear();
    team.end().await?;

    println!("slot      process 1  process 2  process 3");
    for (slot, row) in &slots {
        let cells = row.values().map(|outcome| format!("  {outcome:9}"));
        println!("{slot}{}", cells.collect::<String>());
    }
    for row in slots.values() {
        let runs = row.values().filter(|outcome| *outcome == "ran").count();
        ensure!(runs == 1, "a slot ran {runs} times: please report this bug");
    }
    println!();
    println!("Each slot ran once.");
    args.say_what_is_next("docs/patterns/scheduled_jobs.md");
    Ok(())
}
