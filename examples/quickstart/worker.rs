//! One of the four processes. What to copy is [`take_one_locked`].

use std::time::{Duration, Instant};

use anyhow::Result;
use doclock::LockClient;

use crate::EACH;
use crate::stock::Stock;
use crate::support::team;

/// Takes one item while nobody else can.
async fn take_one_locked(locks: &LockClient, stock: &Stock) -> Result<(u64, Duration)> {
    let asked = Instant::now();
    let lease = locks
        .lock("quickstart:stock")
        .ttl(Duration::from_secs(10)) // how long it stays locked if this process dies
        .wait(Duration::from_mins(1)) // how long to wait for the others
        .acquire()
        .await?;
    let waited = asked.elapsed();
    stock.take_one().await?;
    let token = lease.token(); // greater than that of every earlier holder
    lease.release().await?;
    Ok((token, waited))
}

/// One of the four processes, from its start to its end.
pub(crate) async fn work(stock: &Stock, locked: bool) -> Result<()> {
    let locks = team::join().await?;
    let result = take_share(&locks, stock, locked).await;
    // After an error, too: gives back what is still held.
    locks.shutdown().await;
    result
}

/// Tells the first process of every item, in a line of its own.
async fn take_share(locks: &LockClient, stock: &Stock, locked: bool) -> Result<()> {
    for _ in 0..EACH {
        let (token, waited) = if locked {
            take_one_locked(locks, stock).await?
        } else {
            stock.take_one().await?;
            (0, Duration::ZERO)
        };
        println!("{token} {}", waited.as_micros());
    }
    Ok(())
}
