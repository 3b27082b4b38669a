//! Inventory as a service would keep it: whoever changes an item holds its lock, and the store itself refuses a writer
//! that was paused for so long that another has written since.
//!
//! ```sh
//! export DOCLOCK_URL='mongodb://localhost/test'      # or dynamodb://eu-west-1/locks
//! cargo run --all-features --example inventory
//! cargo run --all-features --example inventory -- --url dynamodb:///locks
//! ```
//!
//! Leaves one small record, `inventory:apples`, which the database's TTL removes after two days.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use doclock::LockClient;
use tokio::task::JoinSet;

/// Eight buyers share a hundred apples.
#[derive(Parser)]
struct Args {
    /// Where the locks are: mongodb://…, mongodb+srv://… or dynamodb://…; if left out, the variable `DOCLOCK_URL` says
    #[arg(long)]
    url: Option<String>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let locks = match Args::parse().url {
        Some(url) => doclock::connect(&url).await,
        None => doclock::connect_from_env().await,
    }?;
    locks.setup().await?; // once per deployment

    let shop = Arc::new(Shop::with(100));
    let mut buyers = JoinSet::new();
    for _ in 0..8 {
        let (locks, shop) = (locks.clone(), Arc::clone(&shop));
        buyers.spawn(async move { sell(&locks, &shop, 5).await });
    }
    while let Some(sold) = buyers.join_next().await {
        let (left, token) = sold??;
        println!("sold 5 apples, {left:>2} left, fencing token {token}");
    }
    locks.shutdown().await;
    Ok(())
}

/// Sells some apples, and tells how many are left.
async fn sell(locks: &LockClient, shop: &Shop, apples: u32) -> Result<(u32, u64)> {
    locks
        .lock("inventory:apples")
        .ttl(Duration::from_secs(10))
        .wait(Duration::from_secs(30))
        .run(async |lease| {
            let left = shop.apples().await;
            let left = left.checked_sub(apples).context("sold out")?;
            shop.set_apples(left, lease.token()).await?;
            Ok((left, lease.token()))
        })
        .await?
}

/// Stands for a table of yours: a row with the number of apples and the token of its last writer.
struct Shop(Mutex<Row>);

#[derive(Clone, Copy)]
struct Row {
    apples: u32,
    token: u64,
}

impl Shop {
    fn with(apples: u32) -> Self {
        Self(Mutex::new(Row { apples, token: 0 }))
    }

    async fn apples(&self) -> u32 {
        tokio::time::sleep(Duration::from_millis(20)).await; // the way to the database
        self.0.lock().unwrap_or_else(PoisonError::into_inner).apples
    }

    /// Writes, unless a later holder of the lock has. The test and the write are one step, in your database as well:
    ///
    /// | | |
    /// |---|---|
    /// | SQL | `UPDATE shop SET apples = ?, token = ? WHERE id = ? AND token <= ?` |
    /// | MongoDB | `updateOne({_id, token: {$lte: token}}, {$set: {apples, token}})` |
    /// | DynamoDB | `SET apples = :a, #token = :t` on the condition `#token <= :t` |
    ///
    /// No row changed means that this writer is late: it must stop, not try again.
    async fn set_apples(&self, apples: u32, token: u64) -> Result<()> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut row = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(row.token <= token, "a later holder of the lock has written");
        *row = Row { apples, token };
        Ok(())
    }
}
