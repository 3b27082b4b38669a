//! Two of three nodes are gone: nothing is granted, nobody waits longer than he said, and what is held ends in time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use doclock::{ErrorKind, LockClient};
use tokio::time::timeout;

use super::SLACK;
use crate::messages::link::now;
use crate::processes::site::mongodb_url;
use crate::support::replica_set::ReplicaSet;
use crate::support::servers;

const WAIT: Duration = Duration::from_secs(3);

/// Neither a free lock nor a new one is granted, and neither takes longer than the wait.
async fn nothing_is_granted(locks: &LockClient, keys: [&str; 2]) -> Result<()> {
    for key in keys {
        let start = Instant::now();
        let acquired = locks.lock(key).wait(WAIT).acquire().await;
        let took = start.elapsed();
        let error = acquired.err().context("granted without a majority")?;
        ensure!(
            matches!(
                error.kind(),
                ErrorKind::Unavailable | ErrorKind::OutcomeUnknown
            ),
            "{error:?}"
        );
        ensure!(took < WAIT + SLACK, "it took {took:?}");
    }
    Ok(())
}

async fn token(locks: &LockClient, key: &str) -> Result<u64> {
    let lease = locks.lock(key).acquire().await?;
    let token = lease.token();
    lease.release().await?;
    Ok(token)
}

#[tokio::test]
async fn without_a_majority_nothing_is_granted() -> Result<()> {
    if servers::without("mongodb") {
        return Ok(());
    }
    let set = ReplicaSet::start(3).await?;
    let locks = doclock::connect(&mongodb_url(&set.url(), "locks")).await?;
    let before = token(&locks, "k").await?;
    let held = locks
        .lock("held")
        .ttl(Duration::from_secs(4))
        .acquire()
        .await?;

    // The primary is alone, and does not know it yet.
    let primary = set.primary().await?;
    let others: Vec<usize> = (0..3).filter(|node| *node != primary).collect();
    for node in &others {
        set.node(*node).pause()?;
    }
    let lost = timeout(Duration::from_secs(30), async {
        (held.lost().await, now())
    });
    let (granted, lost) = tokio::join!(nothing_is_granted(&locks, ["k", "stopped"]), lost);
    granted?;
    let (why, lost) = lost?;
    assert_eq!(why.kind(), ErrorKind::LeaseLost);

    for node in others {
        set.node(node).resume()?;
    }
    set.healthy().await?;
    let after = token(&locks, "k").await?;
    assert!(before < after);
    // Nobody wanted it, so it still stands there.
    let record = locks
        .inspect(held.key().as_str())
        .await?
        .context("no record")?;
    let holder = record.holder(held.id()).context("no holder")?;
    assert!(
        lost < holder.expires_at,
        "lost {lost}, the record {}",
        holder.expires_at
    );

    // The primary dies, with one more.
    let primary = set.primary().await?;
    set.node(primary).kill().await?;
    set.node((primary + 1) % 3).kill().await?;
    nothing_is_granted(&locks, ["k", "killed"]).await?;
    set.node(primary).restart().await?;
    set.node((primary + 1) % 3).restart().await?;
    set.healthy().await?;
    assert!(after < token(&locks, "k").await?);
    Ok(())
}
