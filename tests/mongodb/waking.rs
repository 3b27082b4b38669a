//! Waiters are told of changes by a change stream, where there is one.

use std::time::Duration;

use anyhow::Result;
use doclock::{Lease, LockClient, MongoBackend};
use futures_util::{TryStreamExt, poll as poll_once};
use mongodb::bson::{Document, doc};
use tokio::task::JoinHandle;

use super::fixture::Fixture;
use crate::support::replica_set::ReplicaSet;
use crate::support::{poll, servers};

const LONG: Duration = Duration::from_mins(1);

/// An idle stream asks the server for more once a second, which is the clock of these tests. Somebody who polls has asked
/// for its lock six times by the second of these at the latest; who is told of changes, every five to ten seconds.
const MORE: usize = 2;

type Waiting = JoinHandle<doclock::Result<Lease>>;

/// Its waiters, and somebody else who holds what they wait for.
struct World {
    fixture: Fixture,
    ours: LockClient,
    theirs: LockClient,
}

impl World {
    async fn new() -> Result<Self> {
        Self::on(servers::mongodb_url()).await
    }

    async fn on(url: &str) -> Result<Self> {
        let fixture = Fixture::on(url, |_| {}, None).await?;
        let theirs = MongoBackend::with_collection(fixture.raw.clone());
        Ok(Self {
            ours: LockClient::new(fixture.backend.clone()),
            theirs: LockClient::new(theirs),
            fixture,
        })
    }

    async fn held(&self, key: &str) -> Result<Lease> {
        Ok(self.theirs.lock(key).ttl(LONG).acquire().await?)
    }

    fn waits(&self, key: &str) -> Waiting {
        tokio::spawn(self.ours.lock(key).wait(LONG * 10).acquire())
    }

    /// Until it has asked so often since the last call.
    async fn asked(&self, times: usize) -> Result<()> {
        self.sent("findAndModify", times).await.map(drop)
    }

    /// Until it has sent a command so often since the last call. All that it sent.
    async fn sent(&self, command: &str, times: usize) -> Result<Vec<String>> {
        let mut seen = Vec::new();
        poll::until(command, LONG, || {
            seen.extend(self.fixture.commands.take());
            let enough = count(&seen, command) >= times;
            async move { enough }
        })
        .await?;
        Ok(seen)
    }

    /// Somebody waits for a key all the time, so that the stream is open.
    async fn watching(&self, key: &str) -> Result<(Lease, Waiting)> {
        let held = self.held(key).await?;
        let waiting = self.waits(key);
        // It asks once more when the stream is open.
        self.sent("getMore", MORE).await?;
        Ok((held, waiting))
    }

    /// A stream was opened, and is followed.
    async fn reopened(&self) -> Result<()> {
        self.sent("aggregate", 1).await?;
        self.sent("getMore", 1).await.map(drop)
    }

    /// Waits for a key without asking for it, until this ends the lease that is in the way.
    async fn is_told<F: Future<Output = Result<()>>>(
        &self,
        key: &str,
        end: impl FnOnce(Lease) -> F,
    ) -> Result<()> {
        let held = self.held(key).await?;
        let waiting = self.waits(key);
        self.asked(1).await?;
        let sent = self.sent("getMore", MORE).await?;
        // Those who wait for another key ask as well.
        assert!(count(&sent, "findAndModify") < 3, "it polls: {sent:?}");
        end(held).await?;
        let lease = waiting.await??;
        self.was_told();
        Ok(lease.release().await?)
    }

    /// It was granted the lock since the last call, sooner than by asking now and then.
    fn was_told(&self) {
        let sent = self.fixture.commands.take();
        // One for each change, and one more.
        assert!(count(&sent, "getMore") < 4, "it was not told: {sent:?}");
    }

    async fn is_told_of_a_release(&self, key: &str) -> Result<()> {
        let release = async |held: Lease| Ok(held.release().await?);
        self.is_told(key, release).await
    }

    /// The ids of the cursors that stand on the collection.
    async fn streams(&self) -> Result<Vec<i64>> {
        let namespace = self.fixture.raw.namespace().to_string();
        let all = doc! { "$currentOp": { "allUsers": true, "idleCursors": true } };
        let ours = doc! { "$match": { "ns": namespace, "cursor.tailable": true } };
        let admin = self.fixture.admin.database("admin");
        let found = admin.aggregate([all, ours]).await?;
        let found: Vec<Document> = found.try_collect().await?;
        let id = |op: &Document| Ok(op.get_document("cursor")?.get_i64("cursorId")?);
        found.iter().map(id).collect()
    }
}

fn count(sent: &[String], command: &str) -> usize {
    sent.iter().filter(|name| *name == command).count()
}

#[tokio::test]
async fn a_release_is_told() -> Result<()> {
    let world = World::new().await?;
    let (_held, other) = world.watching("other").await?;
    for _ in 0..2 {
        world.is_told_of_a_release("k").await?;
    }
    // One that broke on a busy machine ends a little later.
    poll::until("one stream for all", LONG, || async {
        world
            .streams()
            .await
            .is_ok_and(|streams| streams.len() == 1)
    })
    .await?;
    other.abort();
    Ok(())
}

#[tokio::test]
async fn a_record_that_somebody_deletes_is_told() -> Result<()> {
    let world = World::new().await?;
    let (_held, other) = world.watching("other").await?;
    let delete = async |_| {
        world.fixture.raw.delete_one(doc! { "_id": "k" }).await?;
        Ok(())
    };
    world.is_told("k", delete).await?;
    other.abort();
    Ok(())
}

/// From task to task of another client, which is no chance for anybody else.
#[tokio::test]
async fn a_lock_that_is_handed_on_is_not_told() -> Result<()> {
    const TIMES: usize = 16;
    let world = World::new().await?;
    let (mut held, waiting) = world.watching("k").await?;
    for _ in 0..TIMES {
        let next = world.theirs.lock("k").ttl(LONG).acquire();
        let mut next = Box::pin(next);
        assert!(poll_once!(&mut next).is_pending());
        held.release().await?;
        held = next.await?;
    }
    let sent = world.fixture.commands.take();
    assert!(count(&sent, "getMore") < TIMES / 2, "it was told: {sent:?}");
    held.release().await?;
    waiting.await??.release().await?;
    world.was_told();
    Ok(())
}

#[tokio::test]
async fn one_of_many_permits_that_is_given_back_is_told() -> Result<()> {
    let world = World::new().await?;
    let (_held, other) = world.watching("other").await?;
    let permit = |locks: &LockClient| locks.semaphore("k", 2).wait(LONG).acquire();
    let (first, _second) = tokio::try_join!(permit(&world.theirs), permit(&world.theirs))?;
    let waiting = tokio::spawn(permit(&world.ours));
    world.asked(1).await?;
    world.sent("getMore", MORE).await?;
    first.release().await?;
    let _lease = waiting.await??;
    world.was_told();
    other.abort();
    Ok(())
}

#[tokio::test]
async fn a_stream_that_is_killed_is_resumed() -> Result<()> {
    let world = World::new().await?;
    let (_held, other) = world.watching("other").await?;
    for id in world.streams().await? {
        let raw = &world.fixture.raw;
        let database = world.fixture.admin.database(&raw.namespace().db);
        let kill = doc! { "killCursors": raw.name(), "cursors": [id] };
        database.run_command(kill).await?;
    }
    world.reopened().await?;
    world.is_told_of_a_release("k").await?;
    other.abort();
    Ok(())
}

#[tokio::test]
async fn a_stream_that_broke_or_is_silent_is_opened_again() -> Result<()> {
    // 286: the history is lost, so the driver cannot resume it.
    let lost = doc! { "failCommands": ["getMore"], "errorCode": 286 };
    let silent =
        doc! { "failCommands": ["getMore"], "blockConnection": true, "blockTimeMS": 120_000 };
    for fault in [lost, silent] {
        let world = World::new().await?;
        let (_held, other) = world.watching("other").await?;
        world.fixture.fail(1, fault).await?;
        let mut sent = world.sent("aggregate", 1).await?;
        // Whatever happened meanwhile may have been missed.
        sent.extend(world.sent("getMore", 1).await?);
        assert!(count(&sent, "findAndModify") > 0, "{sent:?}");
        world.is_told_of_a_release("k").await?;
        other.abort();
    }
    Ok(())
}

#[tokio::test]
async fn a_collection_that_is_dropped_or_renamed_is_watched_again() -> Result<()> {
    let world = World::new().await?;
    let raw = &world.fixture.raw;
    let renamed = format!("{}_old", raw.namespace());
    let rename = doc! { "renameCollection": raw.namespace().to_string(), "to": renamed };
    let admin = world.fixture.admin.database("admin");
    for (key, renames) in [("dropped", false), ("renamed", true)] {
        let (_held, waiting) = world.watching(key).await?;
        if renames {
            admin.run_command(rename.clone()).await?;
        } else {
            raw.drop().await?;
        }
        drop(waiting.await??);
        let (_held, other) = world.watching("other").await?;
        world.is_told_of_a_release("k").await?;
        other.abort();
    }
    Ok(())
}

#[tokio::test]
async fn waiters_are_told_by_the_next_primary() -> Result<()> {
    if servers::without("mongodb") {
        return Ok(());
    }
    let set = ReplicaSet::start(3).await?;
    let world = World::on(&set.url()).await?;
    let (_held, other) = world.watching("other").await?;
    let primary = set.primary().await?;
    let step_down = doc! { "replSetStepDown": 10, "secondaryCatchUpPeriodSecs": 5 };
    set.command(primary, step_down).await?;
    set.healthy().await?;
    world.fixture.commands.take();
    world.sent("getMore", MORE).await?;
    world.is_told_of_a_release("k").await?;

    set.node(set.primary().await?).kill().await?;
    set.primary().await?;
    world.fixture.commands.take();
    world.sent("getMore", MORE).await?;
    world.is_told_of_a_release("k").await?;
    other.abort();
    Ok(())
}

#[tokio::test]
async fn the_stream_is_closed_when_nobody_waits() -> Result<()> {
    let world = World::new().await?;
    let (held, other) = world.watching("other").await?;
    assert_eq!(world.streams().await?.len(), 1);
    other.abort();
    poll::until("the stream is closed", LONG, || async {
        world
            .streams()
            .await
            .is_ok_and(|streams| streams.is_empty())
    })
    .await?;
    held.release().await?;
    // And another is opened.
    let (_held, other) = world.watching("other").await?;
    world.is_told_of_a_release("k").await?;
    other.abort();
    Ok(())
}

#[tokio::test]
async fn without_a_replica_set_waiters_poll() -> Result<()> {
    if servers::without("mongodb") {
        return Ok(());
    }
    let world = World::on(servers::mongodb_standalone_url()).await?;
    let mut opened = 0;
    for _ in 0..2 {
        let held = world.held("k").await?;
        let waiting = world.waits("k");
        opened += count(&world.sent("findAndModify", 6).await?, "aggregate");
        held.release().await?;
        waiting.await??.release().await?;
        opened += count(&world.fixture.commands.take(), "aggregate");
    }
    assert_eq!(opened, 1, "it is tried once");
    Ok(())
}
