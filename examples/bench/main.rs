//! What a lock costs beside the driver alone: time, requests, `DynamoDB`'s capacity units, memory; and how that grows with
//! waiters, holders, keys and processes.
//!
//! ```sh
//! cargo run --release --all-features --example bench -- --quick
//! cargo run --release --all-features --example bench -- --only acquire,handover --servers mongodb
//! ```
//!
//! It starts its servers as the tests do. Whatever is compared is measured in one run and in turn, so that a busy machine
//! slows both down. Times are those of one machine and one hour; what counts are the ratios.

#![allow(missing_docs)]
#![allow(clippy::cast_precision_loss, reason = "counts of a few thousand")]

mod acquire;
mod child;
mod cold;
mod contention;
mod handover;
mod holders;
mod keys;
mod memory;
mod meter;
mod plot;
mod raw;
mod renewals;
mod repeat;
mod report;
mod server;
#[path = "../../tests/support/mod.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "of the tests, which use more of it"
)]
mod support;
#[cfg(test)]
mod tests;
mod time;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use crate::child::Role;
use crate::report::{Figure, Report};
use crate::server::{Kind, Server, Site};
use crate::support::servers;

/// How often a ratio is measured. The middle one counts.
const TIMES: usize = 5;

/// The cost of locks, beside the driver alone.
#[derive(Parser)]
struct Args {
    /// Some four minutes for each server
    #[arg(long)]
    quick: bool,
    /// Those of the benchmarks that are to run
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Name::value_variants().to_vec())]
    only: Vec<Name>,
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Kind::value_variants().to_vec())]
    servers: Vec<Kind>,
    /// A folder for the tables and plots
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Who goes first, each time
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Acquire and release of a free lock
    Acquire,
    /// From the release in one process to the grant in another
    Handover,
    /// Up to 256 waiters in up to 8 processes
    Contention,
    /// Up to 200 holders of one shared lock
    Holders,
    /// Up to 100,000 keys held by one client
    Keys,
    /// Up to 10,000 leases that one client renews
    Renewals,
    /// The first lock of a process, and a process that takes one and ends
    Cold,
    /// What the client takes by itself, without any server
    Memory,
}

/// What all benchmarks know: the server, and how long they may take.
pub(crate) struct Bench {
    pub(crate) site: Site,
    pub(crate) quick: bool,
    pub(crate) seed: u64,
    pub(crate) bar: ProgressBar,
}

impl Bench {
    fn new(site: Site, args: &Args) -> Result<Self> {
        let style = ProgressStyle::with_template("{prefix:28} {bar:40} {pos:>4}/{len} {elapsed}")?;
        Ok(Self {
            site,
            quick: args.quick,
            seed: args.seed,
            bar: ProgressBar::no_length().with_style(style),
        })
    }

    /// One of two numbers.
    pub(crate) fn quick_or<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }

    pub(crate) fn begin(&self, benchmark: &str, steps: usize) {
        self.bar.reset();
        self.bar.set_length(steps as u64);
        let prefix = format!("{benchmark}, {}", self.site.kind);
        self.bar.set_prefix(prefix);
    }

    pub(crate) fn figure(
        &self,
        benchmark: &'static str,
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
    ) -> Figure {
        Figure::new(benchmark, &self.site.kind, what, value, unit)
    }

    async fn run(&self, name: Name, report: &mut Report) -> Result<()> {
        match name {
            Name::Acquire => acquire::run(self, report).await,
            Name::Handover => handover::run(self, report).await,
            Name::Contention => contention::run(self, report).await,
            Name::Holders => holders::run(self, report).await,
            Name::Keys => keys::run(self, report).await,
            Name::Renewals => renewals::run(self, report).await,
            Name::Cold => cold::run(self, report).await,
            Name::Memory => Ok(()),
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    if let Some(role) = Role::told()? {
        return role.play().await;
    }
    let args = Args::parse();
    let begin = Instant::now();
    let mut report = Report::default();
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    report.command = format!(
        "cargo run --release --all-features --example bench -- {}",
        arguments.join(" ")
    );
    for kind in &args.servers {
        if servers::without(&kind.to_string()) {
            continue;
        }
        let server = Server::start(*kind).await?;
        let bench = Bench::new(server.site.clone(), &args)?;
        for name in &args.only {
            bench.run(*name, &mut report).await?;
        }
        bench.bar.finish_and_clear();
    }
    if args.only.contains(&Name::Memory) {
        memory::run(args.quick, &mut report).await?;
    }
    report.write(&args.out)?;
    println!("{}", report.markdown());
    let seconds = begin.elapsed().as_secs();
    println!(
        "{seconds} s. Plots and figures are in {}",
        args.out.display()
    );
    Ok(())
}
