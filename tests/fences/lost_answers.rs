//! Answers from MongoDB that get lost: what was written is written once, and not taken for a newer holder's.

use std::time::Duration;

use anyhow::{Context, Result};
use doclock::fence::Guarded;
use doclock::{ErrorKind, Lease, LeaseId, LockClient, MongoBackend};
use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection};

use super::mongodb::write;
use crate::support::proxy::Proxy;
use crate::support::servers;
use crate::support::wire::Wire;

/// Locks and data behind a proxy, by one client.
struct Link {
    proxy: Proxy,
    client: Client,
    locks: LockClient,
    items: Collection<Document>,
}

impl Link {
    async fn with(options: &str) -> Result<Self> {
        let proxy = Proxy::start(servers::mongodb_primary().await?, Wire::Mongo).await?;
        let client = Client::with_uri_str(proxy.mongodb_url() + options).await?;
        let database = client.database("doclock_fences");
        let name = format!("lost-{}", LeaseId::random());
        let backend = MongoBackend::with_collection(database.collection::<Document>(&name));
        let items = database.collection::<Document>(&format!("{name}-items"));
        items.insert_one(doc! { "_id": "a", "n": 0 }).await?;
        Ok(Self {
            proxy,
            client,
            locks: LockClient::new(backend),
            items,
        })
    }

    /// Adds one in a transaction.
    async fn add(&self, lease: &Lease) -> Result<doclock::Result<Guarded<()>>> {
        let mut session = self.client.start_session().await?;
        let fence = lease.fence().mongodb()?;
        let run = fence.transaction(&mut session, async |session| {
            let add = self
                .items
                .update_one(doc! { "_id": "a" }, doc! { "$inc": { "n": 1 } });
            add.session(session).await.map(drop)
        });
        Ok(run.await)
    }

    async fn count(&self) -> Result<i32> {
        let item = self.items.find_one(doc! { "_id": "a" }).await?;
        Ok(item.context("no item")?.get_i32("n")?)
    }
}

/// The driver asks once more by itself.
#[tokio::test]
async fn a_commit_is_repeated_until_it_is_answered_and_counts_once() -> Result<()> {
    let link = Link::with("").await?;
    let lease = link.locks.lock("k").acquire().await?;
    for lost in 1..=3 {
        link.proxy.drop_replies_of("commitTransaction", lost);
        assert_eq!(link.add(&lease).await??, Guarded::Applied(()), "{lost}");
        assert_eq!(link.proxy.faults_left(), 0, "nothing was lost");
        assert_eq!(link.count().await?, i32::try_from(lost)?);
    }
    link.proxy.drop_requests_of("commitTransaction", 3);
    assert_eq!(link.add(&lease).await??, Guarded::Applied(()));
    assert_eq!((link.proxy.faults_left(), link.count().await?), (0, 4));
    Ok(())
}

#[tokio::test]
async fn a_commit_that_is_never_answered_is_unknown() -> Result<()> {
    let link = Link::with("").await?;
    let ttl = Duration::from_secs(2);
    let lease = link.locks.lock("k").ttl(ttl).acquire().await?;
    link.proxy.drop_replies_of("commitTransaction", usize::MAX);
    let error = link.add(&lease).await?.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    link.proxy.clear_faults();
    assert_eq!(link.count().await?, 1, "it was carried out");
    Ok(())
}

/// In an order in which each of them has something to do.
const WRITES: [(&str, &str); 7] = [
    ("insert", "insert"),
    ("update", "update"),
    ("pipeline", "update"),
    ("find and update", "findAndModify"),
    ("upsert", "update"),
    ("delete", "delete"),
    ("find and upsert", "findAndModify"),
];

/// The driver sends it again, and the server knows it by its number.
#[tokio::test]
async fn a_write_that_the_driver_repeats_is_applied() -> Result<()> {
    let link = Link::with("").await?;
    let lease = link.locks.lock("k").acquire().await?;
    for (form, command) in WRITES {
        link.proxy.drop_replies_of(command, 1);
        assert!(write(&link.items, &lease, form, "b").await?, "{form}");
        assert_eq!(link.proxy.faults_left(), 0, "{form}");
    }
    Ok(())
}

#[tokio::test]
async fn a_write_that_nobody_repeats_is_unknown() -> Result<()> {
    let link = Link::with("&retryWrites=false").await?;
    let lease = link.locks.lock("k").acquire().await?;
    for (form, command) in WRITES {
        link.proxy.drop_replies_of(command, 1);
        let error = write(&link.items, &lease, form, "b").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{form}: {error}");
        assert_eq!(link.proxy.faults_left(), 0, "{form}");
    }
    Ok(())
}
