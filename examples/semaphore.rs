//! Four processes send mails, through a relay that bears three connections, in all.
//!
//! ```sh
//! cargo run --all-features --example semaphore
//! cargo run --all-features --example semaphore -- --url mongodb://localhost/test
//! ```
//!
//! Without `--url` the locks are in an embedded DynamoDB emulator. In a database of yours it leaves one small record,
//! `example:relay`, which the database's TTL removes after two days.
//!
//! What to copy is `send`; the rest starts processes and counts.

mod support;

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use doclock::LockClient;
use futures_util::future::try_join_all;
use tokio::time::sleep;

use crate::support::team::{self, Team};

/// So many connections at once.
const LIMIT: u32 = 3;
const PROCESSES: usize = 4;
/// How many mails each process sends, all at once if it were let.
const EACH: usize = 4;

/// Four processes send mails, through a relay that bears three connections.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    common: support::Common,
}

/// Sends one mail as soon as there is a connection for it.
async fn send(locks: &LockClient) -> Result<()> {
    // In line, or one without luck waits for long.
    let permit = locks.semaphore("example:relay", LIMIT).fair();
    let permit = permit.acquire().await?;
    println!("connects");
    sleep(Duration::from_millis(100)).await; // stands for the mail
    println!("leaves");
    permit.release().await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse().common;
    if args.process.is_some() {
        let locks = team::join().await?;
        try_join_all((0..EACH).map(|_| send(&locks))).await?;
        locks.shutdown().await;
        return Ok(());
    }

    let mut team = Team::start(&args.database().await?, PROCESSES, &[]).await?;
    let mails = PROCESSES * EACH;
    println!("{PROCESSES} processes have {EACH} mails each; the relay bears {LIMIT} connections.");
    println!();
    let progress = support::progress(mails, "mails")?;
    team.begin_all().await?;
    let (mut connected, mut most) = (0, 0);
    let mut sent = [0; PROCESSES];
    while let Some((process, line)) = team.line().await {
        if line == "connects" {
            connected += 1;
            most = most.max(connected);
        } else {
            connected -= 1;
            sent[process - 1] += 1;
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    team.end().await?;

    for (process, sent) in (1..).zip(sent) {
        println!("process {process}  {sent} mails");
    }
    println!();
    println!("{most} connections at most, at any time.");
    ensure!(most <= LIMIT, "too many: please report this bug");
    ensure!(sent == [EACH; PROCESSES], "too few: please report this bug");
    args.say_what_is_next("docs/patterns/semaphore.md");
    Ok(())
}
