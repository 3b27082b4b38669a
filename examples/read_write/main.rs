//! Three readers and a writer of one catalogue: readers side by side, the writer alone, and not kept out by a stream of
//! readers.
//!
//! ```sh
//! cargo run --all-features --example read_write
//! cargo run --all-features --example read_write -- --url memory:
//! cargo run --all-features --example read_write -- --url mongodb://localhost/test
//! ```
//!
//! Without `--url` the locks are in an embedded DynamoDB emulator. In a database of yours it leaves one small record,
//! `example:catalogue`, which the database's TTL removes after two days.
//!
//! What to copy is `read` and `write`; the rest draws who did what, and when.

mod row;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use doclock::LockClient;
use tokio::time::sleep;

use crate::row::{COLUMN, Row};

const KEY: &str = "example:catalogue";
/// How long one read takes, or one write, or one check of what was written.
const WORK: Duration = Duration::from_millis(300);

/// Three readers and a writer of one catalogue.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    common: support::Common,
}

async fn read(locks: &LockClient, row: &mut Row) -> Result<()> {
    row.mark('.');
    let lease = locks.shared(KEY).acquire().await?;
    row.mark('r');
    sleep(WORK).await; // stands for the work
    row.mark(' ');
    Ok(lease.release().await?)
}

async fn write(locks: &LockClient, row: &mut Row) -> Result<()> {
    row.mark('.');
    let lease = locks.lock(KEY).acquire().await?;
    row.mark('W');
    sleep(WORK).await;
    row.mark('r');
    // From here on readers come in, and no other writer has been in between.
    let lease = lease.downgrade().await?;
    sleep(WORK).await; // reads what it wrote
    row.mark(' ');
    Ok(lease.release().await?)
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse().common;
    let locks = doclock::connect(&args.database().await?).await?;

    println!("r reads   W writes   . waits   one column is {COLUMN:?}");
    println!();
    let start = Instant::now();
    let row = |name| Row::new(name, start);
    let mut rows = [
        row("reader 1"),
        row("reader 2"),
        row("reader 3"),
        row("writer"),
    ];
    let [one, two, three, writer] = &mut rows;
    let millis = Duration::from_millis;
    tokio::try_join!(
        read_on(&locks, one, millis(0)),
        read_on(&locks, two, millis(100)),
        read_on(&locks, three, millis(200)),
        async {
            sleep(millis(500)).await;
            write(&locks, writer).await
        },
    )?;
    locks.shutdown().await;

    let pictures = rows.each_ref().map(Row::picture);
    for (row, picture) in rows.iter().zip(&pictures) {
        println!("{:8}  {}", row.name, picture.iter().collect::<String>());
    }
    let [readers @ .., writer] = &pictures;
    for (at, doing) in writer.iter().enumerate() {
        let reads = |row: &Vec<char>| row.get(at) == Some(&'r');
        let is_alone = *doing != 'W' || !readers.iter().any(reads);
        ensure!(
            is_alone,
            "somebody read while the writer wrote: please report this bug"
        );
    }
    println!();
    println!("Nobody read while the writer wrote, and the stream of readers did not keep it out.");
    args.say_what_is_next("docs/patterns/read_write.md");
    Ok(())
}

/// One of the readers of a stream: somebody reads at any time.
async fn read_on(locks: &LockClient, row: &mut Row, delay: Duration) -> Result<()> {
    sleep(delay).await;
    for _ in 0..4 {
        read(locks, row).await?;
    }
    Ok(())
}
