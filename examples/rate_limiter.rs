//! Three processes call a partner that allows five calls in any two seconds, in all.
//!
//! ```sh
//! cargo run --all-features --example rate_limiter
//! cargo run --all-features --example rate_limiter -- --url mongodb://localhost/test
//! ```
//!
//! Without `--url` the locks are in an embedded DynamoDB emulator. In a database of yours it leaves one small record,
//! `example:rate`, which the database's TTL removes after two days.
//!
//! What to copy is `call`; the rest starts processes and counts.

mod support;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use doclock::LockClient;

use crate::support::team::{self, Team};

/// So many calls ...
const LIMIT: u32 = 5;
/// ... in any time of this length.
const WINDOW: Duration = Duration::from_secs(2);
const PROCESSES: usize = 3;
/// How many calls each process makes.
const EACH: usize = 5;

/// Three processes call a partner that allows five calls in any two seconds.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    common: support::Common,
}

/// Waits until a call is allowed, and makes it.
async fn call(locks: &LockClient) -> Result<()> {
    let permit = locks.semaphore("example:rate", LIMIT).ttl(WINDOW);
    // Nobody gives it back: it counts until the window is over, whatever becomes of this process.
    permit.acquire().await?.let_expire();
    println!("called"); // stands for the call
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse().common;
    if args.process.is_some() {
        let locks = team::join().await?;
        for _ in 0..EACH {
            call(&locks).await?;
        }
        locks.shutdown().await;
        return Ok(());
    }

    let mut team = Team::start(&args.database().await?, PROCESSES, &[]).await?;
    println!(
        "{PROCESSES} processes make {EACH} calls each; {LIMIT} are allowed in any {WINDOW:?}."
    );
    println!();
    let progress = support::progress(PROCESSES * EACH, "calls")?;
    team.begin_all().await?;
    let start = Instant::now();
    let mut calls = Vec::new();
    while let Some((process, _)) = team.line().await {
        calls.push((start.elapsed(), process));
        progress.inc(1);
    }
    progress.finish_and_clear();
    team.end().await?;

    draw(&calls);
    let most = most_in_a_window(&calls);
    println!();
    println!("{most} calls at most in any {WINDOW:?}.");
    ensure!(most <= LIMIT as usize, "too many: please report this bug");
    args.say_what_is_next("docs/patterns/semaphore.md");
    Ok(())
}

/// How many calls each process made in each second.
fn draw(calls: &[(Duration, usize)]) {
    let seconds = calls.last().map_or(0, |(at, _)| at.as_secs());
    let row = |name: &str, cells: Vec<String>| println!("{name:10} {}", cells.concat());
    row(
        "second",
        (0..=seconds).map(|second| format!("{second:>3}")).collect(),
    );
    for process in 1..=PROCESSES {
        let count = |second| {
            let here = |call: &&(Duration, usize)| call.0.as_secs() == second && call.1 == process;
            match calls.iter().filter(here).count() {
                0 => "  .".to_owned(),
                some => format!("{some:>3}"),
            }
        };
        row(
            &format!("process {process}"),
            (0..=seconds).map(count).collect(),
        );
    }
}

fn most_in_a_window(calls: &[(Duration, usize)]) -> usize {
    let ends = calls.iter().map(|(from, _)| *from + WINDOW);
    let counts = ends.enumerate().map(|(first, end)| {
        calls
            .iter()
            .skip(first)
            .take_while(|(at, _)| *at < end)
            .count()
    });
    counts.max().unwrap_or_default()
}
