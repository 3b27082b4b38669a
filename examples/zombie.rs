//! A serverless function is frozen in the middle of its work. Its retry does not wait for the lease to end: it has the
//! same owner, and takes the lock over at once. Then the first attempt wakes up.
//!
//! ```sh
//! cargo run --all-features --example zombie
//! cargo run --all-features --example zombie -- --url mongodb://localhost/test
//! ```
//!
//! Without `--url` the locks are in an embedded DynamoDB emulator. In a database of yours it leaves one small record,
//! `example:order`, which the database's TTL removes after two days.
//!
//! What to copy is `handle`; the rest starts two processes, and stands for the store that they write to.

mod support;

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use doclock::LockClient;
use tokio::time::sleep;

use crate::support::log::Log;
use crate::support::team::{self, Team};

const TTL: Duration = Duration::from_secs(30);
/// How a write to the store begins.
const WRITE: &str = "write ";
/// How long the first attempt is frozen: far less than its lease lives.
const FROZEN: Duration = Duration::from_secs(3);

/// A frozen function, and its retry.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    common: support::Common,
}

/// One attempt at a request: takes the lock, or takes it over from an earlier attempt at the same request.
async fn handle(locks: &LockClient, request: &str, work: impl AsyncFn()) -> doclock::Result<()> {
    let lock = locks.lock("example:order").ttl(TTL).owner(request);
    let lease = lock.acquire().await?;
    println!("got the lock, token {}", lease.token());
    work().await;
    let believes = if lease.is_held() {
        "believes that it holds"
    } else {
        "knows that it lost"
    };
    println!("{believes} the lock, and writes");
    println!("{WRITE}{}", lease.token());
    lease.renew().await?; // not needed: it only shows the loss at once
    lease.release().await
}

// One thread, so that all of a process is frozen.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse().common;
    if let Some(attempt) = args.process {
        let locks = team::join().await?;
        let work = async || {
            if attempt == 1 {
                std::thread::sleep(FROZEN);
                println!("wakes up");
            }
        };
        if let Err(error) = handle(&locks, "request:8d2f", work).await {
            println!("{error}");
        }
        locks.shutdown().await;
        return Ok(());
    }

    let mut team = Team::start(&args.database().await?, 2, &[]).await?;
    println!("Two attempts at one request, the first one is frozen. A lease lives for {TTL:?}.");
    println!();
    let log = Log::start()?;
    let mut store = Store::default();
    team.begin(1).await?;
    let mut frozen = false;
    while let Some((number, line)) = team.line().await {
        if let Some(token) = line.strip_prefix(WRITE) {
            log.event("store", &store.write(token.parse()?));
            continue;
        }
        log.event(&format!("attempt {number}"), &line);
        if !frozen {
            frozen = true;
            log.event("attempt 1", "is frozen");
            sleep(FROZEN / 3).await;
            log.event("attempt 2", "begins: the caller has tried again");
            team.begin(2).await?;
        }
    }
    drop(log);
    team.end().await?;
    ensure!(
        store.refused == 1,
        "the zombie wrote: please report this bug"
    );
    args.say_what_is_next("docs/patterns/reentrance.md");
    Ok(())
}

/// Where the work goes. It remembers the highest token, which no lock can do for it.
#[derive(Default)]
struct Store {
    highest: u64,
    refused: u32,
}

impl Store {
    fn write(&mut self, token: u64) -> String {
        if token < self.highest {
            self.refused += 1;
            return format!("refuses token {token}: lower than {}", self.highest);
        }
        self.highest = token;
        format!("accepts token {token}")
    }
}
