//! What it takes to hand an exclusive lock from one acquisition to another of its owner.

use std::time::Duration;

use anyhow::Result;
use doclock::{
    AcquireOutcome, AcquireRequest, Backend, LeaseId, LockClient, Mode, Queueing, RETENTION, Reason,
};
use futures_util::future::try_join_all;
use mongodb::bson::{DateTime, doc};

use super::fixture::{Fixture, past, request, secs};

const ONE: [&str; 1] = ["findAndModify"];
const TWO: [&str; 2] = ["findAndModify", "findAndModify"];

fn follows(request: &AcquireRequest) -> AcquireRequest {
    let mut next = request.clone();
    next.id = LeaseId::random();
    next.replaces = Some(request.id.clone());
    next
}

/// Hands it on, and tells what was sent.
async fn handed(locks: &Fixture, next: &AcquireRequest) -> Result<Vec<String>> {
    locks.commands.take();
    locks.granted(next).await?;
    let sent = locks.commands.take();
    let record = locks.backend.inspect(&next.key).await?.unwrap();
    assert_eq!(record.holders.len(), 1, "{record:?}");
    assert!(record.holder(&next.id).is_some(), "{record:?}");
    assert_eq!(record.closed, next.replaces);
    assert_eq!(record.mode, Mode::Exclusive);
    Ok(sent)
}

#[tokio::test]
async fn a_lock_is_handed_on_in_one_request() -> Result<()> {
    let locks = Fixture::new().await?;
    let mut held = request("k", Mode::Exclusive);
    locks.granted(&held).await?;
    for _ in 0..2 {
        let next = follows(&held);
        assert_eq!(handed(&locks, &next).await?, ONE);
        held = next;
    }
    let mut waiter = request("k", Mode::Exclusive);
    waiter.queueing = Queueing::Fair;
    let outcome = locks.backend.acquire(&waiter).await?;
    assert!(matches!(outcome, AcquireOutcome::Queued(_)), "{outcome:?}");
    let next = follows(&held);
    assert_eq!(handed(&locks, &next).await?, ONE, "past a waiter");
    // It stands there still, and nobody waits.
    let set = doc! { "holders.0.expiresAt": past(), "queue": [] };
    locks.set("k", set).await?;
    assert_eq!(handed(&locks, &follows(&next)).await?, ONE, "dead");
    Ok(())
}

#[tokio::test]
async fn a_handing_that_is_refused_or_repeated_is_one_request() -> Result<()> {
    let locks = Fixture::new().await?;
    let first = request("k", Mode::Exclusive);
    locks.granted(&first).await?;
    let mut second = follows(&first);
    locks.granted(&second).await?;
    let before = locks.bytes("k").await?;
    second.seq = 2;
    locks.commands.take();
    locks.granted(&second).await?;
    assert_eq!(locks.commands.take(), ONE, "its answer was lost");
    let outcome = locks.backend.acquire(&follows(&first)).await?;
    let AcquireOutcome::Held(refusal) = outcome else {
        anyhow::bail!("not refused: {outcome:?}");
    };
    assert_eq!(refusal.reason, Reason::Replaced);
    assert_eq!(locks.commands.take(), ONE, "it is gone");
    assert_eq!(locks.bytes("k").await?, before);
    Ok(())
}

/// What the server leaves alone is decided by the rules, all the same.
#[tokio::test]
async fn what_is_not_plain_is_handed_on_in_two_requests() -> Result<()> {
    let locks = Fixture::new().await?;
    let first = request("k", Mode::Exclusive);
    locks.granted(&first).await?;
    let mut shorter = follows(&first);
    shorter.ttl = secs(20);
    assert_eq!(handed(&locks, &shorter).await?, TWO);
    let record = locks.backend.inspect(&first.key).await?.unwrap();
    assert_eq!(record.holders[0].ttl, first.ttl);

    let mut next = follows(&shorter);
    next.ttl = first.ttl;
    // A year from now, by a broken clock.
    let late = DateTime::from_millis(DateTime::now().timestamp_millis() + 365 * 24 * 3_600_000);
    locks.set("k", doc! { "holders.0.expiresAt": late }).await?;
    assert_eq!(handed(&locks, &next).await?, TWO);
    let record = locks.backend.inspect(&first.key).await?.unwrap();
    let left = record.holders[0].expires_at.as_millis() - DateTime::now().timestamp_millis();
    assert!(left < 3_600_000, "{left} ms");
    Ok(())
}

/// Tasks of one client that want the same lock.
#[tokio::test]
async fn a_section_of_many_tasks_is_little_more_than_one_request() -> Result<()> {
    const TASKS: usize = 16;
    const EACH: usize = 25;
    let locks = Fixture::new().await?;
    let client = LockClient::new(locks.backend.clone());
    let warm = client.lock("k").acquire().await?;
    warm.release().await?;
    locks.commands.take();
    let task = async || {
        for _ in 0..EACH {
            client.lock("k").acquire().await?.release().await?;
        }
        Ok::<_, doclock::Error>(())
    };
    try_join_all((0..TASKS).map(|_| task())).await?;
    let sent = locks.commands.take().len();
    // In a row of 17 there is one release more.
    assert!(sent <= TASKS * EACH * 11 / 10, "{sent} requests");
    Ok(())
}

/// Where servers' clocks may differ by an hour, a lease may end later than the next one would.
#[tokio::test]
async fn the_later_end_stays() -> Result<()> {
    let locks = Fixture::new().await?;
    let skewed = locks.backend.clone().clock_skew(Duration::from_hours(1));
    let first = request("k", Mode::Exclusive);
    locks.granted(&first).await?;
    let later = DateTime::from_millis(DateTime::now().timestamp_millis() + 30 * 60_000);
    locks
        .set("k", doc! { "holders.0.expiresAt": later })
        .await?;
    locks.commands.take();
    let outcome = skewed.acquire(&follows(&first)).await?;
    assert!(matches!(outcome, AcquireOutcome::Granted(_)), "{outcome:?}");
    assert_eq!(locks.commands.take(), ONE);
    let record = locks.backend.inspect(&first.key).await?.unwrap();
    let end = record.holders[0].expires_at;
    assert_eq!(end.as_millis(), later.timestamp_millis());
    assert_eq!(record.purge_at, Some(end.saturating_add(RETENTION)));
    Ok(())
}
