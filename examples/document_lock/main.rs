//! Four clerks move money between three accounts, which are documents: first without a lock, until money is lost or made;
//! then with the lock that each account carries in itself.
//!
//! ```sh
//! cargo run --all-features --example document_lock
//! cargo run --all-features --example document_lock -- --url mongodb://localhost/test
//! ```
//!
//! Without `--url` the accounts are in an embedded DynamoDB emulator. In a database of yours it leaves three small
//! documents, `example:account:…`, in the collection or table `locks`: remove them.
//!
//! What to copy is `transfer` in `dynamodb.rs` or `mongodb.rs`; the rest starts the clerks and counts.

mod dynamodb;
mod mongodb;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Parser;
use futures_util::future::try_join_all;

/// Who moves money from where to where.
const CLERKS: [(&str, &str); 4] = [("a", "b"), ("b", "c"), ("c", "a"), ("a", "c")];
const ACCOUNTS: [&str; 3] = ["a", "b", "c"];
/// How many times each of them does it.
const EACH: usize = 10;
/// What is on each account at first.
const BALANCE: i64 = 100;
/// What a clerk does between reading a balance and writing it.
const THINKING: Duration = Duration::from_millis(2);

/// Four clerks move money between accounts that carry their own lock.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    common: support::Common,
}

/// Three accounts in a database.
trait Bank {
    /// Puts the same balance on every account, whatever was there.
    async fn reset(&self) -> Result<()>;
    async fn balance(&self, account: &str) -> Result<i64>;
    /// Moves money if there is enough, while nobody else can change either account.
    async fn transfer(&self, from: &str, to: &str, amount: i64) -> Result<()>;
    /// Not to be copied: the same without the lock.
    async fn transfer_carelessly(&self, from: &str, to: &str, amount: i64) -> Result<()>;
    async fn close(&self);
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse().common;
    let url = args.database().await?;
    if url.starts_with("mongodb") {
        run(&mongodb::InCollection::open(&url).await?).await?;
    } else if url.starts_with("dynamodb:") {
        run(&dynamodb::InTable::open(&url).await?).await?;
    } else {
        bail!("there are no documents in {url}: name a MongoDB or DynamoDB");
    }
    args.say_what_is_next("docs/patterns/document_lock.md");
    Ok(())
}

async fn run(bank: &impl Bank) -> Result<()> {
    println!("Without a lock:");
    bank.reset().await?;
    let clerks = CLERKS.map(|(from, to)| async move {
        for _ in 0..EACH {
            bank.transfer_carelessly(from, to, 1).await?;
        }
        Result::<()>::Ok(())
    });
    try_join_all(clerks).await?;
    print(bank).await?;

    println!();
    println!("With the lock in each account:");
    bank.reset().await?;
    let start = Instant::now();
    let progress = support::progress(CLERKS.len() * EACH, "transfers")?;
    let clerks = CLERKS.map(|(from, to)| {
        let progress = &progress;
        async move {
            for _ in 0..EACH {
                bank.transfer(from, to, 1).await?;
                progress.inc(1);
            }
            Result::<()>::Ok(())
        }
    });
    try_join_all(clerks).await?;
    progress.finish_and_clear();
    let took = start.elapsed().as_secs_f64();
    let sum = print(bank).await?;
    println!();
    println!("{} transfers in {took:.1} s", CLERKS.len() * EACH);
    bank.close().await;
    ensure!(sum == all(), "money was lost: please report this bug");
    Ok(())
}

/// The sum of all accounts.
async fn print(bank: &impl Bank) -> Result<i64> {
    println!("  account  before  after");
    let mut sum = 0;
    for account in ACCOUNTS {
        let balance = bank.balance(account).await?;
        println!("  {account:7}  {BALANCE:>6}  {balance:>5}");
        sum += balance;
    }
    let remark = match sum - all() {
        0 => String::new(),
        lost @ ..0 => format!("  {} lost", -lost),
        made => format!("  {made} made of nothing"),
    };
    println!("  sum      {:>6}  {sum:>5}{remark}", all());
    Ok(sum)
}

fn all() -> i64 {
    BALANCE * i64::try_from(ACCOUNTS.len()).unwrap_or(i64::MAX)
}

fn id(account: &str) -> String {
    format!("example:account:{account}")
}
