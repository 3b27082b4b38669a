//! Four processes take items out of one stock: first without a lock, so that updates get lost, then with it.
//!
//! ```sh
//! cargo run --all-features --example quickstart
//! cargo run --all-features --example quickstart -- --url mongodb://localhost/test
//! ```
//!
//! Without `--url` the locks are in an embedded DynamoDB emulator, and nothing needs to be installed. With it they are
//! in a database of yours, as one small record that its TTL removes after two days.
//!
//! What to copy is in `worker.rs`; the rest starts processes and draws tables.

mod report;
mod stock;
#[path = "../support/mod.rs"]
mod support;
mod team;
mod worker;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Parser;

use crate::stock::Stock;

/// How many processes there are.
const PROCESSES: usize = 4;
/// How many items each of them takes.
const EACH: usize = 50;

/// Four processes take items out of one stock, without and with a lock.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    common: support::Common,
    /// Makes it one of the four processes; started by the first
    #[arg(long, hide = true)]
    stock: Option<PathBuf>,
    #[arg(long, hide = true)]
    locked: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(stock) = args.stock {
        return worker::work(&Stock::at(stock), args.locked).await;
    }
    let url = args.common.database().await?;
    println!(
        "{PROCESSES} processes take {EACH} items each out of one stock, which is a plain file."
    );
    let without = team::run(&url, "without a lock", false).await?;
    let with = team::run(&url, "with a lock", true).await?;
    report::waits(&with);
    report::counts(&[&without, &with]);
    ensure!(
        with.lost() == 0,
        "an update was lost under the lock: please report this bug"
    );
    args.common.say_what_is_next("examples/inventory.rs");
    Ok(())
}
