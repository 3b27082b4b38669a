//! A database that is treated as badly as it gets, and eight processes that go on taking locks in it: are they ever
//! granted what they must not be?
//!
//! ```sh
//! cargo run --release --all-features --example torture -- --minutes 10 --backend mongodb
//! ```
//!
//! Everything runs on this machine: the servers, a proxy before each client, the clients, and a resource that they write
//! to. Servers and clients are killed and stopped, clocks are wrong, and the network loses what it can. Every process
//! writes down what it sees; in the end [`history::check`] judges it.

#![allow(missing_docs)]

mod child;
mod client;
mod clients;
mod clocks;
mod conductor;
mod faults;
mod figures;
mod foreign;
#[path = "../history/mod.rs"]
mod history;
mod journal;
mod network;
mod outages;
mod report;
mod resource;
mod servers;
#[path = "../../tests/processes/site.rs"]
#[allow(dead_code, unreachable_pub, unused_imports, unused_macros)]
mod site;
#[path = "../../tests/processes/skewed.rs"]
#[allow(dead_code, unreachable_pub)]
mod skewed;
#[path = "../../tests/support/mod.rs"]
#[allow(dead_code, clippy::unwrap_used)]
mod support;
mod takeovers;
#[cfg(test)]
mod tests;
mod workload;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use tempfile::TempDir;

use crate::child::Role;
use crate::conductor::{Plan, Sabotage};
use crate::report::Summary;
use crate::servers::Backend;

/// Breaks a database and everything around it, and checks that its locks hold.
#[derive(Parser)]
struct Args {
    /// How long things go wrong; mending and checking come after
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    #[arg(long, value_enum, default_value_t = Backend::Mongodb)]
    backend: Backend,
    /// What goes wrong, and when; another one each time if left out
    #[arg(long)]
    seed: Option<u64>,
    /// A folder for the report and the history; a new one among the temporary files if left out
    #[arg(long)]
    report: Option<PathBuf>,
    /// Breaks the torture itself
    #[arg(long, value_enum, hide = true)]
    sabotage: Option<Sabotage>,
}

#[tokio::main]
async fn main() -> Result<()> {
    if let Some(role) = Role::told()? {
        return role.play().await;
    }
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let folder = match args.report {
        Some(folder) => folder,
        None => TempDir::with_prefix("doclock-torture-")?.keep(),
    };
    let plan = Plan {
        backend: args.backend,
        length: Duration::try_from_secs_f64(60.0 * args.minutes)?,
        seed,
        folder,
        sabotage: args.sabotage,
    };
    println!("seed {seed}, report in {}", plan.folder.display());
    let summary = Summary::new(&plan, conductor::run(&plan).await?);
    summary.write(&plan.folder)?;
    println!("{summary}");
    let mut failures = summary.failures();
    failures.extend(summary.nothing_proved());
    ensure!(
        failures.is_empty(),
        "{}\nrepeat it with --seed {seed}; everything is in {}",
        failures.join("\n"),
        plan.folder.display()
    );
    Ok(())
}
