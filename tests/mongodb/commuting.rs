//! What does not need the record to stand still: a crowd does not collide with itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use doclock::{AcquireOutcome, Backend, Mode, MongoBackend, Queueing, RenewOutcome, RenewRequest};
use futures_util::future::{join_all, try_join_all};
use mongodb::bson::doc;
use tokio::task::JoinHandle;

use super::fixture::{Fixture, past, request, soon};
use super::queue::{ending, fair};
use crate::support::poll;

const HOLDERS: u32 = 30;

#[tokio::test]
async fn twenty_who_come_at_once_all_stand_in_line() -> Result<()> {
    let locks = Fixture::new().await?;
    let holder = request("k", Mode::Exclusive);
    locks.granted(&holder).await?;
    locks.commands.take();
    let mut waiters: Vec<_> = (0..20).map(|_| fair("k", Mode::Exclusive)).collect();
    let places = join_all(waiters.iter_mut().map(|waiter| locks.queued(waiter))).await;
    let places: BTreeSet<_> = places
        .into_iter()
        .map(|place| Ok(place?.ahead))
        .collect::<Result<_>>()?;
    assert_eq!(places, (0..20).collect(), "each with a place of its own");
    assert_eq!(locks.commands.take().len(), 40, "nobody asked twice");

    let record = locks.record(&holder).await?;
    assert_eq!(record.queue.len(), 20);
    // And they leave as they came.
    let leave = waiters.iter().map(async |waiter| {
        let mut leave = ending(waiter);
        leave.queued = true;
        locks.backend.release(&leave).await
    });
    try_join_all(leave).await?;
    assert_eq!(locks.commands.take().len(), 20);
    assert!(locks.record(&holder).await?.queue.is_empty());
    Ok(())
}

/// Holders that renew all the time, on connections of their own.
struct Crowd {
    over: Arc<AtomicBool>,
    renewals: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<Result<()>>>,
}

impl Crowd {
    async fn start(locks: &Fixture, key: &str, mode: Mode) -> Result<Self> {
        let backend = MongoBackend::with_collection(locks.raw.clone());
        let mut crowd = Self {
            over: Arc::default(),
            renewals: Arc::default(),
            tasks: Vec::new(),
        };
        for _ in 0..HOLDERS {
            let holder = request(key, mode);
            let AcquireOutcome::Granted(grant) = backend.acquire(&holder).await? else {
                anyhow::bail!("no room");
            };
            let mut renewal = RenewRequest::new(&holder, grant.token, 1);
            let (over, renewals) = (Arc::clone(&crowd.over), Arc::clone(&crowd.renewals));
            let backend = backend.clone();
            crowd.tasks.push(tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    renewal.seq += 1;
                    let renewed = backend.renew(&renewal).await?;
                    ensure!(matches!(renewed, RenewOutcome::Renewed(_)), "lost");
                    renewals.fetch_add(1, Ordering::SeqCst);
                }
                Ok(())
            }));
        }
        Ok(crowd)
    }

    /// Until each has renewed about three times more.
    async fn renew(&self) -> Result<()> {
        let enough = self.renewals.load(Ordering::SeqCst) + 100;
        poll::until("renewals", Duration::from_mins(1), || async {
            self.renewals.load(Ordering::SeqCst) >= enough
        })
        .await
    }

    async fn stop(self) -> Result<()> {
        self.over.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.context("a holder")??;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_comes_while_thirty_others_renew_all_the_time() -> Result<()> {
    let locks = Fixture::new().await?;
    let mode = Mode::Permit { limit: HOLDERS + 1 };
    let dead = request("k", mode);
    locks.granted(&dead).await?;
    let crowd = Crowd::start(&locks, "k", mode).await?;
    let mut waiter = fair("k", mode);
    locks.queued(&mut waiter).await?;
    crowd.renew().await?;
    locks.queued(&mut waiter).await?;

    let dies = doc! { "$set": { "holders.$[dead].expiresAt": past() } };
    let which = vec![doc! { "dead.id": dead.id.as_str() }];
    let update = locks.raw.update_one(doc! { "_id": "k" }, dies);
    assert_eq!(update.array_filters(which).await?.modified_count, 1);
    crowd.renew().await?;
    locks.commands.take();
    locks.granted(&waiter).await?;
    assert_eq!(locks.commands.take(), ["findAndModify"]);
    crowd.stop().await?;
    let record = locks.record(&waiter).await?;
    assert_eq!(record.holders.len(), HOLDERS as usize + 1);
    assert!(record.holder(&dead.id).is_none() && record.queue.is_empty());
    Ok(())
}

/// Nobody in the queue is in its way: it is granted by what it sees there, in order of arrival after it joined.
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_at_once_comes_while_thirty_others_renew_all_the_time() -> Result<()> {
    let locks = Fixture::new().await?;
    let limit = HOLDERS + 3;
    let mode = Mode::Permit { limit };
    let crowd = Crowd::start(&locks, "k", mode).await?;
    let idle = doc! {
        "owner": "idle", "id": "idle", "mode": "permit", "limit": i64::from(limit), "enqueuedAt": past(),
        "expiresAt": soon(60_000), "ttlMs": 60_000_i64, "seq": 1_i64,
    };
    let waits = doc! { "$push": { "queue": idle }, "$inc": { "rev": 1_i64 } };
    locks.raw.update_one(doc! { "_id": "k" }, waits).await?;
    crowd.renew().await?;
    // Refused, in order of arrival queued, granted.
    for (queueing, requests) in [(Queueing::WhenNeeded, 2), (Queueing::Fair, 3)] {
        let mut newcomer = request("k", mode);
        newcomer.queueing = queueing;
        locks.commands.take();
        locks.granted(&newcomer).await?;
        let sent = locks.commands.take();
        assert_eq!(sent, vec!["findAndModify"; requests]);
        assert_eq!(locks.record(&newcomer).await?.queue.len(), 1);
    }
    crowd.stop().await?;
    Ok(())
}
