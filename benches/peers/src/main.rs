//! doclock beside other Rust locks, and beside a lock by hand: on the same servers, in the same run, in turn.
//!
//! ```sh
//! eval "$(localstack/servers.sh start)"
//! cargo run --release --manifest-path benches/peers/Cargo.toml
//! localstack/servers.sh stop
//! ```
//!
//! Five minutes. Every lock has its crate's default settings. Times are those of one machine and one hour, on servers
//! without a network between; what counts is how they compare. No figure says what a lock is worth: which of them expire,
//! renew, or notice that they are lost is another question.

mod dynamo;
mod measure;
mod meter;
mod mongo;
mod ours;
mod peer;
mod table;

use std::env;
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use uuid::Uuid;

use crate::measure::{Figures, ROUNDS, middle, round};
use crate::table::table;

#[tokio::main]
async fn main() -> Result<()> {
    // Nothing of an earlier run is met again.
    let run = format!("peers-{}", Uuid::new_v4().simple());
    let (mongodb, dynamodb) = (
        url("DOCLOCK_TEST_MONGODB_URL")?,
        url("DOCLOCK_TEST_DYNAMODB_URL")?,
    );
    let databases = [
        ("MongoDB", mongo::contestants(&mongodb, &run).await?),
        ("DynamoDB", dynamo::contestants(&dynamodb, &run).await?),
    ];
    let steps = databases.each_ref().map(|(_, all)| measure::steps(all));
    let bar = ProgressBar::new((ROUNDS * steps.iter().sum::<usize>()) as u64);
    bar.set_style(ProgressStyle::with_template(
        "{elapsed_precise} {wide_bar} {pos}/{len} {msg}",
    )?);
    bar.enable_steady_tick(Duration::from_secs(1));
    let mut rounds = databases.each_ref().map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((name, contestants), rounds) in databases.iter().zip(&mut rounds) {
            bar.set_message(*name);
            rounds.push(round(contestants, &bar).await?);
        }
    }
    bar.finish_and_clear();
    for ((name, contestants), rounds) in databases.iter().zip(&rounds) {
        let rows: Vec<(&str, Figures)> = contestants
            .iter()
            .enumerate()
            .map(|(nth, contestant)| (contestant.name, middle(rounds, nth)))
            .collect();
        println!("## {name}\n\n{}", table(&rows));
    }
    println!("mongodb-lock releases in the background: its first figure is an acquire alone.");
    Ok(())
}

fn url(variable: &str) -> Result<String> {
    env::var(variable)
        .with_context(|| format!("{variable} is not set: eval \"$(localstack/servers.sh start)\""))
}
