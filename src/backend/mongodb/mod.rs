//! Locks as documents of a MongoDB collection.

mod acquire;
mod assert;
mod decide;
#[cfg(feature = "diagnosis")]
mod diagnose;
mod embedded;
pub(crate) mod error;
mod field;
mod guarded;
mod handing;
mod list;
mod many;
mod pipeline;
mod record;
mod release;
mod renew;
mod setup;
mod shape;
mod slot;
mod stream;
mod turn;
mod write;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use mongodb::Collection;
use mongodb::bson::Document;

use self::embedded::Place;
pub(crate) use self::embedded::id_json;
pub(crate) use self::guarded::holds;
use self::stream::Stream;
use super::{
    AcquireOutcome, AcquireRequest, Backend, Database, READ_TIMEOUT, ReleaseOutcome,
    ReleaseRequest, RenewOutcome, RenewRequest, SETUP_TIMEOUT, check_inside, check_supported,
    store, within,
};
use crate::record::ListPage;
use crate::{Key, LockRecord, Mode, Result, Wake};

/// The collection unless the caller names another.
const COLLECTION: &str = "locks";
/// How far apart the clocks of two servers may be.
const CLOCK_SKEW: Duration = Duration::from_millis(500);

/// Locks in a MongoDB collection: one document per key.
///
/// The server decides, by its own clock (`$$NOW`): this machine's may be wrong.
///
/// Every write waits for a majority and its journals, whatever the client's own write concern is, and every decision
/// reads by such a write. So a lock survives the loss of a minority of a replica set; on a standalone server it
/// survives a restart. Retryable writes may be on or off.
///
/// The document's fields are in `camelCase`: `v rev token mode limit holders queue freeAt closed slotStarted slotDone
/// pinned state purgeAt`; `_id` is the key. A document's other fields are left alone; a document that is not a lock is
/// refused with [`CorruptRecord`](crate::ErrorKind::CorruptRecord) and left as it is.
///
/// # Requests
///
/// | call | requests |
/// |---|---|
/// | acquire a lock that is free, held by others or left by a dead holder; a run of a scheduled job | 1 |
/// | in the queue: poll, refresh the place, take the turn, leave | 1 |
/// | hand an exclusive lock on to another acquisition of its owner | 1 |
/// | renew, by itself or with others that are due; release, with the rest of a minimum hold or without | 1 |
/// | join the queue; upgrade, downgrade, or take a lock of one's own over; pass those who do not claim their turn | 2 |
/// | renew or release what is not there any more | 2 |
/// | the very first run of a scheduled job | 3 |
///
/// More only where others change the record in between, or where another program wrote it. Refusals and polls write
/// nothing; a place in the queue is refreshed every 2 s.
///
/// # Waiting
///
/// Who waits is told of changes by a change stream, one for all clones of a backend, open while somebody waits: so a release
/// is seen at once, and nobody polls but now and then. That takes a replica set, the right to `changeStream` on the
/// collection, and one connection of the client's pool. Without them, waiters poll; so they do for a lock inside of a
/// document, and besides on a sharded cluster, whose streams
/// [may be late](https://jira.mongodb.org/browse/SERVER-44356). A client with a small pool and many collections
/// whose locks are waited for needs a larger one.
///
/// # Which servers
///
/// MongoDB 5.0 or newer, as a replica set, sharded cluster or standalone server. Not Amazon DocumentDB or Azure Cosmos
/// DB, which do not run the [update pipelines][pipelines] that decide on the server;
/// [`setup`](crate::Backend::setup) says so.
///
/// [pipelines]: https://www.mongodb.com/docs/manual/tutorial/update-documents-with-aggregation-pipeline/
///
/// # Which collection
///
/// One of the locks' own, with the simple collation. Under a collation that is blind to case, keys that differ by case
/// only are never taken for each other, but only one of them can exist: the others fail with
/// [`NotSetUp`](crate::ErrorKind::NotSetUp). A sharded collection is sharded by `_id`.
///
/// # Permissions
///
/// `find`, `insert` and `update` on the collection; for [`setup`](crate::Backend::setup) also `createIndex` and
/// `remove`. `changeStream` is optional, see above.
///
/// # Stability
///
/// [`MongoBackend::new`] and [`MongoBackend::with_collection`] take types of `mongodb` 3.x: a new major version of the
/// driver is one of this crate. Nothing else of the driver, nor of `bson`, is in this crate's interface.
///
/// # Examples
///
/// ```no_run
/// # async fn example(client: mongodb::Client) -> doclock::Result<()> {
/// use doclock::{Backend, MongoBackend};
///
/// let locks = MongoBackend::new(client.database("app"));
/// locks.setup().await?; // once, by a role that may: creates the TTL index
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MongoBackend {
    collection: Collection<Document>,
    place: Place,
    skew: Duration,
    stream: Stream,
}

impl MongoBackend {
    /// Locks in the collection `locks` of this database. Sends nothing yet.
    ///
    /// The client's own timeouts hold as well, if they are shorter than a request's.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a database is a handle, and often a temporary"
    )]
    pub fn new(database: mongodb::Database) -> Self {
        Self::with_collection(database.collection::<Document>(COLLECTION))
    }

    /// Locks in this collection, whatever type it is typed with. Sends nothing yet.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a collection is a handle, and often a temporary"
    )]
    pub fn with_collection<T: Send + Sync>(collection: Collection<T>) -> Self {
        Self {
            collection: collection.clone_with_type(),
            place: Place::Document,
            skew: CLOCK_SKEW,
            stream: Stream::default(),
        }
    }

    /// The locks are inside of the collection's documents, in this field of each. A key is an `_id` as extended JSON.
    pub(crate) fn in_field(mut self, field: &str) -> Self {
        self.place = Place::field(field);
        self
    }

    /// How far apart the clocks of two servers may be. Default: 500 ms.
    ///
    /// It bounds what a failover to another primary, or another `mongos`, may change about the time. A dead holder's
    /// lock is taken over this much later. The same in every process that locks in this collection.
    #[must_use]
    pub fn clock_skew(mut self, skew: Duration) -> Self {
        self.skew = skew;
        self
    }
}

/// The driver's own `Debug` would show the client's options.
impl fmt::Debug for MongoBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoBackend")
            .field("collection", &self.collection.namespace().to_string())
            .field("place", &self.place)
            .field("clock_skew", &self.skew)
            .finish_non_exhaustive()
    }
}

/// Cancel safe: a dropped call is done or not done, as if its answer were lost.
#[async_trait]
impl Backend for MongoBackend {
    async fn acquire(&self, request: &AcquireRequest) -> Result<AcquireOutcome> {
        let attempt = async {
            check_supported(request)?;
            if self.place.is_field() {
                check_inside(request)?;
            }
            within(request.timeout, store::acquire(self, request)).await
        };
        attempt
            .await
            .map_err(|error| error.with_operation("acquire").with_key(&request.key))
    }

    async fn renew(&self, request: &RenewRequest) -> Result<RenewOutcome> {
        within(request.timeout, self.renew_once(request))
            .await
            .map_err(|error| error.with_operation("renew").with_key(&request.key))
    }

    fn renewals_at_once(&self) -> usize {
        many::BATCH
    }

    async fn renew_many(&self, requests: &[RenewRequest]) -> Vec<Result<RenewOutcome>> {
        self.renew_all(requests).await
    }

    async fn release(&self, request: &ReleaseRequest) -> Result<ReleaseOutcome> {
        self.place.forget(&request.id);
        within(request.timeout, self.release_once(request))
            .await
            .map_err(|error| error.with_operation("release").with_key(&request.key))
    }

    async fn inspect(&self, key: &Key) -> Result<Option<LockRecord>> {
        within(READ_TIMEOUT, self.read(key))
            .await
            .map_err(|error| error.with_operation("inspect").with_key(key))
    }

    /// Creates the index by which the database collects records that nobody needs any more, and checks on two keys of
    /// its own, which it removes again, that the server does what locks need.
    ///
    /// # Errors
    ///
    /// [`NotSetUp`](crate::ErrorKind::NotSetUp) if there is another index on `purgeAt`, or the collection's collation
    /// is blind to case; [`Unsupported`](crate::ErrorKind::Unsupported) if the server cannot keep locks.
    async fn setup(&self) -> Result<()> {
        if self.place.is_field() {
            return Ok(());
        }
        within(SETUP_TIMEOUT, self.prepare())
            .await
            .map_err(|error| error.with_operation("setup"))
    }

    fn hands_over(&self) -> bool {
        !self.place.is_field()
    }

    fn database(&self) -> Database {
        let collection = self.collection.namespace();
        Database::new("mongodb")
            .namespace(collection.db)
            .collection(collection.coll)
    }

    fn watch(&self, key: &Key, mode: Mode, waits: bool) -> Option<Wake> {
        self.watch_key(key, mode, waits)
    }

    async fn list(&self, prefix: &str, page: Option<&str>) -> Result<ListPage> {
        if self.place.is_field() {
            return Err(super::unsupported("list"));
        }
        within(READ_TIMEOUT, self.read_page(prefix, page))
            .await
            .map_err(|error| error.with_operation("list"))
    }

    #[cfg(feature = "diagnosis")]
    async fn diagnose(&self, key: &Key) -> crate::Diagnosis {
        self.examine(key).await
    }
}
