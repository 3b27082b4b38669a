//! Four clerks move money between three accounts, in opposite orders: first they lock one account after the other, until
//! each waits for another for ever; then both at once.
//!
//! ```sh
//! cargo run --all-features --example several_keys
//! cargo run --all-features --example several_keys -- --url memory:
//! cargo run --all-features --example several_keys -- --url mongodb://localhost/test
//! ```
//!
//! Without `--url` the locks are in an embedded DynamoDB emulator. In a database of yours it leaves three small records,
//! `example:account:…`, which the database's TTL removes after two days.
//!
//! What to copy is `transfer`; the rest keeps accounts and counts.

mod bank;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use doclock::LockClient;
use futures_util::future::try_join_all;
use tokio::sync::Barrier;

use crate::bank::Bank;

/// Who moves money from where to where.
const CLERKS: [(&str, &str); 4] = [("a", "b"), ("b", "a"), ("b", "c"), ("c", "a")];
/// How many times each of them does it.
const EACH: usize = 5;
/// How long two clerks wait for each other who would wait for ever.
const PATIENCE: Duration = Duration::from_secs(1);

/// Four clerks move money between three accounts, in opposite orders.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    common: support::Common,
}

/// Moves money while nobody else can touch either account.
async fn transfer(locks: &LockClient, bank: &Bank, from: &str, to: &str) -> doclock::Result<()> {
    let both = locks.all([key(from), key(to)]).acquire().await?;
    bank.transfer(from, to).await;
    both.release().await
}

/// Not to be copied: each has one account, and waits for the other's.
async fn transfer_one_by_one(
    locks: &LockClient,
    bank: &Bank,
    (from, to): (&str, &str),
    everybody_has_one: &Barrier,
) -> doclock::Result<()> {
    let from_lease = locks.lock(key(from)).acquire().await?;
    everybody_has_one.wait().await;
    let to_lease = locks.lock(key(to)).wait(PATIENCE).acquire().await?;
    bank.transfer(from, to).await;
    to_lease.release().await?;
    from_lease.release().await
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse().common;
    let locks = doclock::connect(&args.database().await?).await?;
    let bank = Bank::default();

    let barrier = Barrier::new(2);
    let [one, other] = [CLERKS[0], CLERKS[1]]
        .map(|accounts| transfer_one_by_one(&locks, &bank, accounts, &barrier));
    let (one, other) = tokio::join!(one, other);
    println!("One account after the other:");
    for (outcome, (from, to)) in [one, other].iter().zip(CLERKS) {
        let outcome = match outcome {
            Ok(()) => "done".to_owned(),
            Err(error) => format!("{:?}, waited for {to} and kept {from}", error.kind()),
        };
        println!("  {from} to {to}  {outcome}");
    }

    println!();
    println!(
        "Both at once, {} clerks with {EACH} transfers each:",
        CLERKS.len()
    );
    let start = Instant::now();
    let progress = support::progress(CLERKS.len() * EACH, "transfers")?;
    let clerks = CLERKS.map(|(from, to)| {
        let (locks, bank, progress) = (&locks, &bank, &progress);
        async move {
            for _ in 0..EACH {
                transfer(locks, bank, from, to).await?;
                progress.inc(1);
            }
            doclock::Result::<()>::Ok(())
        }
    });
    try_join_all(clerks).await?;
    progress.finish_and_clear();
    locks.shutdown().await;
    println!("  all done in {:.1} s", start.elapsed().as_secs_f64());

    println!();
    bank.print();
    ensure!(bank.sum() == 300, "money was lost: please report this bug");
    args.say_what_is_next("docs/patterns/several_keys.md");
    Ok(())
}

fn key(account: &str) -> String {
    format!("example:account:{account}")
}
