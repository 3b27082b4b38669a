//! Waiters are told of changes by a change stream, where there is one.

use std::time::Duration;

use anyhow::Result;
use doclock::{Lease, LockClient, MongoBackend};
use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use tokio::task::JoinHandle;

use super::fixture::Fixture;
use crate::support::poll;
use crate::support::servers;

/// Much longer than a change needs to be told, and shorter than any pause of a waiter that is told of changes.
const SHORT: Duration = Duration::from_millis(4500);
const LONG: Duration = Duration::from_mins(1);

type Waiting = JoinHandle<doclock::Result<Lease>>;

/// Its waiters, and somebody else who holds what they wait for.
struct World {
    fixture: Fixture,
    ours: LockClient,
    theirs: LockClient,
}

impl World {
    async fn new() -> Result<Self> {
        let fixture = Fixture::new().await?;
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

    fn waits(&self, key: &str, wait: Duration) -> Waiting {
        tokio::spawn(self.ours.lock(key).wait(wait).acquire())
    }

    /// Until it has asked so often since the last call.
    async fn asked(&self, times: usize) -> Result<()> {
        self.sent("findAndModify", times).await
    }

    async fn sent(&self, command: &str, times: usize) -> Result<()> {
        let mut seen = 0;
        poll::until(command, LONG, || {
            let sent = self.fixture.commands.take();
            seen += sent.iter().filter(|name| *name == command).count();
            let enough = seen >= times;
            async move { enough }
        })
        .await
    }

    /// Somebody waits for another key all the time, so that the stream is open.
    async fn watching(&self) -> Result<(Lease, Waiting)> {
        let held = self.held("other").await?;
        let waiting = self.waits("other", LONG * 10);
        // Once more when the stream is open.
        self.asked(2).await?;
        Ok((held, waiting))
    }

    /// Waits for a key that is released once it was refused: it is told, or its time is over.
    async fn is_told(&self, key: &str) -> Result<()> {
        let held = self.held(key).await?;
        let waiting = self.waits(key, SHORT);
        self.asked(1).await?;
        held.release().await?;
        waiting.await??.release().await?;
        Ok(())
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

#[tokio::test]
async fn a_release_is_told() -> Result<()> {
    let world = World::new().await?;
    let (_held, other) = world.watching().await?;
    for _ in 0..5 {
        world.is_told("k").await?;
    }
    assert_eq!(world.streams().await?.len(), 1, "one for all");
    other.abort();
    Ok(())
}

#[tokio::test]
async fn a_record_that_somebody_deletes_is_told() -> Result<()> {
    let world = World::new().await?;
    let (_held, other) = world.watching().await?;
    let held = world.held("k").await?;
    let waiting = world.waits("k", SHORT);
    world.asked(1).await?;
    world.fixture.raw.delete_one(doc! { "_id": "k" }).await?;
    drop(waiting.await??);
    drop(held);
    other.abort();
    Ok(())
}

#[tokio::test]
async fn a_stream_that_is_killed_is_resumed() -> Result<()> {
    let world = World::new().await?;
    let (_held, other) = world.watching().await?;
    for id in world.streams().await? {
        let raw = &world.fixture.raw;
        let database = world.fixture.admin.database(&raw.namespace().db);
        let kill = doc! { "killCursors": raw.name(), "cursors": [id] };
        database.run_command(kill).await?;
    }
    world.sent("aggregate", 1).await?;
    world.is_told("k").await?;
    other.abort();
    Ok(())
}

#[tokio::test]
async fn a_stream_that_broke_is_opened_again() -> Result<()> {
    let world = World::new().await?;
    let (_held, other) = world.watching().await?;
    // 286: the history is lost, so the driver cannot resume it.
    let lost = doc! { "failCommands": ["getMore"], "errorCode": 286 };
    world.fixture.fail(1, lost).await?;
    world.sent("aggregate", 1).await?;
    // Whatever happened meanwhile may have been missed.
    world.asked(1).await?;
    world.is_told("k").await?;
    other.abort();
    Ok(())
}

#[tokio::test]
async fn the_stream_is_closed_when_nobody_waits() -> Result<()> {
    let world = World::new().await?;
    let (_held, other) = world.watching().await?;
    assert_eq!(world.streams().await?.len(), 1);
    other.abort();
    poll::until("the stream is closed", LONG, || async {
        world
            .streams()
            .await
            .is_ok_and(|streams| streams.is_empty())
    })
    .await?;
    // And another is opened.
    let other = world.waits("other", LONG * 10);
    world.asked(2).await?;
    world.is_told("k").await?;
    other.abort();
    Ok(())
}

#[tokio::test]
async fn without_a_replica_set_waiters_poll() -> Result<()> {
    if servers::without("mongodb") {
        return Ok(());
    }
    let url = servers::mongodb_standalone_url();
    let fixture = Fixture::on(url, |_| {}, None).await?;
    let theirs = MongoBackend::with_collection(fixture.raw.clone());
    let world = World {
        ours: LockClient::new(fixture.backend.clone()),
        theirs: LockClient::new(theirs),
        fixture,
    };
    let mut opened = 0;
    for _ in 0..2 {
        let held = world.held("k").await?;
        let waiting = world.waits("k", LONG);
        let mut asked = 0;
        poll::until("it asks again and again", LONG, || {
            let sent = world.fixture.commands.take();
            let count = |command: &str| sent.iter().filter(|name| *name == command).count();
            opened += count("aggregate");
            asked += count("findAndModify");
            let enough = asked >= 6;
            async move { enough }
        })
        .await?;
        held.release().await?;
        waiting.await??.release().await?;
    }
    assert_eq!(opened, 1, "it is tried once");
    Ok(())
}
