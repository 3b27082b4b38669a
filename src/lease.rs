//! A lock that is held.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::backend::{Grant, Linger, ReleaseRequest};
use crate::client::{Inner, LockClient};
use crate::plan::Plan;
use crate::record::Payload;
use crate::renewal::Deadline;
use crate::sync::{Mutex, MutexGuard};
use crate::telemetry::Telemetry;
use crate::time::{Clock, Moment, Timestamp};
use crate::{
    Error, ErrorKind, Event, EventKind, Exclusive, Key, LeaseId, Mode, Owner, Permit, Result,
    Shared, Ttl,
};

/// A lock that is held, until it is released, dropped, or lost.
///
/// It renews itself in the background unless [`manual_renewal`](crate::Lock::manual_renewal) was asked for. It is
/// *lost* once it may no longer be ours: somebody evicted it, or its local deadline passed without a renewal,
/// whatever the network does. A lost lease never comes back; [`lost`](Self::lost) tells at once.
///
/// # What it does not guarantee
///
/// A process can be paused between a look at [`is_held`](Self::is_held) and the write that follows. Send
/// [`token`](Self::token) along with the write, and have the receiver refuse a token that is lower than the highest
/// it has seen. [`fence`](Lease::fence) does so in MongoDB and DynamoDB.
///
/// # Drop
///
/// Dropping a lease hands its release to the client's task. Call [`release`](Self::release) to know that it happened,
/// or [`LockClient::shutdown`](crate::LockClient::shutdown) before the process ends.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> doclock::Result<()> {
/// # let locks = doclock::LockClient::new(doclock::MemoryBackend::new());
/// let lease = locks.lock("report").acquire().await?;
/// tokio::select! {
///     why = lease.lost() => return Err(why),
///     () = write_report(lease.token()) => {}
/// }
/// lease.release().await?;
/// # Ok(()) }
/// # async fn write_report(_fencing_token: u64) {}
/// ```
#[must_use = "the lock is released when the lease is dropped"]
pub struct Lease<M = Exclusive> {
    pub(crate) hold: Hold,
    mode: PhantomData<fn() -> M>,
}

/// What ends with a lease, whatever its mode.
pub(crate) struct Hold {
    pub(crate) state: Arc<LeaseState>,
    pub(crate) client: LockClient,
    pub(crate) released: bool,
}

impl Hold {
    pub(crate) fn new(state: Arc<LeaseState>, client: LockClient) -> Self {
        Self {
            state,
            client,
            released: false,
        }
    }
}

impl<M: 'static> Lease<M> {
    /// Of a mode that the caller knows.
    pub(crate) fn of(hold: Hold) -> Self {
        Self {
            hold,
            mode: PhantomData,
        }
    }

    /// What is locked.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.hold.state.key
    }

    /// Who holds it: random unless [`owner`](crate::Lock::owner) was given, and then the same for all tasks of a client that
    /// hand the lock from one to the next.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.hold.state.owner
    }

    /// Which acquisition this is.
    #[must_use]
    pub fn id(&self) -> &LeaseId {
        &self.hold.state.id
    }

    /// What the lease allows beside it.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.hold.state.mode
    }

    /// The fencing token: greater than that of every earlier grant of this key.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.hold.state.token
    }

    /// Whether the lease is certainly ours at this instant. Once false, false for ever.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.remaining().is_zero()
    }

    /// How long the lease is certainly ours if no renewal succeeds from now on; zero once it is lost.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.hold.state.remaining()
    }

    /// Waits until the lease is lost, and tells why.
    ///
    /// The future stands on its own: it may be moved to another task, and outlives a release, after which it never
    /// resolves. Cancel safe.
    pub fn lost(&self) -> impl Future<Output = Error> + Send + 'static + use<M> {
        let state = Arc::clone(&self.hold.state);
        async move { state.lost().await }
    }

    /// Prolongs the lease now. Not needed with automatic renewal.
    ///
    /// Cancel safe: a renewal that is under way goes on without its caller.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::LeaseLost`] if it is lost. A transient error leaves the lease as it was: check
    /// [`remaining`](Self::remaining) and try again.
    pub async fn renew(&self) -> Result<()> {
        self.hold
            .client
            .inner()
            .worker
            .renew(&self.hold.state)
            .await
    }

    /// Gives the lock back, and waits until the database has confirmed it.
    ///
    /// Transient errors are retried until the lease would have expired anyway. The lease ends locally at once,
    /// whatever happens, and is consumed: copy [`token`](Self::token) before if you need it after.
    ///
    /// Cancel safe: a release that is under way goes on without its caller.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::LeaseLost`] if it was lost before: what was done last may not have been alone. Any other error: the
    /// lock stays until it expires.
    pub async fn release(mut self) -> Result<()> {
        self.end(End::default()).await
    }

    /// Gives up nothing: the lock stays taken until its ttl is over, counted from its last renewal, and this lease ends
    /// here, at once and without a request. For permits that stand for something that goes on by itself, such as a call
    /// that counts against a rate for a while.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> doclock::Result<()> {
    /// # use std::time::Duration;
    /// # let locks = doclock::LockClient::new(doclock::MemoryBackend::new());
    /// // At most five calls in any ten seconds, over all processes.
    /// let call = locks.semaphore("rate:partner-api", 5).ttl(Duration::from_secs(10));
    /// call.acquire().await?.let_expire();
    /// # Ok(()) }
    /// ```
    pub fn let_expire(mut self) {
        self.hold.released = true;
        let _ = self.hold.state.end();
        self.hold.client.inner().worker.forget(&self.hold.state);
    }

    /// The start of the slot that it was granted for, if it is a scheduled job's: the epoch for [`Once`](crate::Once).
    #[must_use]
    pub fn slot(&self) -> Option<SystemTime> {
        self.hold.state.slot.map(SystemTime::from)
    }

    /// Ends a run, and remembers what became of it.
    pub(crate) async fn finish(mut self, end: End) -> Result<()> {
        self.end(end).await
    }

    async fn end(&mut self, end: End) -> Result<()> {
        self.hold.released = true;
        let worker = &self.hold.client.inner().worker;
        worker.release(&self.hold.state, end).await
    }

    /// The same lease, its mode known at run time only: to keep leases of several modes together. `try_from` leads back.
    pub fn erase(self) -> Lease<Mode> {
        Lease::of(self.hold)
    }
}

/// A lease back with its mode known to the compiler; one of another mode comes back as it was.
macro_rules! known {
    ($marker:ident, $mode:pat) => {
        impl TryFrom<Lease<Mode>> for Lease<$marker> {
            type Error = Lease<Mode>;

            fn try_from(lease: Lease<Mode>) -> Result<Self, Lease<Mode>> {
                match lease.mode() {
                    $mode => Ok(Self::of(lease.hold)),
                    _ => Err(lease),
                }
            }
        }
    };
}

known!(Exclusive, Mode::Exclusive);
known!(Shared, Mode::Shared);
known!(Permit, Mode::Permit { .. });

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.released {
            self.client.inner().worker.drop_lease(&self.state);
        }
    }
}

impl<M: 'static> fmt::Debug for Lease<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("key", self.key())
            .field("owner", self.owner())
            .field("mode", &self.mode())
            .field("token", &self.token())
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}

/// What became of the run that a lease was for; the default says nothing of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct End {
    /// Its slot is done, and not run again.
    pub(crate) done: bool,
    pub(crate) state: Option<Payload>,
    pub(crate) keep: Option<Duration>,
}

/// What a lease and the client's task share.
#[derive(Debug)]
pub(crate) struct LeaseState {
    pub(crate) key: Key,
    pub(crate) owner: Owner,
    pub(crate) id: LeaseId,
    pub(crate) mode: Mode,
    pub(crate) token: u64,
    pub(crate) slot: Option<Timestamp>,
    /// When it was granted.
    pub(crate) since: Moment,
    min_hold: Option<Ttl>,
    /// What ends it, but for what depends on when that is.
    ending: ReleaseRequest,
    clock: Arc<dyn Clock>,
    telemetry: Arc<Telemetry>,
    status: watch::Sender<Status>,
    /// Keeps other tasks of this client that use the same explicit owner out.
    turn: Mutex<Option<OwnedSemaphorePermit>>,
}

#[derive(Clone, Copy, Debug)]
enum Status {
    Held(Deadline),
    Lost(Loss),
    Released,
}

/// Why a lease was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// Its local deadline passed: no renewal succeeded in time, or the end came that none moves.
    Expired,
    /// The record does not have it any more: somebody took it over, or released it by force.
    Evicted,
    /// The client was shut down, which released it.
    Shutdown,
    /// Its mode could not be changed, and it was given back.
    Change,
}

/// A frozen process's timers are late by as long as it was frozen: look at the clocks at least this often.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

impl LeaseState {
    pub(crate) fn new(
        plan: &Plan,
        (grant, granted): (&Grant, Moment),
        deadline: Deadline,
        client: &Inner,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let request = &plan.request;
        Self {
            key: request.key.clone(),
            owner: request.owner.clone(),
            id: request.id.clone(),
            mode: request.mode,
            token: grant.token,
            slot: grant.slot,
            since: plan.since.unwrap_or(granted),
            min_hold: plan.min_hold,
            ending: plan.ending(request.timeout),
            clock: Arc::clone(&client.clock),
            telemetry: Arc::clone(&client.telemetry),
            status: watch::channel(Status::Held(deadline)).0,
            turn: Mutex::new(turn),
        }
    }

    /// What keeps other tasks with the same owner out.
    pub(crate) fn turn(&self) -> MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What ends it now.
    pub(crate) fn ending(&self, now: Moment, end: End) -> ReleaseRequest {
        let linger = self.min_hold.map(|ttl| Linger {
            ttl,
            left: (ttl.as_duration()).saturating_sub(now.at_least_since(self.since)),
        });
        ReleaseRequest {
            linger: linger.filter(|linger| !linger.left.is_zero()),
            slot_done: self.slot.filter(|_| end.done),
            state: end.state,
            keep: end.keep,
            ..self.ending.clone()
        }
    }

    pub(crate) fn remaining(&self) -> Duration {
        let Status::Held(deadline) = *self.status.borrow() else {
            return Duration::ZERO;
        };
        let left = deadline.left(self.clock.now());
        if left.is_zero() {
            self.lose(Loss::Expired);
        }
        left
    }

    /// A newer deadline. It revives nothing: the old one must not have passed.
    pub(crate) fn prolong(&self, deadline: Deadline) {
        self.change(|_| Status::Held(deadline));
    }

    pub(crate) fn lose(&self, loss: Loss) {
        self.change(|_| Status::Lost(loss));
    }

    /// Ends the lease locally. An error if it was lost before.
    pub(crate) fn end(&self) -> Result<()> {
        self.change(|_| Status::Released);
        self.check()
    }

    /// An error if the lease is lost.
    pub(crate) fn check(&self) -> Result<()> {
        match *self.status.borrow() {
            Status::Lost(loss) => Err(self.error(loss)),
            Status::Held(_) | Status::Released => Ok(()),
        }
    }

    /// Moves on from *held*, and from nothing else. One that has expired unnoticed becomes lost.
    fn change(&self, to: impl FnOnce(Deadline) -> Status) {
        let now = self.clock.now();
        let mut end = None;
        self.status.send_if_modified(|status| {
            let Status::Held(deadline) = *status else {
                return false;
            };
            *status = if deadline.left(now).is_zero() {
                Status::Lost(Loss::Expired)
            } else {
                to(deadline)
            };
            end = self.end_event(*status, now);
            true
        });
        if let Some(end) = end {
            self.turn().take();
            self.tell(end, None);
        }
    }

    fn end_event(&self, status: Status, now: Moment) -> Option<EventKind> {
        let token = self.token;
        let held = now.at_least_since(self.since);
        match status {
            Status::Held(_) => None,
            Status::Lost(why) => Some(EventKind::Lost { token, why, held }),
            Status::Released => Some(EventKind::Released { token, held }),
        }
    }

    /// A renewal failed, and is tried again.
    pub(crate) fn renewal_failed(&self, error: &Error, remaining: Duration) {
        let kind = EventKind::RenewalFailed {
            token: self.token,
            error: error.kind(),
            remaining,
        };
        self.tell(kind, Some(error));
    }

    /// The database did not confirm its end.
    pub(crate) fn release_failed(&self, error: &Error) {
        let kind = EventKind::ReleaseFailed {
            error: error.kind(),
        };
        self.tell(kind, Some(error));
    }

    fn tell(&self, kind: EventKind, error: Option<&Error>) {
        let event = Event {
            key: self.key.clone(),
            owner: self.owner.clone(),
            mode: self.mode,
            kind,
        };
        self.telemetry.tell(&event, error);
    }

    async fn lost(&self) -> Error {
        let mut status = self.status.subscribe();
        loop {
            let left = self.remaining();
            match *status.borrow_and_update() {
                Status::Lost(loss) => return self.error(loss),
                Status::Held(_) => {}
                Status::Released => break,
            }
            tokio::select! {
                _ = status.changed() => {}
                () = tokio::time::sleep(left.min(LOOK)) => {}
            }
        }
        std::future::pending().await
    }

    pub(crate) fn error(&self, loss: Loss) -> Error {
        let message = match loss {
            Loss::Expired => {
                "the lease ran out before it was renewed: stop what it protected; another may hold the lock by now"
            }
            Loss::Evicted => {
                "the lease is gone from the database, expired and taken over or released by force: stop what it \
                 protected; another may hold the lock by now"
            }
            Loss::Shutdown => "the lock client was shut down, which released it",
            Loss::Change => "its mode could not be changed, and it was given back",
        };
        Error::new(ErrorKind::LeaseLost, message).with_key(&self.key)
    }
}
