//! Locks as items of a DynamoDB table.

mod acquire;
mod check;
mod claim;
pub(crate) mod clock;
#[cfg(feature = "diagnosis")]
mod diagnose;
pub(crate) mod embedded;
pub(crate) mod error;
mod expression;
mod field;
mod grant;
pub(crate) mod guarded;
mod handing;
mod keys;
mod list;
mod look;
mod many;
mod queue;
mod record;
mod release;
mod renew;
pub(crate) mod request;
pub(crate) mod server_time;
mod setup;
#[cfg(test)]
mod simulation;
mod statement;
mod validity;

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{
    AcquireOutcome, AcquireRequest, Backend, Database, READ_TIMEOUT, ReleaseOutcome,
    ReleaseRequest, RenewOutcome, RenewRequest, SETUP_TIMEOUT, store, within,
};
use crate::record::ListPage;
use crate::time::{Clock, SystemClock};
use crate::{Key, LockRecord, Result};

use acquire::Attempt;
use clock::IntervalClock;
use embedded::Place;
use keys::Keys;

/// How far apart two DynamoDB front ends' clocks may be.
const CLOCK_SKEW: Duration = Duration::from_millis(500);
/// How wrong this machine's clock may be where no response tells the time. Much more, and AWS accepts no signature.
const MAX_CLOCK_SKEW: Duration = Duration::from_mins(5);

/// Locks in a DynamoDB table: one item per key, in a table of its own or beside other items.
///
/// Free, contended, renewed, released or handed on, a call is one request; a first look at a new key on a cold start, and
/// taking over from a dead holder, are two. A waiter polls by a read; to join the queue, to refresh its place every two
/// seconds and to take its turn is one write more each, and to leave is one. A scheduled run is a read, and a write if it
/// is granted. Time is DynamoDB's own, as its responses' `Date` headers tell it: this machine's clock may be wrong.
///
/// Clones share what they learned of DynamoDB's time, and clones are cheap. The SDK's retries are off for the requests
/// of a lock: they would repeat old times. All contenders must use one region; with a global table in eventual mode,
/// one of its regions.
///
/// The item's attributes are in `snake_case`: `v rev token mode limit holders queue tickets free_at closed slot_started
/// slot_done pinned state purge_at`. An item's other attributes are left alone; one that has any of these but is not a
/// lock is refused with [`CorruptRecord`](crate::ErrorKind::CorruptRecord), and so is any item that is there already.
///
/// # Stability
///
/// [`DynamoBackend::new`] takes a client of `aws-sdk-dynamodb` 1.x: a new major version of the SDK is one of this
/// crate.
///
/// # Examples
///
/// ```no_run
/// # async fn example(client: aws_sdk_dynamodb::Client) -> doclock::Result<()> {
/// use doclock::{Backend, DynamoBackend};
///
/// let locks = DynamoBackend::new(client, "locks");
/// locks.setup().await?; // once, by a role that may: creates the table
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct DynamoBackend {
    client: aws_sdk_dynamodb::Client,
    table: String,
    keys: Keys,
    place: Place,
    skew: Duration,
    max_skew: Duration,
    local: Arc<dyn Clock>,
    estimate: Arc<Mutex<IntervalClock>>,
    /// The credentials do not allow them, or the server does not know them.
    no_batches: Arc<AtomicBool>,
}

impl DynamoBackend {
    /// Locks in this table. Sends nothing yet.
    ///
    /// The client's own timeouts hold as well, if they are shorter than a request's.
    #[must_use]
    pub fn new(client: aws_sdk_dynamodb::Client, table: impl Into<String>) -> Self {
        let keys = Keys {
            partition: "pk".to_owned(),
            sort: None,
        };
        Self {
            client,
            table: table.into(),
            keys,
            place: Place::Item,
            skew: CLOCK_SKEW,
            max_skew: MAX_CLOCK_SKEW,
            local: Arc::new(SystemClock),
            estimate: fresh_estimate(CLOCK_SKEW),
            no_batches: Arc::default(),
        }
    }

    /// The name of the table's partition key, a string. Default: `pk`.
    #[must_use]
    pub fn partition_key(mut self, name: impl Into<String>) -> Self {
        self.keys.partition = name.into();
        self
    }

    /// The name of the table's sort key, a string, and the value that all locks have there. Default: no sort key.
    ///
    /// With it, locks live in a table of several kinds of items; a lock's partition key is its [`Key`], so give the
    /// keys a prefix of their own.
    #[must_use]
    pub fn sort_key(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.keys.sort = Some((name.into(), value.into()));
        self
    }

    /// The locks are inside of the table's items, in this attribute of each. A key is an item's own, as JSON.
    pub(crate) fn in_attribute(mut self, name: &str) -> Self {
        self.place = Place::attribute(name);
        self
    }

    /// How far apart the clocks of two DynamoDB servers may be. Default: 500 ms.
    ///
    /// The same in every process that locks in this table: it becomes part of each expiry.
    #[must_use]
    pub fn clock_skew(mut self, skew: Duration) -> Self {
        self.skew = skew;
        self.estimate = fresh_estimate(skew);
        self
    }

    /// How far from the truth this machine's clock may be. Default: 5 minutes.
    ///
    /// It matters only where no response tells the time, behind a proxy that drops the `Date` header: there expired
    /// leases are evicted later by this much, and no record is created.
    #[must_use]
    pub fn max_clock_skew(mut self, skew: Duration) -> Self {
        self.max_skew = skew;
        self
    }

    /// Where this machine's time is read. Default: [`SystemClock`]; others are for tests.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.local = clock;
        self.estimate = fresh_estimate(self.skew);
        self
    }

    fn estimate(&self) -> MutexGuard<'_, IntervalClock> {
        self.estimate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fresh_estimate(skew: Duration) -> Arc<Mutex<IntervalClock>> {
    Arc::new(Mutex::new(IntervalClock::new(skew)))
}

impl fmt::Debug for DynamoBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoBackend")
            .field("table", &self.table)
            .field("keys", &self.keys)
            .field("clock_skew", &self.skew)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Backend for DynamoBackend {
    async fn acquire(&self, request: &AcquireRequest) -> Result<AcquireOutcome> {
        let attempt = async {
            super::check_supported(request)?;
            if self.place.is_attribute() {
                super::check_inside(request)?;
            }
            within(
                request.timeout,
                store::acquire(&Attempt::new(self), request),
            )
            .await
        };
        let named = |error: crate::Error| error.with_operation("acquire").with_key(&request.key);
        attempt.await.map_err(named)
    }

    async fn renew(&self, request: &RenewRequest) -> Result<RenewOutcome> {
        let attempt = within(request.timeout, self.renew_once(request)).await;
        attempt.map_err(|error| error.with_operation("renew").with_key(&request.key))
    }

    fn renewals_at_once(&self) -> usize {
        self.statements_at_once()
    }

    async fn renew_many(&self, requests: &[RenewRequest]) -> Vec<Result<RenewOutcome>> {
        self.renew_all(requests).await
    }

    async fn release(&self, request: &ReleaseRequest) -> Result<ReleaseOutcome> {
        self.place.forget(&request.id);
        let attempt = within(request.timeout, self.release_once(request)).await;
        attempt.map_err(|error| error.with_operation("release").with_key(&request.key))
    }

    async fn inspect(&self, key: &Key) -> Result<Option<LockRecord>> {
        let found = async {
            let item = self.read(key, true, None).await?;
            self.place.record(item.as_ref(), record::decode)
        };
        let named = |error: crate::Error| error.with_operation("inspect").with_key(key);
        within(READ_TIMEOUT, found).await.map_err(named)
    }

    async fn setup(&self) -> Result<()> {
        if self.place.is_attribute() {
            return Ok(());
        }
        let made = within(SETUP_TIMEOUT, self.make_table()).await;
        made.map_err(|error| error.with_operation("setup"))
    }

    async fn list(&self, prefix: &str, page: Option<&str>) -> Result<ListPage> {
        if self.place.is_attribute() {
            return Err(super::unsupported("list"));
        }
        let listed = within(READ_TIMEOUT, self.scan(prefix, page)).await;
        listed.map_err(|error| error.with_operation("list"))
    }

    fn database(&self) -> Database {
        Database::new("aws.dynamodb").collection(&self.table)
    }

    fn hands_over(&self) -> bool {
        !self.place.is_attribute()
    }

    #[cfg(feature = "diagnosis")]
    async fn diagnose(&self, key: &Key) -> crate::Diagnosis {
        self.examine(key).await
    }
}
