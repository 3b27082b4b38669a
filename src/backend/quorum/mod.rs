//! Locks that no single database is trusted to keep: a majority of several does.

mod acquire;
mod decide;
mod error;
mod inspect;
mod keep;
mod merge;
#[cfg(test)]
mod model;
mod seat;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{
    AcquireOutcome, AcquireRequest, Backend, Database, Queueing, ReleaseOutcome, ReleaseRequest,
    RenewOutcome, RenewRequest, check_supported,
};
use crate::time::{Clock, SystemClock};
use crate::{Error, ErrorKind, Holder, Key, LockRecord, Mode, Result};

use seat::Acquisitions;

type Member = Arc<dyn Backend>;

const FEWEST: usize = 3;
const MOST: usize = 9;

/// Locks that no single database is trusted to keep up: a majority of 3 to 9 independent ones holds each.
///
/// The members may be of any kind, mixed: three MongoDB deployments, a DynamoDB table in each of three regions. What must be
/// independent is their failure. All contenders name the same members, and lock by nothing else there.
///
/// # What it is for
///
/// One replica set, or one region's table, is already safe, and available while *its* majority is. This is for when that
/// whole may be away: with 2n + 1 members any n of them may be down, slow or cut off, and nobody waits for them. It is **not
/// safer** than one of its members. It is as safe only while those keep what they have confirmed.
///
/// # What it promises
///
/// * Two exclusive leases, or one beside a shared one, are never valid at the same time: any two majorities share a member.
/// * Fencing tokens strictly increase over every grant. Members agree on one, or the greatest is written back to a majority
///   before the lease is handed out.
/// * A lease is valid for the least that the members of its majority say, less a hundredth of the ttl and 2 ms for the rates
///   of clocks. The members' clocks need not agree with each other, nor with this machine's.
/// * What a minority granted is given back, also if it is told late; or it expires, if that member cannot be reached. A
///   release ends a lease at every member that can be reached.
///
/// # What it does not
///
/// * **Permits, order of arrival, runs that happen once, changes of mode** (`semaphore`, `fair`, `once`, `once_per`,
///   `try_upgrade`, `downgrade`) are [`Unsupported`](ErrorKind::Unsupported): each member could promise them, and the
///   majority could not. Whoever waits asks again and again, in no order; several who ask at the same moment may split the
///   votes, and try again.
/// * **Amnesia.** A member that comes back without its data forgets its leases. A lease that stands on all of 2n + 1 members
///   bears n of these, one that only n + 1 granted bears none. Keep such a member out for as long as the longest ttl. Tokens
///   bear it as well while no clock was ahead: a new record's start from the server's time.
/// * A lease lives on the members that granted it. One that was away then does not join it before the next acquisition.
/// * [`list`](Backend::list) is not implemented; [`inspect`](Backend::inspect) shows what a majority has.
///
/// # What it costs
///
/// For N members, at the same time, so that it takes as long as the slowest of the fastest majority:
///
/// | | requests |
/// |---|---|
/// | acquire, free | N, and one more for each member whose token was behind |
/// | acquire, held | N, and one more for each member that had granted it |
/// | renew | one for each member that granted it |
/// | release | N |
///
/// The requests run in tasks of the runtime that called: what a slow member is still to be told is not told if that ends.
///
/// # Examples
///
/// ```no_run
/// # #[cfg(all(feature = "mongodb", feature = "dynamodb"))]
/// # async fn example(a: mongodb::Database, b: mongodb::Database, c: aws_sdk_dynamodb::Client) -> doclock::Result<()> {
/// use std::sync::Arc;
/// use doclock::{DynamoBackend, LockClient, MongoBackend, QuorumBackend};
///
/// let locks = LockClient::new(QuorumBackend::new(vec![
///     Arc::new(MongoBackend::new(a)),
///     Arc::new(MongoBackend::new(b)),
///     Arc::new(DynamoBackend::new(c, "locks")),
/// ])?);
/// locks.setup().await?; // a majority is enough; the log names the others
/// let lease = locks.lock("inventory:42").acquire().await?;
/// # lease.release().await
/// # }
/// ```
#[derive(Clone)]
pub struct QuorumBackend {
    members: Vec<Member>,
    acquisitions: Arc<Acquisitions>,
    clock: Arc<dyn Clock>,
}

impl QuorumBackend {
    /// A majority of these. Sends nothing yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if there are fewer than 3 or more than 9, if one is a quorum itself, or the same `Arc`
    /// as another. That two of them are one database is not seen.
    pub fn new(members: Vec<Arc<dyn Backend>>) -> Result<Self> {
        check_members(&members)?;
        Ok(Self {
            members,
            acquisitions: Arc::default(),
            clock: Arc::new(SystemClock),
        })
    }

    /// Where this machine's time is read. Default: [`SystemClock`]; others are for tests.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

fn check_members(members: &[Member]) -> Result<()> {
    let invalid = |message| Err(Error::new(ErrorKind::InvalidInput, message));
    if !(FEWEST..=MOST).contains(&members.len()) {
        return invalid(format!(
            "a quorum of {}: choose {FEWEST} to {MOST} members, an odd number",
            members.len()
        ));
    }
    for (number, member) in members.iter().enumerate() {
        let any: &dyn Any = &**member;
        if any.is::<QuorumBackend>() {
            return invalid(format!(
                "member {number} of a quorum is a quorum: name that one's members instead"
            ));
        }
        let is_it = |other: &&Member| std::ptr::addr_eq(Arc::as_ptr(other), Arc::as_ptr(member));
        if members.iter().filter(is_it).count() > 1 {
            return invalid(format!(
                "member {number} of a quorum is named twice: it would have two votes"
            ));
        }
    }
    Ok(())
}

/// When what may take so long is over.
fn end_of(limit: Duration) -> Instant {
    const FOR_EVER: Duration = Duration::from_hours(30 * 365 * 24);
    let now = Instant::now();
    now.checked_add(limit).unwrap_or_else(|| now + FOR_EVER)
}

/// What a majority cannot promise, though each of its members can.
fn check_safe(request: &AcquireRequest) -> Result<()> {
    check_supported(request)?;
    let why = if matches!(request.mode, Mode::Permit { .. }) {
        "permits: each member counts for itself, and majorities that overlap in one have room for more together than the \
         limit allows"
    } else if request.queueing == Queueing::Fair {
        "order of arrival: each member has a queue of its own, and they need not agree"
    } else if request.slot.is_some() {
        "runs that happen once: a minority that has noted one without a majority's grant would refuse it for good"
    } else if request.replaces.is_some() {
        "a change of mode: if a minority makes it, the lease that was to change is lost there, and can be lost as a whole"
    } else {
        return Ok(());
    };
    Err(unsupported(why))
}

fn unsupported(why: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("a quorum of databases does not offer {why}"),
    )
}

impl fmt::Debug for QuorumBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuorumBackend")
            .field("members", &self.members)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Backend for QuorumBackend {
    async fn acquire(&self, request: &AcquireRequest) -> Result<AcquireOutcome> {
        let named = |error: Error| error.with_operation("acquire").with_key(&request.key);
        check_safe(request).map_err(named)?;
        self.attempt(request).await.map_err(named)
    }

    async fn renew(&self, request: &RenewRequest) -> Result<RenewOutcome> {
        let renewed = match request.raise_token {
            None => self.prolong(request).await,
            Some(_) => Err(unsupported(
                "a raise of tokens, which it asks of its members",
            )),
        };
        renewed.map_err(|error| error.with_operation("renew").with_key(&request.key))
    }

    async fn release(&self, request: &ReleaseRequest) -> Result<ReleaseOutcome> {
        let released = match request.attempt {
            None => self.end(request).await,
            Some(_) => Err(unsupported(
                "a release of single attempts, which it asks of its members",
            )),
        };
        released.map_err(|error| error.with_operation("release").with_key(&request.key))
    }

    async fn inspect(&self, key: &Key) -> Result<Option<LockRecord>> {
        let seen = self.look(key).await;
        seen.map_err(|error| error.with_operation("inspect").with_key(key))
    }

    async fn setup(&self) -> Result<()> {
        let made = self.set_up().await;
        made.map_err(|error| error.with_operation("setup"))
    }

    fn database(&self) -> Database {
        Database::new("quorum")
    }

    async fn force_release(&self, key: &Key) -> Result<Vec<Holder>> {
        let ended = self.end_all(key).await;
        ended.map_err(|error| error.with_operation("force_release").with_key(key))
    }
}

#[cfg(test)]
mod tests;
