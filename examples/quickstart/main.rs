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
mod team;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use tokio::net::TcpListener;

use crate::stock::Stock;

/// How many processes there are.
const PROCESSES: u32 = 4;
/// How many items each of them takes.
const EACH: u32 = 50;
const NEXT: &str = "Next, on a database of yours:\n  \
    cargo run --all-features --example quickstart -- --url mongodb://localhost/test";

/// Four processes take items out of one stock, without and with a lock.
#[derive(Parser)]
struct Args {
    /// Where the locks are: mongodb://…, mongodb+srv://… or dynamodb://…; an embedded database if left out
    #[arg(long)]
    url: Option<String>,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// One of the four processes; started by the first
    #[command(hide = true)]
    Worker {
        stock: PathBuf,
        #[arg(long)]
        locked: bool,
    },
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if let Some(Role::Worker { stock, locked }) = args.role {
        worker::work(&Stock::at(stock), locked).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let (url, next) = match args.url {
        Some(url) => (url, "Next: read examples/inventory.rs"),
        None => (embedded().await?, NEXT),
    };
    ensure!(
        !url.starts_with("memory:"),
        "locks in memory are seen by one process only: leave --url out for an embedded database"
    );
    // Once per deployment: makes the table, or the index.
    doclock::connect(&url).await?.setup().await?;

    println!(
        "{PROCESSES} processes take {EACH} items each out of one stock, which is a plain file."
    );
    let without = team::run(&url, "without a lock", false).await?;
    let with = team::run(&url, "with a lock", true).await?;
    report::waits(&with);
    report::counts(&[&without, &with]);
    if with.lost() > 0 {
        eprintln!("An update was lost under the lock. That is a bug: please report it.");
        return Ok(ExitCode::FAILURE);
    }
    println!("{next}");
    Ok(ExitCode::SUCCESS)
}

/// An empty DynamoDB inside this process, which the others reach over HTTP.
async fn embedded() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let database = dynoxide::Database::memory().context("the embedded database does not start")?;
    tokio::spawn(dynoxide::server::serve_on(listener, database));
    Ok(format!("dynamodb://local/locks?endpoint=http://{address}"))
}
