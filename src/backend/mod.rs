//! What a database must do to keep locks: the [`Backend`] trait, its contract, requests and outcomes.

mod database;
#[cfg(feature = "dynamodb")]
pub(crate) mod dynamodb;
#[cfg(any(feature = "mongodb", feature = "dynamodb"))]
mod granted;
pub(crate) mod memory;
#[cfg(feature = "mongodb")]
pub(crate) mod mongodb;
pub(crate) mod quorum;
mod request;
#[cfg(any(feature = "mongodb", feature = "dynamodb"))]
mod store;

use std::any::Any;
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;

#[cfg(feature = "diagnosis")]
use crate::diagnosis::{Diagnosis, Trial};
use crate::record::{ListPage, MAX_PARTIES};
use crate::{Error, ErrorKind, Holder, Key, LockRecord, Mode, Result, Wake};

pub use database::Database;
pub use request::{
    AcquireOutcome, AcquireRequest, Contention, Grant, Linger, Occupant, Queueing, Reason,
    ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest, Slot, SlotStart, Validity, Watched,
};

/// A place that keeps lock records.
///
/// A [`LockClient`](crate::LockClient) calls it; a user does not. Implement it to keep locks elsewhere, by the
/// pure functions of [`rules`](crate::rules) if you like, and run the suite of `doclock::conformance` on it.
///
/// # Contract
///
/// * **Atomic.** Each operation on a key reads and writes its record as one step, among all processes.
/// * **Durable.** An operation that answered survives whatever the database claims to survive.
/// * **Contention is an outcome**, never an error. An error means that the operation took no effect, but for
///   [`ErrorKind::OutcomeUnknown`]: then it may have.
/// * **Idempotent by id.** An acquire whose id holds already is granted again, takes no second place, and tells which
///   attempt stands; an exclusive one writes nothing. A renew that meets a later attempt of its own is renewed. A
///   release that meets its own earlier one, or a take-over by its own owner, may be released: it touches nothing. One
///   that brings a state may be so only if that stands there.
/// * **Nobody is passed.** Who does not queue is refused while others do, unless it may stand beside all of them, and
///   who queues is granted in its turn.
/// * **Once a slot.** A run of a scheduled job, or the only one of a key, is granted as [`AcquireRequest::slot`] says, by
///   the server's time. One that is skipped is told the record's state.
/// * **A release tells.** The state that it brings stands in the record from then on, and the record is kept as long as
///   it says ([`ReleaseRequest::state`], [`ReleaseRequest::keep`]).
/// * **Nobody else's.** Renew and release touch the acquisition that they name, and nothing else.
/// * **Tokens strictly increase** per key over every grant: over releases, expiries, and the removal of the
///   record. A release therefore keeps the record.
/// * **A lease is evicted no earlier than its record says**, on the server's clock; or once a waiter watched it
///   unchanged for long enough ([`AcquireRequest::watched`]).
/// * **What is not a well-formed record is left as it is**, with [`ErrorKind::CorruptRecord`] naming the field.
/// * **Validity counts from the send.** A grant or renewal is valid for [`Validity::valid_for`] from the instant
///   before the attempt was sent that [`Validity::seq`] names.
/// * **In time.** No call takes much longer than its request's `timeout`.
/// * **Cancel safe.** Dropping the future leaves the operation done or not done, as a lost answer would.
#[async_trait]
pub trait Backend: Any + Debug + Send + Sync {
    /// Tries to acquire, once.
    async fn acquire(&self, request: &AcquireRequest) -> Result<AcquireOutcome>;

    /// Prolongs a lease.
    async fn renew(&self, request: &RenewRequest) -> Result<RenewOutcome>;

    /// Ends a lease. The record and its token stay.
    async fn release(&self, request: &ReleaseRequest) -> Result<ReleaseOutcome>;

    /// Reads the record of a key: for people and tests, not for decisions.
    async fn inspect(&self, key: &Key) -> Result<Option<LockRecord>>;

    /// Makes what the backend needs (table, index) and checks that the server can do the work. May be called
    /// again, and by many at once.
    async fn setup(&self) -> Result<()>;

    /// How many renewals a client hands to [`renew_many`](Self::renew_many) at once, at most: as many as it sends in one
    /// request. It may change. One means that each goes out by itself, by [`renew`](Self::renew), as soon as it is due.
    fn renewals_at_once(&self) -> usize {
        1
    }

    /// Prolongs many leases, in the time of the request that has the least. The outcomes stand in the order of the
    /// requests, each its own: a lease that is lost, or a failure that only concerns one of them, is told of that one.
    /// There may be several leases of one key among them.
    async fn renew_many(&self, requests: &[RenewRequest]) -> Vec<Result<RenewOutcome>> {
        // Side by side: behind each other, one slow renewal would lose all that follow.
        join_all(requests.iter().map(|request| self.renew(request))).await
    }

    /// Takes somebody in who waits for a key, to hold it in this mode, if the store tells of changes: it is told of those
    /// that come after this call. See [`Wakes`](crate::Wakes).
    ///
    /// `waits`: it was refused, so that it is worth to begin to look. Otherwise its first attempt is about to be sent, and
    /// only a store that looks already takes it in. Sends nothing itself. `None`, which is the default: it polls.
    ///
    /// What it is told is never believed, only a reason to ask. So late or missing news cost time, and news of nothing a
    /// request. Call [`Wakes::blind`](crate::Wakes::blind) when changes may be missed, and
    /// [`live`](crate::Wakes::live) when they are told again. Dropping the [`Wake`] ends it.
    fn watch(&self, key: &Key, mode: Mode, waits: bool) -> Option<Wake> {
        let _ = (key, mode, waits);
        None
    }

    /// Lists the records whose keys start with `prefix`, a page at a time. Start with `page: None`, go on with
    /// [`ListPage::next`]. Records that are not well-formed are left out.
    async fn list(&self, prefix: &str, page: Option<&str>) -> Result<ListPage> {
        let _ = (prefix, page);
        Err(unsupported("list"))
    }

    /// Which database it is, for logs and metrics. One that passes on to another backend passes this on as well.
    fn database(&self) -> Database {
        Database::new("other")
    }

    /// Whether an acquisition takes the place of an exclusive lease that it names ([`AcquireRequest::replaces`]) in one
    /// request. A client hands locks on from task to task by that.
    fn hands_over(&self) -> bool {
        false
    }

    /// Ends every lease on a key, whoever holds it, and returns those that it ended. For operators: a holder
    /// that is alive goes on until its next renewal, so fence what it writes.
    async fn force_release(&self, key: &Key) -> Result<Vec<Holder>> {
        let Some(record) = self.inspect(key).await? else {
            return Ok(Vec::new());
        };
        let mut ended = Vec::new();
        for holder in record.holders {
            let Some(claimant) = &holder.claimant else {
                continue;
            };
            let request = ReleaseRequest::new(key, &claimant.owner, &claimant.id);
            if self.release(&request).await? == ReleaseOutcome::Released {
                ended.push(holder);
            }
        }
        Ok(ended)
    }

    /// Looks whether locks can be kept here, by a lock on this key, which nobody else uses; see
    /// [`LockClient::diagnose`](crate::LockClient::diagnose). Leaves nothing behind but what the database collects by itself.
    #[cfg(feature = "diagnosis")]
    async fn diagnose(&self, key: &Key) -> Diagnosis {
        let mut diagnosis = Diagnosis::default();
        if let Some(trial) = Trial::begin(self, key, &mut diagnosis).await {
            trial.end(&mut diagnosis).await;
        }
        diagnosis
    }
}

/// The shortest period of a scheduled job: long enough to tell one slot from the next by what is known of the time.
const MIN_PERIOD: Duration = Duration::from_secs(5);
const MAX_PERIOD: Duration = Duration::from_hours(100 * 365 * 24);

/// What no backend can do with a request, now or ever.
pub(crate) fn check_supported(request: &AcquireRequest) -> Result<()> {
    if let Mode::Permit { limit } = request.mode
        && !(1..=MAX_PARTIES).contains(&(limit as usize))
    {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("a limit of {limit} permits: choose one between 1 and {MAX_PARTIES}"),
        ));
    }
    if request.slot.is_some() && request.mode != Mode::Exclusive {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "a scheduled job runs alone: take its lock by `lock`, not as a shared one or a permit",
        ));
    }
    if let Some(SlotStart::Every(period)) = request.slot.map(|slot| slot.start)
        && !(MIN_PERIOD..=MAX_PERIOD).contains(&period)
    {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("a period of {period:?}: choose one between {MIN_PERIOD:?} and 100 years"),
        ));
    }
    Ok(())
}

/// How long a read may take that has no request with a timeout.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// How long `setup` may take: it waits for an index or a table.
pub(crate) const SETUP_TIMEOUT: Duration = Duration::from_mins(2);

/// Bounds an operation by its request's timeout.
#[cfg(any(feature = "mongodb", feature = "dynamodb"))]
pub(crate) async fn within<T>(
    timeout: Duration,
    operation: impl Future<Output = Result<T>>,
) -> Result<T> {
    match tokio::time::timeout(timeout, operation).await {
        Ok(result) => result,
        Err(_) => Err(Error::new(
            ErrorKind::OutcomeUnknown,
            format!(
                "no answer within {timeout:?}: check that the database is reachable and has a majority"
            ),
        )),
    }
}

/// The same failure of all of them.
#[cfg(any(feature = "mongodb", feature = "dynamodb"))]
fn fail_all(requests: &[RenewRequest], error: Error) -> Vec<Result<RenewOutcome>> {
    let named = |error: Error, request: &RenewRequest| {
        Err(error.with_operation("renew").with_key(&request.key))
    };
    let Some((last, others)) = requests.split_last() else {
        return Vec::new();
    };
    let mut failed: Vec<_> = others
        .iter()
        .map(|request| named(error.without_source(), request))
        .collect();
    failed.push(named(error, last));
    failed
}

/// The time of the renewal that has the least.
#[cfg(any(feature = "mongodb", feature = "dynamodb"))]
fn shortest(requests: &[RenewRequest]) -> Duration {
    let timeouts = requests.iter().map(|request| request.timeout);
    timeouts.min().unwrap_or_default()
}

/// What is left until then.
#[cfg(any(feature = "mongodb", feature = "dynamodb"))]
fn left(end: tokio::time::Instant) -> Duration {
    end.saturating_duration_since(tokio::time::Instant::now())
}

/// The same renewal in less time.
#[cfg(any(feature = "mongodb", feature = "dynamodb"))]
fn hurried(request: &RenewRequest, timeout: Duration) -> RenewRequest {
    let mut hurried = request.clone();
    hurried.timeout = timeout;
    hurried
}

/// A lock inside of a document needs the document.
#[cfg(any(feature = "mongodb", feature = "dynamodb"))]
fn no_document() -> Error {
    Error::new(
        ErrorKind::NotFound,
        "there is no such document, and a lock makes none: create it first",
    )
}

/// A lock inside of a document is for one holder at a time who reads and writes it, and no schedule or change of mode.
#[cfg(any(feature = "mongodb", feature = "dynamodb"))]
fn check_inside(request: &AcquireRequest) -> Result<()> {
    if request.slot.is_none() && request.replaces.is_none() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        "the lock of a document has no scheduled runs, and does not change its mode: take a lock of its own",
    ))
}

/// A token that cannot be raised to what was asked for.
fn passed() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "a later grant has the token that this lease was to get, or a greater one: ask for a greater one",
    )
}

fn unsupported(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, "this backend does not implement it")
        .with_operation(operation)
}
