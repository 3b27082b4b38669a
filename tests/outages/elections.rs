//! The primary dies or steps down while a lock is passed from hand to hand.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use doclock::LockClient;
use futures_util::future::try_join_all;
use mongodb::bson::doc;

use crate::processes::site::mongodb_url;
use crate::support::replica_set::ReplicaSet;
use crate::support::{poll, servers};

const CONTENDERS: usize = 4;
const TTL: Duration = Duration::from_secs(4);
/// How often somebody must have held the lock between two outages.
const GRANTS: usize = 6;

/// When somebody believed to hold the lock.
#[derive(Clone, Copy, Debug)]
struct Belief {
    token: u64,
    from: Instant,
    /// The last time that it was true for certain.
    to: Instant,
}

#[derive(Default)]
struct History {
    beliefs: Mutex<Vec<Belief>>,
    over: AtomicBool,
    grants: AtomicUsize,
}

impl History {
    /// Takes the lock again and again, each time as long as a few renewals or until it is lost.
    async fn contend(&self, locks: LockClient, patient: bool) -> Result<()> {
        while !self.over.load(Ordering::SeqCst) {
            let lock = locks.lock("k").ttl(TTL).wait(Duration::from_secs(2));
            let Ok(lease) = lock.acquire().await else {
                continue;
            };
            let from = Instant::now();
            let mut belief = Belief {
                token: lease.token(),
                from,
                to: from,
            };
            self.grants.fetch_add(1, Ordering::SeqCst);
            let enough = if patient {
                TTL
            } else {
                Duration::from_millis(50)
            };
            while from.elapsed() < enough {
                let asked = Instant::now();
                if !lease.is_held() {
                    break;
                }
                belief.to = asked;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            self.beliefs
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(belief);
            // It may fail in an outage: then it expires.
            let _ = lease.release().await;
        }
        Ok(())
    }

    async fn more_grants(&self) -> Result<()> {
        let enough = self.grants.load(Ordering::SeqCst) + GRANTS;
        poll::until("the lock is passed on", Duration::from_mins(1), || async {
            self.grants.load(Ordering::SeqCst) >= enough
        })
        .await
    }

    /// In the order of tokens, each belief ends before the next begins.
    fn check(&self) -> Result<usize> {
        let mut beliefs = self
            .beliefs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        beliefs.sort_by_key(|belief| belief.token);
        for pair in beliefs.windows(2) {
            ensure!(pair[0].token < pair[1].token, "one token twice: {pair:?}");
            ensure!(pair[0].to <= pair[1].from, "two holders at once: {pair:?}");
        }
        Ok(beliefs.len())
    }
}

async fn disturb(set: &ReplicaSet, history: &History) -> Result<()> {
    history.more_grants().await?;
    let primary = set.primary().await?;
    set.node(primary).kill().await?;
    history.more_grants().await?;
    set.node(primary).restart().await?;
    set.healthy().await?;

    let primary = set.primary().await?;
    let step_down = doc! { "replSetStepDown": 10, "secondaryCatchUpPeriodSecs": 5 };
    set.command(primary, step_down).await?;
    history.more_grants().await?;
    set.healthy().await?;

    // It goes on as if it still were the primary, until it hears otherwise.
    let primary = set.primary().await?;
    set.node(primary).pause()?;
    history.more_grants().await?;
    set.node(primary).resume()?;
    history.more_grants().await
}

#[tokio::test]
async fn a_lock_has_one_holder_over_elections() -> Result<()> {
    if servers::without("mongodb") {
        return Ok(());
    }
    let set = ReplicaSet::start(3).await?;
    let url = mongodb_url(&set.url(), "locks");
    let history = Arc::new(History::default());
    let contenders = (0..CONTENDERS).map(|n| {
        let (history, url) = (&history, &url);
        async move { history.contend(doclock::connect(url).await?, n == 0).await }
    });
    let outages = async {
        let result = disturb(&set, &history).await;
        history.over.store(true, Ordering::SeqCst);
        result
    };
    let (contended, disturbed) = tokio::join!(try_join_all(contenders), outages);
    disturbed?;
    contended?;
    println!("{} grants over three elections", history.check()?);
    Ok(())
}

#[tokio::test]
async fn a_lease_lives_through_an_election() -> Result<()> {
    if servers::without("mongodb") {
        return Ok(());
    }
    let set = ReplicaSet::start(3).await?;
    let url = mongodb_url(&set.url(), "locks");
    let (locks, others) = tokio::try_join!(doclock::connect(&url), doclock::connect(&url))?;
    // Longer than any election takes here.
    let lease = locks
        .lock("k")
        .ttl(Duration::from_secs(30))
        .acquire()
        .await?;
    let before = locks
        .inspect("k")
        .await?
        .map(|record| record.holders[0].seq);
    set.node(set.primary().await?).kill().await?;
    set.primary().await?;
    assert!(others.lock("k").try_acquire().await?.is_none());
    poll::until("it is renewed", Duration::from_mins(1), || async {
        let record = others.inspect("k").await.ok().flatten();
        record.is_some_and(|record| Some(record.holders[0].seq) > before)
    })
    .await?;
    assert!(lease.is_held());
    lease.renew().await?;
    lease.release().await?;
    let next = others.lock("k").acquire().await?;
    next.release().await?;
    Ok(())
}
