//! The task itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::Command;
use super::attempts::{Attempt, Attempts};
use super::leases::Leases;
use crate::backend::{
    AcquireOutcome, Backend, ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest,
};
use crate::lease::{LOOK, LeaseState, Loss};
use crate::renewal::Span;
use crate::time::Clock;
use crate::wait::Backoff;
use crate::{Error, ErrorKind, LeaseId, Result};

/// A request that came to its end.
enum Landed {
    Attempt(LeaseId, Result<AcquireOutcome>),
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
        ended: Vec::new(),
    };
    let mut open = true;
    while open || !task.requests.is_empty() {
        let next = task.leases.next_in(task.clock.now());
        tokio::select! {
            command = inbox.recv(), if open => match command {
                Some(Command::Shutdown(done)) => {
                    inbox.close();
                    task.shut_down(done);
                }
                Some(command) => task.obey(command),
                None => open = false,
            },
            Some(landed) = task.requests.join_next() => match landed {
                Ok(landed) => task.take(landed),
                Err(error) => tracing::error!(%error, "a backend panicked"),
            },
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
            Command::Attempt(request, reply) => {
                self.attempts.begin(request.id.clone(), reply);
                let backend = Arc::clone(&self.backend);
                self.requests.spawn(async move {
                    let outcome = backend.acquire(&request).await;
                    Landed::Attempt(request.id, outcome)
                });
            }
            Command::Abandon(request) => {
                if let Some(request) = self.attempts.abandon(request) {
                    self.send_release(request, Duration::ZERO, None);
                }
            }
            Command::Hold(held) => self.leases.insert(*held, self.clock.now()),
            Command::Renew { lease, done } => {
                let now = self.clock.now();
                match self.leases.renew(&lease.id, done, now) {
                    Ok(Some(request)) => self.send_renewals(vec![request]),
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
            Command::Take(id, reply) => drop(reply.send(Ok(self.leases.remove(&id)))),
            Command::Release {
                lease,
                succeeded,
                done,
            } => self.release(&lease, succeeded, done),
            Command::Shutdown(done) => self.shut_down(done),
        }
    }

    fn take(&mut self, landed: Landed) {
        match landed {
            Landed::Attempt(id, outcome) => self.attempt_landed(&id, outcome),
            Landed::Renewals(outcomes) => {
                let now = self.clock.now();
                for (id, outcome) in outcomes {
                    self.leases.renewed(&id, outcome, now, fastrand::f64());
                }
            }
            Landed::Answered => {}
        }
    }

    fn attempt_landed(&mut self, id: &LeaseId, outcome: Result<AcquireOutcome>) {
        match self.attempts.land(id) {
            Some(Attempt::Awaited(reply)) => drop(reply.send(outcome)),
            Some(Attempt::Abandoned(mut release)) => {
                release.queued |= matches!(outcome, Ok(AcquireOutcome::Queued(_)));
                if release.queued || may_hold(&outcome) {
                    self.send_release(release, Duration::ZERO, None);
                }
            }
            None => {}
        }
    }

    fn do_what_is_due(&mut self) {
        let now = self.clock.now();
        let due = self.leases.due(now);
        if !due.renewals.is_empty() {
            self.send_renewals(due.renewals);
        }
        for held in due.ended {
            tracing::warn!(key = %held.lease.key, owner = %held.lease.owner, "lease lost: its time is over");
            // Only a limit of its own ends a lease that the record still shows, and that is over with it.
            if held.renewal.reached_cap(now) {
                let ending = held.plan.ending_of(held.since, now, None);
                self.send_release(ending, Duration::ZERO, None);
            }
        }
    }

    fn release(
        &mut self,
        lease: &LeaseState,
        succeeded: bool,
        done: Option<oneshot::Sender<Result<()>>>,
    ) {
        let before = lease.end();
        let now = self.clock.now();
        let (request, left) = match self.leases.remove(&lease.id) {
            Some(held) => {
                let slot_done = lease.slot.filter(|_| succeeded);
                let ending = held.plan.ending_of(held.since, now, slot_done);
                (ending, held.renewal.left(now))
            }
            None => (
                ReleaseRequest::new(&lease.key, &lease.owner, &lease.id),
                Duration::ZERO,
            ),
        };
        self.send_release(request, left, done.map(|done| (done, before)));
    }

    fn shut_down(&mut self, done: oneshot::Sender<()>) {
        self.ended.push(done);
        let now = self.clock.now();
        for held in self.leases.drain() {
            held.lease.lose(Loss::Shutdown);
            let ending = held.plan.ending_of(held.since, now, None);
            self.send_release(ending, Duration::ZERO, None);
        }
    }

    fn send_renewals(&mut self, requests: Vec<RenewRequest>) {
        let backend = Arc::clone(&self.backend);
        self.requests.spawn(async move {
            let outcomes = backend.renew_many(&requests).await;
            let ids = requests.into_iter().map(|request| request.id);
            Landed::Renewals(ids.zip(outcomes).collect())
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
            // The attempt whose answer got lost was applied.
            Ok(ReleaseOutcome::NotHeld) if unknown => return Ok(()),
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

/// This attempt, or an earlier one whose answer got lost, may have been granted. Only a refusal that saw the record tells.
fn may_hold(outcome: &Result<AcquireOutcome>) -> bool {
    match outcome {
        Ok(AcquireOutcome::Granted(_)) => true,
        Ok(AcquireOutcome::Queued(_) | AcquireOutcome::Held(_) | AcquireOutcome::Skipped) => false,
        Err(error) => error.is_transient(),
    }
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
