//! Many processes read, add one and write back, and are stopped in the middle, past the end of their leases.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use doclock::LockClient;
use futures_util::future::try_join_all;

use super::store::Store;
use super::writer::COUNTER_ITEM;
use crate::processes::site::{Site, on_every_server};
use crate::processes::workers::Worker;
use crate::support::poll;

pub const COUNTER: &str = "counter";
pub const COUNTER_TTL: Duration = Duration::from_millis(600);
const PROCESSES: usize = 8;
const TIMES: u64 = 100;
/// No more than that the test ends.
const BOUND: Duration = Duration::from_mins(3);

/// How many of the processes stop. While one stands still nobody gets on, for as long as a takeover takes.
fn stopping(site: Site) -> usize {
    match site {
        Site::MongoDb => PROCESSES,
        Site::Dynoxide | Site::DynamoDbLocal => PROCESSES / 2,
    }
}

/// Lets a process do its part, and go on after each stop once its lock is another's. How many of its writes were applied,
/// and how many refused.
async fn watch(
    mut worker: Worker,
    (store, locks): (&Store, &LockClient),
    stops: usize,
) -> Result<(u64, u64)> {
    worker.tell(&format!("fence count {TIMES} {stops}")).await?;
    for _ in 0..stops {
        let token: u64 = worker.answer("stopping").await?.parse()?;
        poll::until("its lock is another's", BOUND, || async {
            let record = locks.inspect(COUNTER).await.ok().flatten();
            if record.is_some_and(|record| record.token > token) {
                return true;
            }
            // The others may have ended.
            match locks.lock(COUNTER).try_acquire().await {
                Ok(Some(lease)) => store.read(&lease, COUNTER_ITEM).await.is_ok(),
                _ => false,
            }
        })
        .await?;
        worker.resume()?;
    }
    let done = worker.answer("fence").await?;
    let words: Vec<&str> = done.split_whitespace().collect();
    let ["applied", applied, "fenced", fenced] = words[..] else {
        anyhow::bail!("{done}");
    };
    Ok((applied.parse()?, fenced.parse()?))
}

on_every_server! {
    async fn no_update_is_lost_and_none_is_made_twice(site: Site) {
        let url = site.fresh().await?;
        let store = Store::of(&url).await?;
        let locks = store.locks().build();
        let workers = try_join_all((0..PROCESSES).map(|_| Worker::start(&url))).await?;
        let start = Instant::now();
        let stops = stopping(site);
        let watched = workers.into_iter().enumerate();
        let watched = watched.map(|(number, worker)| watch(worker, (&store, &locks), usize::from(number < stops)));
        let done = tokio::time::timeout(BOUND, try_join_all(watched)).await??;
        let took = start.elapsed();

        let applied: u64 = done.iter().map(|(applied, _)| applied).sum();
        let fenced: u64 = done.iter().map(|(_, fenced)| fenced).sum();
        let lease = locks.lock(COUNTER).wait(BOUND).acquire().await?;
        let counted = store.read(&lease, COUNTER_ITEM).await?.context("fenced")?;
        println!("{site:?}: {applied} applied, {fenced} fenced with {stops} stops, in {took:.1?}");
        assert_eq!(u64::try_from(counted)?, applied);
        assert_eq!(applied, PROCESSES as u64 * TIMES);
        assert!(fenced > 0, "nothing came late: this shows nothing");
    }
}
