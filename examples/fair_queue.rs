//! Six processes ask for one lock, one after the other: first for the plain lock, then in line.
//!
//! ```sh
//! cargo run --all-features --example fair_queue
//! cargo run --all-features --example fair_queue -- --url mongodb://localhost/test
//! ```
//!
//! Without `--url` the locks are in an embedded DynamoDB emulator. In a database of yours it leaves two small records,
//! `example:plain` and `example:fair`, which the database's TTL removes after two days.
//!
//! What to copy is `take_in_line`; the rest starts processes and compares orders.

mod support;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use doclock::{Lease, LockClient};
use tokio::time::sleep;

use crate::support::team::{self, Team};

const PROCESSES: usize = 6;

/// Six processes ask for one lock, one after the other.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    common: support::Common,
    #[arg(long, hide = true)]
    fair: bool,
}

/// Waits in line, behind everybody who came before, in whatever process.
async fn take_in_line(locks: &LockClient) -> doclock::Result<Lease> {
    locks.lock("example:fair").fair().acquire().await
}

/// Asks again and again, and gets it if it asks in the right moment.
async fn take_plainly(locks: &LockClient) -> doclock::Result<Lease> {
    locks.lock("example:plain").acquire().await
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    if args.common.process.is_some() {
        return wait_and_work(args.fair).await;
    }
    let url = args.common.database().await?;
    println!("{PROCESSES} processes ask for one lock, while it is held.");
    println!();
    println!("       {:11}  granted", "arrived");
    let arrived: Vec<_> = (1..=PROCESSES).collect();
    for (name, fair) in [("plain", false), ("fair", true)] {
        let granted = race(&url, fair).await?;
        println!("{name:5}  {}  {}", in_order(&arrived), in_order(&granted));
        let is_right = granted == arrived || !fair;
        ensure!(
            is_right,
            "not in the order of arrival: please report this bug"
        );
    }
    args.common.say_what_is_next("docs/patterns/fair_queue.md");
    Ok(())
}

/// One of the six. Its fencing token tells the order in which they were granted.
async fn wait_and_work(fair: bool) -> Result<()> {
    let locks = team::join().await?;
    let lease = if fair {
        take_in_line(&locks).await?
    } else {
        take_plainly(&locks).await?
    };
    println!("{}", lease.token());
    sleep(Duration::from_millis(50)).await; // stands for the work
    lease.release().await?;
    locks.shutdown().await;
    Ok(())
}

/// Has them arrive one after the other, and tells in which order they were granted.
async fn race(url: &str, fair: bool) -> Result<Vec<usize>> {
    let locks = doclock::connect(url).await?;
    let (key, arguments) = if fair {
        ("example:fair", vec!["--fair"])
    } else {
        ("example:plain", vec![])
    };
    let held = locks.lock(key).acquire().await?;
    let mut team = Team::start(url, PROCESSES, &arguments).await?;
    let progress = support::progress(PROCESSES, if fair { "fair" } else { "plain" })?;
    for number in 1..=PROCESSES {
        team.begin(number).await?;
        if fair {
            while locks.inspect(key).await?.context("it is held")?.queue.len() < number {
                sleep(Duration::from_millis(10)).await;
            }
        } else {
            // Who waits without a queue shows nowhere.
            sleep(Duration::from_millis(100)).await;
        }
    }
    held.release().await?;
    let mut grants = Vec::new();
    while let Some((number, token)) = team.line().await {
        grants.push((token.parse::<u64>()?, number));
        progress.inc(1);
    }
    progress.finish_and_clear();
    team.end().await?;
    locks.shutdown().await;
    grants.sort_unstable();
    Ok(grants.into_iter().map(|(_, number)| number).collect())
}

fn in_order(numbers: &[usize]) -> String {
    let numbers: Vec<_> = numbers.iter().map(ToString::to_string).collect();
    numbers.join(" ")
}
