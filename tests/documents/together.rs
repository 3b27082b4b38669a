//! Several who want the same document.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use doclock::Lock;
use futures_util::future::try_join_all;

use super::bank::{Bank, START, open};
use crate::processes::site::{Site, on_every_server};
use crate::support::poll;

const PROCESSES: i64 = 4;
const TASKS: i64 = 3;
const TIMES: i64 = 10;

on_every_server! {
    /// Each reads, and writes what it read and one more. Nobody's increment gets lost.
    async fn increments_are_counted_exactly(site: Site) {
        let bank = open(site).await?;
        bank.create("a").await?;
        let mut tasks = Vec::new();
        for _ in 0..PROCESSES {
            let process = Arc::<dyn Bank>::from(bank.another().await?);
            for _ in 0..TASKS {
                let process = Arc::clone(&process);
                tasks.push(tokio::spawn(async move {
                    let mut seen = Vec::new();
                    for _ in 0..TIMES {
                        let wait = |lock: Lock| lock.wait(Duration::from_mins(3));
                        let account = process.acquire("a", wait).await?;
                        seen.push((account.lease().token(), account.balance()));
                        account.add_and_unlock(1).await?;
                    }
                    doclock::Result::<_>::Ok(seen)
                }));
            }
        }
        let mut seen = Vec::new();
        for task in try_join_all(tasks).await? {
            seen.extend(task?);
        }
        // In the order of their tokens, each read what the one before it wrote.
        seen.sort_unstable();
        let read: Vec<_> = seen.iter().map(|(_, balance)| *balance).collect();
        let count = PROCESSES * TASKS * TIMES;
        assert_eq!(read, (START..START + count).collect::<Vec<_>>());
        assert_eq!(bank.acquire("a", |lock| lock).await?.balance(), START + count);
    }

    async fn who_waits_reads_what_the_one_before_wrote(site: Site) {
        let bank = open(site).await?;
        bank.create("a").await?;
        let first = bank.acquire("a", |lock| lock).await?;
        let other = Arc::<dyn Bank>::from(bank.another().await?);
        let waiting = {
            let other = Arc::clone(&other);
            let fair = |lock: Lock| lock.fair().wait(Duration::from_mins(1));
            tokio::spawn(async move { other.acquire("a", fair).await })
        };
        poll::until("it queues", Duration::from_secs(30), || async {
            let record = bank.inspect("a").await;
            record.is_ok_and(|record| record.is_some_and(|record| record.queue.len() == 1))
        })
        .await?;
        // Nobody passes who waits; the unlock leaves the queue alone.
        first.add_and_unlock(11).await?;
        let second = waiting.await??;
        assert_eq!(second.balance(), START + 11);
        let record = bank.inspect("a").await?.context("no record")?;
        assert_eq!((record.queue.len(), record.holders.len()), (0, 1));
        second.unlock().await?;
    }
}

/// Each document has a lock of its own.
#[tokio::test]
async fn documents_are_locked_one_by_one() -> Result<()> {
    for site in [Site::MongoDb, Site::Dynoxide] {
        if site.is_left_out() {
            continue;
        }
        let bank = open(site).await?;
        for id in ["a", "A", "a ", "7"] {
            bank.create(id).await?;
        }
        let mut locked = Vec::new();
        for id in ["a", "A", "a ", "7"] {
            locked.push(bank.try_acquire(id).await?.context("is free")?);
        }
        assert_eq!(locked.len(), 4);
    }
    Ok(())
}
