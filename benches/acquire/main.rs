//! What the client costs: taking a lock and giving it back, against the driver's own two calls on the same server in the
//! same run, in turn. And what a lease costs that is held: memory.
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
#[allow(dead_code, reason = "the tests use more of it")]
mod support;

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use doclock::LockClient;

use crate::race::Race;
use crate::support::servers;

const KEY: &str = "bench";
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
    println!("Acquire and release of a free lock, {rounds} times each, in milliseconds:\n");
    race::print_head();
    let race = Race { rounds };
    if !servers::without("mongodb") {
        mongodb::race(race, servers::mongodb_url()).await?;
    }
    if !servers::without("dynamodb-local") {
        dynamodb::race(race, "DynamoDB Local", servers::dynamodb_local_url()).await?;
    }
    if !servers::without("dynoxide") {
        dynamodb::race(race, "dynoxide, embedded", servers::dynoxide_url()).await?;
    }
    println!();
    memory::measure(rounds).await
}

/// The same as the driver's two calls, by doclock.
async fn take_and_release(locks: &LockClient) -> Result<()> {
    let lease = locks.lock(KEY).ttl(TTL).try_acquire().await?;
    Ok(lease.context("held by another")?.release().await?)
}
