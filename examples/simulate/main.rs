//! Locks in a simulated world: clients whose clocks are wrong, that pause, freeze, crash and give up, and a network and a
//! database that fail in every way that they may. What they saw is judged. A seed replays exactly.
//!
//! ```console
//! cargo run --release --example simulate -- --seeds 1..10000
//! cargo run --release --example simulate -- --seeds 4711 --trace
//! cargo test --example simulate
//! ```

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod bugs;
mod cut;
mod database;
#[path = "../history/mod.rs"]
mod history;
mod host;
mod oracle;
mod sums;
#[cfg(test)]
mod tests;
mod verdict;
mod weather;
mod workload;
mod world;

use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use sums::Sums;
use verdict::Verdict;

/// Nanoseconds, as all times of the true clock are.
const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
/// When a world begins, in milliseconds since the Unix epoch.
const EPOCH: i64 = 1_800_000_000_000;
/// When nothing goes wrong any more.
const CALM: u64 = 60 * SECOND;
/// When all that was sent before has arrived.
const HEALED: u64 = 67 * SECOND;
/// When nobody begins anything any more.
const STOP: u64 = 88 * SECOND;
const END: u64 = STOP + 32 * SECOND;

/// Simulates a database of locks, its clients and their bad luck, and judges what they saw.
#[derive(Parser)]
struct Args {
    /// Which worlds: one seed, or the first and the last as `1..10000`.
    #[arg(long, default_value = "1..1000", value_parser = seeds)]
    seeds: RangeInclusive<u64>,
    /// Prints all that happens in a single seed.
    #[arg(long)]
    trace: bool,
    /// How many worlds at once; as many as there are cores unless given.
    #[arg(long)]
    threads: Option<usize>,
}

fn seeds(text: &str) -> anyhow::Result<RangeInclusive<u64>> {
    let number = |text: &str| {
        let text = text.trim();
        text.parse::<u64>()
            .with_context(|| format!("`{text}` is no seed"))
    };
    let Some((first, last)) = text.split_once("..") else {
        let seed = number(text)?;
        return Ok(seed..=seed);
    };
    let seeds = number(first)?..=number(last.trim_start_matches('='))?;
    ensure!(
        !seeds.is_empty(),
        "there is no seed from the first to the last"
    );
    Ok(seeds)
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if args.trace {
        ensure!(
            args.seeds.start() == args.seeds.end(),
            "a trace is of a single seed"
        );
    }
    let threads = args
        .threads
        .map_or_else(std::thread::available_parallelism, |threads| {
            std::num::NonZero::new(threads)
                .context("no thread")
                .map_err(std::io::Error::other)
        })?;
    let (sums, failed) = run(&args, threads.get());
    print!("{sums}");
    let Some((seed, verdict)) = failed else {
        return Ok(ExitCode::SUCCESS);
    };
    println!("\nseed {seed}:\n{verdict}");
    println!("cargo run --release --example simulate -- --seeds {seed} --trace");
    Ok(ExitCode::FAILURE)
}

/// All seeds until one fails: the first of those that did.
fn run(args: &Args, threads: usize) -> (Sums, Option<(u64, Verdict)>) {
    let (first, last) = (*args.seeds.start(), *args.seeds.end());
    let progress = ProgressBar::new((last - first).saturating_add(1));
    let style = "{bar:30} {pos}/{len} seeds, {per_sec}, {eta} left";
    progress.set_style(ProgressStyle::with_template(style).expect("it is one"));
    let next = AtomicU64::new(first);
    let stop = AtomicBool::new(false);
    let sums = Mutex::new(Sums::default());
    let failed: Mutex<Option<(u64, Verdict)>> = Mutex::new(None);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > last {
                        break;
                    }
                    let past = world::run(seed, None, args.trace);
                    for (at, line) in &past.trace {
                        println!("{:>12.6} {line}", Duration::from_nanos(*at).as_secs_f64());
                    }
                    if args.trace {
                        println!("trace {:016x}", past.hash);
                    }
                    let verdict = Verdict::of(&past);
                    sums.lock().unwrap().add(&past, &verdict);
                    progress.inc(1);
                    if verdict.is_bad() {
                        stop.store(true, Ordering::Relaxed);
                        let mut failed = failed.lock().unwrap();
                        if failed.as_ref().is_none_or(|(other, _)| seed < *other) {
                            *failed = Some((seed, verdict));
                        }
                    }
                }
            });
        }
    });
    progress.finish_and_clear();
    let mut sums = sums.into_inner().unwrap();
    sums.took(started.elapsed(), threads);
    (sums, failed.into_inner().unwrap())
}
