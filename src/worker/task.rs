//! The task itself.

use std::iter;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::attempts::Attempts;
use super::leases::Leases;
use super::{Command, Held};
use crate::backend::{
    AcquireOutcome, AcquireRequest, Backend, ReleaseOutcome, ReleaseRequest, RenewOutcome,
    RenewRequest,
};
use crate::lease::{End, LOOK, LeaseState, Loss};
use crate::renewal::Span;
use crate::time::Clock;
use crate::wait::Backoff;
use crate::{Error, ErrorKind, LeaseId, Result};

/// How many batches of renewals are under way at once: few enough that thousands of leases that are due together do not
/// ask the database for all at once.
const BATCHES: usize = 16;
/// After so long without an answer a batch does not count any more: however many hang, the others go out.
const SLOW: Duration = Duration::from_millis(250);

/// A request that came to its end.
enum Landed {
    Attempt(LeaseId, u64, Result<AcquireOutcome>),
    /// Of one renewal, or of several that were sent together.
    Renewals(Vec<(LeaseId, Result<RenewOutcome>)>),
    /// Whoever asked has been answered.
    Answered,
}

struct Task {
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    attempts: Attempts,
    leases: Leases,
    requests: JoinSet<Landed>,
    batches: Arc<Semaphore>,
    ended: Vec<oneshot::Sender<()>>,
}

/// Runs until nobody can send a command any more and all that was under way has landed.
pub(super) async fn run(
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    mut inbox: mpsc::UnboundedReceiver<Command>,
) {
    let mut task = Task {
        backend,
        clock,
        attempts: Attempts::default(),
        leases: Leases::default(),
        requests: JoinSet::new(),
        batches: Arc::new(Semaphore::new(BATCHES)),
        ended: Vec::new(),
    };
    let mut open = true;
    while open || !task.requests.is_empty() {
        let next = task.leases.next_in(task.clock.now());
        tokio::select! {
            // In a fixed order, for the sake of simulations. What landed comes first: it ends, however much is asked for.
            biased;
            Some(landed) = task.requests.join_next() => match landed {
                Ok(landed) => task.take(landed),
                Err(error) => tracing::error!(%error, "a backend panicked"),
            },
            command = inbox.recv(), if open => match command {
                Some(Command::Shutdown(done)) => {
                    inbox.close();
                    task.shut_down(done);
                }
                Some(command) => task.obey(command),
                None => open = false,
            },
            () = room(&task.batches), if task.leases.is_ready() => {}
            () = tokio::time::sleep(next.unwrap_or_default().min(LOOK)), if next.is_some() => {}
        }
        task.do_what_is_due();
    }
    for done in task.ended {
        let _ = done.send(());
    }
}

impl Task {
    fn obey(&mut self, command: Command) {
        match command {
            Command::Attempt(attempt) => {
                let request = self.attempts.begin(*attempt);
                self.send_attempts(request);
            }
            Command::Abandon(id) => {
                let ending = self.attempts.abandon(&id);
                self.give_back(ending);
            }
            Command::Hold(held) => {
                self.attempts.hand_over(&held.lease.id);
                self.leases.insert(*held, self.clock.now());
            }
            Command::Renew { lease, done } => {
                let now = self.clock.now();
                match self.leases.renew(&lease.id, done, now) {
                    Ok(Some(request)) => self.send_renewals(vec![request], None),
                    Ok(None) => {}
                    // Lost; or in the care of a task whose runtime is gone.
                    Err(done) => drop(done.send(lease.check().and_then(|()| Err(super::closed())))),
                }
            }
            Command::Refresh(request, reply) => {
                let backend = Arc::clone(&self.backend);
                self.requests.spawn(async move {
                    let _ = reply.send(backend.renew(&request).await);
                    Landed::Answered
                });
            }
            Command::Pause(id, reply) => {
                let plan = self.leases.pause(&id, self.clock.now());
                let _ = reply.send(Ok(plan));
            }
            Command::Resume(id) => self.leases.resume(&id, self.clock.now()),
            Command::Forget(id) => drop(self.leases.remove(&id)),
            Command::Release { lease, end, done } => self.release(&lease, end, done),
            Command::Shutdown(done) => self.shut_down(done),
        }
    }

    fn take(&mut self, landed: Landed) {
        match landed {
            Landed::Attempt(id, seq, outcome) => {
                let ending = self.attempts.land(&id, seq, outcome);
                self.give_back(ending);
                let ready = self.attempts.ready();
                self.send_attempts(ready);
            }
            Landed::Renewals(outcomes) => {
                // The same for all: those that have to wait are sent together again.
                let (now, luck) = (self.clock.now(), fastrand::f64());
                for (id, outcome) in outcomes {
                    if let Some(held) = self.leases.renewed(&id, outcome, now, luck) {
                        self.lost(&held);
                    }
                }
            }
            Landed::Answered => {}
        }
    }

    fn do_what_is_due(&mut self) {
        let now = self.clock.now();
        let ended = self.leases.due(now);
        let size = self.backend.renewals_at_once().max(1);
        while self.leases.is_ready() {
            let permit = match Arc::clone(&self.batches).try_acquire_owned() {
                // Where each goes by itself, none waits.
                _ if size == 1 => None,
                Ok(permit) => Some(permit),
                Err(_) => break,
            };
            let batch = self.leases.batch(size, now);
            self.send_renewals(batch, permit);
        }
        for held in ended {
            self.lost(&held);
        }
    }

    fn lost(&mut self, held: &Held) {
        let (lease, now) = (&held.lease, self.clock.now());
        tracing::warn!(key = %lease.key, owner = %lease.owner, "lease lost");
        // Only a limit of its own ends a lease that the record still shows, and that is over with it.
        if held.renewal.reached_cap(now) {
            self.give_back(Some(lease.ending(now, End::default())));
        }
    }

    /// Nobody waits for the end of it.
    fn give_back(&mut self, ending: Option<ReleaseRequest>) {
        if let Some(ending) = ending {
            self.send_release(ending, Duration::ZERO, None);
        }
    }

    fn release(&mut self, lease: &LeaseState, end: End, done: Option<oneshot::Sender<Result<()>>>) {
        let before = lease.end();
        let now = self.clock.now();
        let held = self.leases.remove(&lease.id);
        let left = held.map_or(Duration::ZERO, |held| held.renewal.left(now));
        let ending = lease.ending(now, end);
        self.send_release(ending, left, done.map(|done| (done, before)));
    }

    fn shut_down(&mut self, done: oneshot::Sender<()>) {
        self.ended.push(done);
        let now = self.clock.now();
        for held in self.leases.drain() {
            held.lease.lose(Loss::Shutdown);
            self.give_back(Some(held.lease.ending(now, End::default())));
        }
        for ending in self.attempts.close() {
            self.give_back(Some(ending));
        }
    }

    fn send_attempts(&mut self, requests: impl IntoIterator<Item = AcquireRequest>) {
        for request in requests {
            let backend = Arc::clone(&self.backend);
            self.requests.spawn(async move {
                let outcome = backend.acquire(&request).await;
                Landed::Attempt(request.id, request.seq, outcome)
            });
        }
    }

    fn send_renewals(&mut self, requests: Vec<RenewRequest>, permit: Option<OwnedSemaphorePermit>) {
        let backend = Arc::clone(&self.backend);
        self.requests.spawn(async move {
            let renewing = async {
                match &*requests {
                    [request] => vec![backend.renew(request).await],
                    requests => backend.renew_many(requests).await,
                }
            };
            let outcomes = counted(permit, renewing).await;
            let outcomes = outcomes
                .into_iter()
                .chain(iter::repeat_with(|| Err(unanswered())));
            Landed::Renewals(
                requests
                    .into_iter()
                    .map(|request| request.id)
                    .zip(outcomes)
                    .collect(),
            )
        });
    }

    /// Releases, trying again for as long as the lease would live, and at least as long as one request may take.
    fn send_release(
        &mut self,
        request: ReleaseRequest,
        left: Duration,
        done: Option<(oneshot::Sender<Result<()>>, Result<()>)>,
    ) {
        let backend = Arc::clone(&self.backend);
        let clock = Arc::clone(&self.clock);
        let span = Span {
            from: clock.now(),
            length: left.max(request.timeout),
        };
        self.requests.spawn(async move {
            let result = release(&*backend, &*clock, &request, span).await;
            match (done, result) {
                (Some((done, before)), result) => drop(done.send(before.and(result))),
                (None, Err(error)) if error.kind() != ErrorKind::LeaseLost => {
                    tracing::warn!(%error, "release failed, the lock stays until it expires");
                }
                (None, _) => {}
            }
            Landed::Answered
        });
    }
}

/// Until another batch may be sent.
async fn room(batches: &Semaphore) {
    drop(batches.acquire().await);
}

/// Work that gives its permit back when it ends, or as soon as it is [`SLOW`].
async fn counted<T>(permit: Option<OwnedSemaphorePermit>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = tokio::time::sleep(SLOW), if permit.is_some() => drop(permit),
    }
    work.await
}

async fn release(
    backend: &dyn Backend,
    clock: &dyn Clock,
    request: &ReleaseRequest,
    span: Span,
) -> Result<()> {
    let mut backoff = Backoff::new();
    let mut unknown = false;
    loop {
        let error = match backend.release(request).await {
            Ok(ReleaseOutcome::Released) => return Ok(()),
            // The attempt whose answer got lost was applied. If so, the state that it brought would stand there.
            Ok(ReleaseOutcome::NotHeld) if unknown && request.state.is_none() => return Ok(()),
            Ok(ReleaseOutcome::NotHeld) => return Err(not_held(request)),
            Err(error) => error,
        };
        unknown |= error.kind() == ErrorKind::OutcomeUnknown;
        let left = span.left(clock.now());
        if !error.is_transient() || left.is_zero() {
            return Err(error);
        }
        tokio::time::sleep(backoff.next(fastrand::f64()).min(left)).await;
    }
}

fn unanswered() -> Error {
    Error::new(
        ErrorKind::OutcomeUnknown,
        "the backend answered fewer renewals than it was asked for: try again",
    )
}

fn not_held(request: &ReleaseRequest) -> Error {
    Error::new(
        ErrorKind::LeaseLost,
        "the lease was gone before it was released, expired and taken over or released by force: what was done last \
         may not have been alone",
    )
    .with_operation("release")
    .with_key(&request.key)
}
