//! MongoDB transactions that commit only while the lock is held.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use doclock::document::mongodb::Documents;
use doclock::fence::Guarded;
use doclock::{ErrorKind, Lease, Lock, LockClient, MemoryBackend};
use mongodb::bson::{Document, doc};
use mongodb::error::TRANSIENT_TRANSACTION_ERROR;
use mongodb::options::{ReadConcern, WriteConcern};
use mongodb::{ClientSession, Collection};
use tokio::sync::Notify;

use super::{lost, old_and_new, quorum, succeed};
use crate::mongodb::fixture::Fixture;
use crate::support::poll;

struct Scene {
    locks: LockClient,
    fixture: Fixture,
    items: Collection<Document>,
    session: ClientSession,
}

impl Scene {
    async fn new() -> Result<Self> {
        let fixture = Fixture::new().await?;
        let name = format!("{}-items", fixture.app_name);
        let database = fixture.raw.namespace().db;
        let items = fixture
            .client
            .database(&database)
            .collection::<Document>(&name);
        items
            .insert_many([doc! { "_id": "a", "n": 0 }, doc! { "_id": "b", "n": 0 }])
            .await?;
        let session = fixture.client.start_session().await?;
        Ok(Self {
            locks: LockClient::new(fixture.backend.clone()),
            fixture,
            items,
            session,
        })
    }

    async fn start(&mut self) -> Result<()> {
        let start = self.session.start_transaction();
        let start = start.read_concern(ReadConcern::snapshot());
        Ok(start.write_concern(WriteConcern::majority()).await?)
    }

    async fn counts(&self) -> Result<[i32; 2]> {
        let mut counts = [0; 2];
        for (count, id) in counts.iter_mut().zip(["a", "b"]) {
            let item = self.items.find_one(doc! { "_id": id }).await?;
            *count = item.context("no item")?.get_i32("n")?;
        }
        Ok(counts)
    }
}

async fn add_to_both(
    items: &Collection<Document>,
    session: &mut ClientSession,
) -> mongodb::error::Result<()> {
    for id in ["a", "b"] {
        let add = items.update_one(doc! { "_id": id }, doc! { "$inc": { "n": 1 } });
        add.session(&mut *session).await?;
    }
    Ok(())
}

/// Why it was not held, out of the driver's error.
fn kind(error: &mongodb::error::Error) -> Option<ErrorKind> {
    error
        .get_custom::<doclock::Error>()
        .map(doclock::Error::kind)
}

#[tokio::test]
async fn a_transaction_of_the_holder_commits() -> Result<()> {
    let mut scene = Scene::new().await?;
    let lease = scene.locks.lock("k").acquire().await?;
    let before = scene.locks.inspect("k").await?.context("no record")?;
    scene.start().await?;
    add_to_both(&scene.items, &mut scene.session).await?;
    lease.assert_held(&mut scene.session).await?;
    scene.session.commit_transaction().await?;
    assert_eq!(scene.counts().await?, [1, 1]);
    let mut after = scene.locks.inspect("k").await?.context("no record")?;
    assert_eq!(after.rev, before.rev + 1, "it writes the record");
    after.rev = before.rev;
    assert_eq!(
        format!("{after:?}"),
        format!("{before:?}"),
        "and nothing but `rev`"
    );
    lease.renew().await?;
    Ok(lease.release().await?)
}

#[tokio::test]
async fn a_grant_between_snapshot_and_commit_is_a_conflict() -> Result<()> {
    let mut scene = Scene::new().await?;
    let old = scene.locks.lock("k").manual_renewal().acquire().await?;
    scene.start().await?;
    add_to_both(&scene.items, &mut scene.session).await?;
    let _new = succeed(&scene.locks, &old).await?;
    let error = old.assert_held(&mut scene.session).await.unwrap_err();
    assert!(error.contains_label(TRANSIENT_TRANSACTION_ERROR), "{error}");
    scene.session.abort_transaction().await?;

    // Tried again, on a new snapshot, it finds out.
    let (locks, items) = (&scene.locks, &scene.items);
    let old = locks.lock("l").manual_renewal().acquire().await?;
    let runs = AtomicUsize::new(0);
    let new = tokio::sync::Mutex::new(None);
    let transaction = scene.session.start_transaction().and_run2(async |session| {
        add_to_both(items, &mut *session).await?;
        if runs.fetch_add(1, Ordering::SeqCst) == 0 {
            *new.lock().await = Some(succeed(locks, &old).await.unwrap());
        }
        old.assert_held(session).await
    });
    let error = transaction.await.unwrap_err();
    assert_eq!(kind(&error), Some(ErrorKind::LeaseLost), "{error}");
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    assert_eq!(scene.counts().await?, [0, 0]);
    Ok(())
}

/// The control: why it writes. A transaction that only reads the record commits after the successor's grant.
#[tokio::test]
async fn a_read_of_the_record_alone_would_let_it_commit() -> Result<()> {
    let mut scene = Scene::new().await?;
    let old = scene.locks.lock("k").manual_renewal().acquire().await?;
    scene.start().await?;
    add_to_both(&scene.items, &mut scene.session).await?;
    let _new = succeed(&scene.locks, &old).await?;
    let database = scene
        .fixture
        .client
        .database(&scene.fixture.raw.namespace().db);
    let records = database.collection::<Document>(&scene.fixture.app_name);
    let mine = doc! { "_id": "k", "holders": { "$elemMatch": { "id": old.id().as_str() } } };
    let seen = records.find_one(mine).session(&mut scene.session).await?;
    assert!(seen.is_some(), "the snapshot still shows it");
    scene.session.commit_transaction().await?;
    assert_eq!(scene.counts().await?, [1, 1], "written without the lock");
    Ok(())
}

#[tokio::test]
async fn the_ready_form_commits_or_is_fenced() -> Result<()> {
    let mut scene = Scene::new().await?;
    let items = &scene.items;
    let (old, new) = old_and_new(&scene.locks, "k").await?;
    for (lease, expected) in [(&old, Guarded::Fenced), (&new, Guarded::Applied(7))] {
        let fence = lease.fence().mongodb()?;
        let ended = fence
            .transaction(&mut scene.session, async |session| {
                add_to_both(items, session).await?;
                Ok(7)
            })
            .await?;
        assert_eq!(ended, expected);
    }
    assert_eq!(scene.counts().await?, [1, 1]);
    Ok(())
}

#[tokio::test]
async fn a_body_that_fails_writes_nothing() -> Result<()> {
    let mut scene = Scene::new().await?;
    let items = &scene.items;
    let lease = scene.locks.lock("k").acquire().await?;
    let fence = lease.fence().mongodb()?;
    let failed = fence.transaction(&mut scene.session, async |session| {
        add_to_both(items, session).await?;
        Err::<(), _>(mongodb::error::Error::custom("no stock"))
    });
    let error = failed.await.unwrap_err();
    assert!(error.to_string().contains("the body failed"), "{error}");
    let source = std::error::Error::source(&error).context("no source")?;
    let source = source
        .downcast_ref::<mongodb::error::Error>()
        .context("another error")?;
    assert_eq!(source.get_custom::<&str>(), Some(&"no stock"));
    assert_eq!(scene.counts().await?, [0, 0]);
    Ok(lease.release().await?)
}

/// A renewal in the middle is a conflict, and no more: the transaction is run again.
#[tokio::test]
async fn a_renewal_in_the_middle_does_not_break_it() -> Result<()> {
    let mut scene = Scene::new().await?;
    let items = &scene.items;
    let lease = scene.locks.lock("k").acquire().await?;
    let runs = AtomicUsize::new(0);
    let ended = lease
        .fence()
        .mongodb()?
        .transaction(&mut scene.session, async |session| {
            add_to_both(items, session).await?;
            if runs.fetch_add(1, Ordering::SeqCst) == 0 {
                lease.renew().await.unwrap();
            }
            Ok(())
        })
        .await?;
    assert_eq!(ended, Guarded::Applied(()));
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    assert_eq!(scene.counts().await?, [1, 1]);
    Ok(())
}

async fn seq(locks: &LockClient) -> Result<u64> {
    let record = locks.inspect("k").await?.context("no record")?;
    Ok(record.holders.first().context("nobody holds")?.seq)
}

/// The background renewal, due at a third of the ttl, waits for the end of a transaction, and then goes on.
#[tokio::test]
async fn background_renewals_wait() -> Result<()> {
    const TTL: Duration = Duration::from_secs(3);
    let mut scene = Scene::new().await?;
    let (items, locks) = (&scene.items, &scene.locks);
    let lease = locks.lock("k").ttl(TTL).acquire().await?;
    let before = seq(locks).await?;
    let runs = AtomicUsize::new(0);
    let fence = lease.fence().mongodb()?;
    let ended = fence.transaction(&mut scene.session, async |session| {
        runs.fetch_add(1, Ordering::SeqCst);
        add_to_both(items, session).await?;
        // Past the time of a renewal.
        tokio::time::sleep(TTL / 2).await;
        Ok(seq(locks).await.unwrap())
    });
    assert_eq!(ended.await?, Guarded::Applied(before));
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    poll::until("it is renewed again", Duration::from_secs(30), || async {
        seq(locks).await.is_ok_and(|seq| seq > before)
    })
    .await?;
    assert!(lease.is_held());
    Ok(())
}

/// Whoever drops it, and the session, has a lease that is renewed again, and has written nothing.
#[tokio::test]
async fn a_transaction_that_is_dropped_lets_renewals_go_on() -> Result<()> {
    const TTL: Duration = Duration::from_secs(9);
    let mut scene = Scene::new().await?;
    let (items, locks) = (&scene.items, &scene.locks);
    let lease = locks.lock("k").ttl(TTL).acquire().await?;
    let before = seq(locks).await?;
    let written = Notify::new();
    let fence = lease.fence().mongodb()?;
    let run = fence.transaction(&mut scene.session, async |session| {
        add_to_both(items, &mut *session).await?;
        // No renewal passes this, until the session is dropped.
        lease.assert_held(session).await?;
        written.notify_one();
        std::future::pending::<mongodb::error::Result<()>>().await
    });
    tokio::select! {
        ended = run => panic!("{ended:?}"),
        () = written.notified() => {}
    }
    scene.session = scene.fixture.client.start_session().await?;
    poll::until("it is renewed again", Duration::from_secs(30), || async {
        seq(&scene.locks).await.is_ok_and(|seq| seq > before)
    })
    .await?;
    assert!(lease.is_held());
    assert_eq!(scene.counts().await?, [0, 0]);
    Ok(())
}

/// Whoever holds a document lock may change other documents with it.
#[tokio::test]
async fn the_lock_of_a_document_is_asserted_in_that_document() -> Result<()> {
    let mut scene = Scene::new().await?;
    let items = &scene.items;
    let documents = Documents::new(items.clone());
    let locked = documents.lock("a").with(Lock::manual_renewal);
    let locked = locked.acquire().await?;
    let fence = locked.lease().fence().mongodb()?;
    for expected in [Guarded::Applied(()), Guarded::Fenced] {
        let ended = fence.transaction(&mut scene.session, async |session| {
            let add = items.update_one(doc! { "_id": "b" }, doc! { "$inc": { "n": 1 } });
            add.session(session).await.map(drop)
        });
        assert_eq!(ended.await?, expected);
        documents.force_release("a").await?;
        assert!(locked.lease().is_held(), "it believes so");
    }
    assert_eq!(scene.counts().await?, [0, 1]);
    let item = items.find_one(doc! { "_id": "a" }).await?;
    let item = item.context("no item")?;
    assert_eq!(item.keys().collect::<Vec<_>>(), ["_id", "n", "lock"]);
    Ok(())
}

/// With less than half of its ttl left, a lease is renewed before.
#[tokio::test]
async fn an_old_lease_is_renewed_first() -> Result<()> {
    const TTL: Duration = Duration::from_secs(4);
    let mut scene = Scene::new().await?;
    let locks = &scene.locks;
    let lease = locks.lock("k").ttl(TTL).manual_renewal().acquire().await?;
    let before = seq(locks).await?;
    let run = async |session: &mut ClientSession, lease: &Lease| {
        let fence = lease.fence().mongodb()?;
        let left = fence
            .transaction(session, async |_| Ok(lease.remaining()))
            .await?;
        anyhow::Ok(left.applied().context("fenced")?)
    };
    run(&mut scene.session, &lease).await?;
    assert_eq!(seq(locks).await?, before, "there was enough left");
    tokio::time::sleep(TTL * 6 / 10).await;
    assert!(run(&mut scene.session, &lease).await? > TTL / 2);
    assert_eq!(seq(locks).await?, before + 1);
    Ok(())
}

#[tokio::test]
async fn a_transaction_ends_with_its_lease() -> Result<()> {
    let mut scene = Scene::new().await?;
    let items = &scene.items;
    let lease = scene
        .locks
        .lock("k")
        .ttl(Duration::from_secs(1))
        .acquire()
        .await?;
    let fence = lease.fence().mongodb()?;
    let endless = fence.transaction(&mut scene.session, async |session| {
        add_to_both(items, session).await?;
        std::future::pending::<mongodb::error::Result<()>>().await
    });
    let error = endless.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error}");
    assert_eq!(scene.counts().await?, [0, 0]);
    // The session is as good as new.
    scene.start().await?;
    add_to_both(&scene.items, &mut scene.session).await?;
    scene.session.commit_transaction().await?;
    assert_eq!(scene.counts().await?, [1, 1]);
    Ok(())
}

#[tokio::test]
async fn bad_input_is_refused_before_any_request() -> Result<()> {
    let mut scene = Scene::new().await?;
    let memory = LockClient::new(MemoryBackend::new());
    let elsewhere = memory.lock("k").acquire().await?;
    let spread = quorum()?.lock("k").acquire().await?;
    let late = lost(&scene.locks, "lost").await?;
    scene.start().await?;
    scene.fixture.commands.take();
    for (lease, expected) in [
        (&elsewhere, ErrorKind::InvalidInput),
        (&spread, ErrorKind::InvalidInput),
        (&late, ErrorKind::LeaseLost),
    ] {
        let error = lease.assert_held(&mut scene.session).await.unwrap_err();
        assert_eq!(kind(&error), Some(expected), "{error}");
    }
    scene.session.abort_transaction().await?;
    for (lease, expected) in [
        (&elsewhere, ErrorKind::InvalidInput),
        (&spread, ErrorKind::InvalidInput),
        (&late, ErrorKind::LeaseLost),
    ] {
        let fence = lease.fence().mongodb()?;
        let run = fence.transaction(&mut scene.session, async |_| Ok(()));
        assert_eq!(run.await.unwrap_err().kind(), expected);
    }
    assert!(scene.fixture.commands.take().is_empty());

    let lease = scene.locks.lock("k").acquire().await?;
    let mut foreign = scene.fixture.admin.start_session().await?;
    let fence = lease.fence().mongodb()?;
    let error = fence
        .transaction(&mut foreign, async |_| Ok(()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let source = std::error::Error::source(&error).context("no source")?;
    assert!(
        source
            .to_string()
            .contains("must be created from the same client"),
        "{source}"
    );
    Ok(())
}

#[tokio::test]
async fn a_transaction_can_be_spawned() -> Result<()> {
    let mut scene = Scene::new().await?;
    let lease = scene.locks.lock("k").acquire().await?;
    let items = scene.items.clone();
    let task = tokio::spawn(async move {
        let fence = lease.fence().mongodb()?;
        let body = async move |session: &mut ClientSession| {
            let items = items.clone();
            items.insert_one(doc! { "_id": "c" }).session(session).await
        };
        fence.transaction(&mut scene.session, body).await
    });
    assert!(matches!(task.await??, Guarded::Applied(_)));
    Ok(())
}
