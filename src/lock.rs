//! The description of a lock that is to be taken.

use std::marker::PhantomData;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::acquire::{Taken, acquire};
use crate::backend::{AcquireRequest, check_supported};
use crate::client::{LockClient, invalid};
use crate::job::Job;
use crate::plan::Plan;
use crate::record::{Label, MAX_TTL, MIN_TTL, Payload};
use crate::renewal::Span;
use crate::time::Timestamp;
use crate::{
    Error, ErrorKind, Exclusive, Key, Lease, Mode, Owner, Queueing, Result, Slot, SlotStart, Ttl,
};

/// How long a lease lives without renewal, by default.
pub const DEFAULT_TTL: Duration = Duration::from_secs(30);
/// How long [`Lock::acquire`] waits, by default.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(30);

/// A lock that is to be taken, made by [`LockClient::lock`], [`LockClient::shared`] or [`LockClient::semaphore`].
///
/// Every setting is optional. What can't be is reported when the lock is acquired, before any request is sent.
#[derive(Clone, Debug)]
#[must_use = "nothing is locked until `acquire`, `try_acquire` or `run` is awaited"]
pub struct Lock<M = Exclusive> {
    client: LockClient,
    key: String,
    mode: Mode,
    kind: PhantomData<fn() -> M>,
    queueing: Queueing,
    slot: Option<Slot>,
    ttl: Duration,
    wait: Duration,
    margin: Option<Duration>,
    owner: Option<String>,
    label: Option<String>,
    data: Option<Result<Payload, String>>,
    deadline: Option<SystemTime>,
    max_hold: Option<Duration>,
    min_hold: Option<Duration>,
    automatic: bool,
    takes_turns: bool,
}

impl<M: 'static> Lock<M> {
    pub(crate) fn new(client: LockClient, key: String, mode: Mode) -> Self {
        Self {
            client,
            key,
            mode,
            kind: PhantomData,
            queueing: Queueing::WhenNeeded,
            slot: None,
            ttl: DEFAULT_TTL,
            wait: DEFAULT_WAIT,
            margin: None,
            owner: None,
            label: None,
            data: None,
            deadline: None,
            max_hold: None,
            min_hold: None,
            automatic: true,
            takes_turns: true,
        }
    }

    /// How long the lease lives without renewal: 100 ms to 24 h, 30 s by default. After a crash the lock stays taken for
    /// this long; a process that is cut off from the database for longer loses its lease.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// How long [`acquire`](Self::acquire) waits for others, 30 s by default. `Duration::MAX` waits for ever.
    ///
    /// On MongoDB a waiter is told of a release at once if it [may open a change stream](crate::docs::protocol#waiting).
    /// Elsewhere it asks again and again, once a second at least.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// How long before its expiry the lease counts as lost, a tenth of the ttl by default: what the protected work may
    /// take to notice and stop. Less than half of the ttl.
    pub fn margin(mut self, margin: Duration) -> Self {
        self.margin = Some(margin);
        self
    }

    /// Who holds, to take one's own lock over after a restart: another process with the same owner is granted at once,
    /// and this lease is lost. Choose one only if its predecessor is certainly dead (a Lambda's request id, a
    /// stateful set's ordinal), and take the key always in the same mode: a lease of another one is waited for like
    /// anybody's. Tasks of one client that use the same owner wait for each other.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// A few words for people who look at the lock: at most 256 bytes.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// A payload for programs that look at the lock with [`LockClient::inspect`]: at most 4,096 bytes as JSON.
    pub fn data(mut self, data: &impl Serialize) -> Self {
        // An error that can be cloned, as this is; told apart again when the lock is acquired.
        self.data = Some(Payload::new(data).map_err(|error| error.to_string()));
        self
    }

    /// The end that the lease never outlives, such as the time-out of a serverless function. A shorter ttl follows from a
    /// nearer deadline, so that the lock does not stay taken after it either, but for what others do not know of the time:
    /// half a second on MongoDB, and up to 4.5 s on `DynamoDB`. [How much to reserve](crate::docs::serverless#the-end).
    pub fn deadline(mut self, deadline: SystemTime) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The longest that the lease is held, whatever renews it: then it is lost, and released. Against jobs that hang.
    pub fn max_hold(mut self, max_hold: Duration) -> Self {
        self.max_hold = Some(max_hold);
        self
    }

    /// The shortest that the lock stays taken, counted from its grant: if the lease is released before, nobody gets the
    /// lock until then, not even the same owner. For jobs that are triggered on several hosts whose clocks differ: a run
    /// that takes no time at all would be repeated by the next host. At most 24 h. A shorter ttl is raised to it, so that
    /// a crash does not cut it short.
    pub fn min_hold(mut self, min_hold: Duration) -> Self {
        self.min_hold = Some(min_hold);
        self
    }

    /// Grants in the order of arrival, over all processes, while this lock waits. Without it, whoever asks in the right
    /// moment is granted.
    ///
    /// A place in the queue costs two more requests than asking again and again, and one every two seconds; on `DynamoDB`,
    /// a free lock costs a read more. A waiter that died is passed after three to five seconds, once nobody holds. It says
    /// nothing to [`try_acquire`](Self::try_acquire), which does not wait, and takes nobody's turn.
    ///
    /// Tasks of another client that wait for the same exclusive lock without it have one place in the queue together, and
    /// hand the lock on up to 16 times in their turn.
    pub fn fair(mut self) -> Self {
        self.queueing = Queueing::Fair;
        self
    }

    /// No renewal in the background: the lease ends with its ttl unless [`Lease::renew`] is called.
    pub fn manual_renewal(mut self) -> Self {
        self.automatic = false;
        self
    }

    /// Takes the lock, waiting for others as long as [`wait`](Self::wait) says.
    ///
    /// Of many tasks of one client that wait for one exclusive lock, one asks the database. The others are served in the
    /// order of arrival: a release hands the lock on to the next of them in one request, with a new token and in the name of
    /// the same [`owner`](Lease::owner), up to 16 times in a row. Not so with [`fair`](Self::fair), or in a slot of a job; and
    /// an owner of one's own, a deadline or a minimum hold is released first.
    ///
    /// Cancel safe: if the future is dropped, whatever it may have been granted is released.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WaitTimeout`] if it was held by others all the time, [`ErrorKind::InvalidInput`] before any request,
    /// [`ErrorKind::CorruptRecord`] if something else lies under the key, or why the database could not be used.
    pub async fn acquire(self) -> Result<Lease<M>> {
        let wait = self.wait;
        self.take(wait).await
    }

    /// Takes the lock if it is free: `None` if it is held by others. Lost answers are asked for again, for no longer than
    /// the client's request timeout.
    ///
    /// Cancel safe: if the future is dropped, whatever it may have been granted is released.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire), but never [`ErrorKind::WaitTimeout`].
    pub async fn try_acquire(self) -> Result<Option<Lease<M>>> {
        match self.take(Duration::ZERO).await {
            Ok(lease) => Ok(Some(lease)),
            Err(error) if error.kind() == ErrorKind::WaitTimeout => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes the lock, does the work, and gives the lock back, whatever happens. If the lease is lost, the work is dropped
    /// at its next `await`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> doclock::Result<()> {
    /// # let locks = doclock::LockClient::new(doclock::MemoryBackend::new());
    /// let rows = locks
    ///     .lock("nightly")
    ///     .run(async |lease| import(lease.token()).await)
    ///     .await?;
    /// # assert_eq!(rows, 42);
    /// # Ok(()) }
    /// # async fn import(_fencing_token: u64) -> u32 { 42 }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire), or [`ErrorKind::LeaseLost`]. A failed release is logged, not returned: the work's
    /// own result is.
    pub async fn run<T>(self, work: impl AsyncFnOnce(&Lease<M>) -> T) -> Result<T> {
        let lease = self.acquire().await?;
        run(lease, work).await
    }

    /// As [`run`](Self::run), if the lock is free: `None` if it is held by others.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Self::try_acquire), or [`ErrorKind::LeaseLost`].
    pub async fn try_run<T>(self, work: impl AsyncFnOnce(&Lease<M>) -> T) -> Result<Option<T>> {
        match self.try_acquire().await? {
            Some(lease) => run(lease, work).await.map(Some),
            None => Ok(None),
        }
    }

    async fn take(self, wait: Duration) -> Result<Lease<M>> {
        match self.take_unless_skipped(wait).await? {
            Taken::Lease(lease) => Ok(lease),
            Taken::Skipped(_) => {
                let message = "the backend skipped a slot that nobody asked for: this is a bug of the backend";
                Err(Error::new(ErrorKind::Other, message))
            }
        }
    }

    pub(crate) async fn take_unless_skipped(self, wait: Duration) -> Result<Taken<Lease<M>>> {
        let client = self.client.clone();
        let plan = self.plan()?;
        let key = plan.request.key.clone();
        // Boxed: it is large, and callers put several side by side.
        let outcome = Box::pin(acquire(&client, plan, wait)).await;
        let taken = outcome.map_err(|error| error.with_operation("acquire").with_key(&key))?;
        Ok(match taken {
            Taken::Lease(hold) => Taken::Lease(Lease::of(hold)),
            Taken::Skipped(state) => Taken::Skipped(state),
        })
    }

    /// The same options for this lock.
    #[cfg(any(feature = "mongodb", feature = "dynamodb"))]
    pub(crate) fn of(mut self, client: &LockClient, key: &Key) -> Self {
        self.client = client.clone();
        key.as_str().clone_into(&mut self.key);
        self
    }

    #[cfg(any(feature = "mongodb", feature = "dynamodb"))]
    pub(crate) fn has_min_hold(&self) -> bool {
        self.min_hold.is_some()
    }

    pub(crate) fn name(&self) -> &str {
        &self.key
    }

    /// The same for another key.
    pub(crate) fn on(mut self, key: String) -> Self {
        self.key = key;
        self
    }

    /// For an owner that no other task has.
    pub(crate) fn owned_by(mut self, owner: &Owner) -> Self {
        self.owner = Some(owner.as_str().to_owned());
        self.takes_turns = false;
        self
    }

    pub(crate) fn longest_ttl(&self) -> Duration {
        self.ttl
    }

    pub(crate) fn longest_wait(&self) -> Duration {
        self.wait
    }

    /// Checks everything that can be checked without a request.
    fn plan(self) -> Result<Plan> {
        let key = Key::new(&self.key)?;
        let owner = match &self.owner {
            Some(owner) => Owner::new(owner)?,
            None => Owner::random(),
        };
        let min_hold = self.min_hold.map(min_hold).transpose()?;
        let ttl = Ttl::new(self.ttl)?;
        let ttl = min_hold.map_or(ttl, |min_hold| min_hold.max(ttl));
        let margin = self.margin.unwrap_or(ttl.as_duration() / 10);
        if margin >= ttl.as_duration() / 2 {
            return Err(invalid(format!(
                "a margin of {margin:?} leaves too little of a ttl of {:?}: it must be less than half of it",
                ttl.as_duration()
            )));
        }
        if self.max_hold.is_some_and(|max_hold| max_hold < MIN_TTL) {
            return Err(invalid(
                "max_hold is shorter than 100 ms: choose a longer one",
            ));
        }
        let now = self.client.inner().clock.now();
        let mut request = AcquireRequest::new(&key, &owner, self.mode, ttl);
        request.margin = margin;
        request.queueing = self.queueing;
        request.slot = self.slot;
        request.label = self.label.map(Label::new).transpose()?;
        request.data = self.data.transpose().map_err(invalid)?;
        check_supported(&request)?;
        let mut plan = Plan {
            request,
            deadline: self.deadline.map(|end| Span {
                from: now,
                length: Timestamp::from(end).saturating_since(now.wall),
            }),
            max_hold: self.max_hold,
            min_hold,
            takes_turns: self.takes_turns && self.owner.is_some(),
            any_owner: self.owner.is_none(),
            automatic: self.automatic,
            since: None,
        };
        plan.fit_deadline(now)?;
        Ok(plan)
    }
}

impl Lock {
    /// Makes it a scheduled job that runs at most once in each period, whichever hosts try: what runs, and when, is
    /// remembered in the record and judged by the database's time. Periods start at whole multiples since the Unix epoch:
    /// an hour's on the hour, a day's at midnight UTC. From 5 s to 100 years.
    ///
    /// Set the lock's other options first.
    pub fn once_per(self, period: Duration) -> Job {
        Job::new(self, SlotStart::Every(period))
    }

    /// Makes it a scheduled job that runs at most once for an instant that all its hosts agree on, such as the one that a
    /// cron expression gave. Before that instant, by the database's time as far as it is known (half a second on MongoDB,
    /// up to three on `DynamoDB`), it is [`Busy`](crate::Run::Busy) or waits. Once a later one has begun, an earlier one is
    /// over.
    ///
    /// Set the lock's other options first.
    pub fn once_per_slot(self, start: SystemTime) -> Job {
        Job::new(self, SlotStart::At(start.into()))
    }

    pub(crate) fn for_slot(mut self, slot: Slot) -> Self {
        self.slot = Some(slot);
        self
    }
}

fn min_hold(min_hold: Duration) -> Result<Ttl> {
    Ttl::new(min_hold).map_err(|_| {
        invalid(format!(
            "min_hold is {min_hold:?}: choose one between {MIN_TTL:?} and {MAX_TTL:?}, or none"
        ))
    })
}

async fn run<M: 'static, T>(lease: Lease<M>, work: impl AsyncFnOnce(&Lease<M>) -> T) -> Result<T> {
    let result = tokio::select! {
        biased;
        why = lease.lost() => Err(why.with_operation("run")),
        value = work(&lease) => Ok(value),
    };
    // What failed is told as an event.
    let _ = lease.release().await;
    result
}
