//! What a lock costs. On each server, in the same run and in turn:
//!
//! * A: `try_acquire` and `release`;
//! * B: the very requests that A sends, recorded, and sent again by the driver alone. A / B is what the client adds;
//! * C: the least lock that can be written by hand with the driver's own two calls, just as durable, without protection
//!   against a wrong clock, a lost answer, a foreign document. A / C is what these cost.
//!
//! And memory: what a lease takes that is held.
//!
//! ```sh
//! cargo bench --all-features --bench acquire
//! cargo bench --all-features --bench acquire -- --quick
//! ```
//!
//! It starts its servers as the tests do. Times are those of one machine and one hour; what counts are the ratios.

mod dynamodb;
mod memory;
mod mongodb;
mod race;
#[path = "../../tests/support/mod.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "of the tests, which use more of it"
)]
mod support;

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use doclock::LockClient;

use crate::race::Race;
use crate::support::servers;

/// One key for each contender.
const KEY_A: &str = "doclock";
const KEY_B: &str = "resent";
const KEY_C: &str = "by-hand";
const TTL: Duration = Duration::from_secs(30);

/// The cost of a lock beside the two calls of the driver that it is made of.
#[derive(Parser)]
struct Args {
    /// A tenth of the rounds
    #[arg(long)]
    quick: bool,
    /// What `cargo bench` says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let rounds = if args.quick { 200 } else { 2_000 };
    let [mongodb, local, embedded] =
        ["mongodb", "dynamodb-local", "dynoxide"].map(|name| !servers::without(name));
    println!("Acquire and release of a free lock, {rounds} times each, in milliseconds:\n");
    race::print_head();
    let race = Race { rounds };
    if mongodb {
        mongodb::race(race, servers::mongodb_url()).await?;
    }
    if local {
        dynamodb::race(race, "DynamoDB Local", servers::dynamodb_local_url()).await?;
    }
    if embedded {
        dynamodb::race(race, "dynoxide, embedded", servers::dynoxide_url()).await?;
    }
    println!();
    memory::measure(rounds).await
}

async fn take_and_release(locks: &LockClient, key: &str) -> Result<()> {
    let lease = locks.lock(key).ttl(TTL).try_acquire().await?;
    Ok(lease.context("held by another")?.release().await?)
}
