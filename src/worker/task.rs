//! The task itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::attempts::Attempt;
use super::attempts::Attempts;
use super::leases::Leases;
use super::lines::{Lines, Offer, Turn, Waiter};
use super::{Command, Held};
use crate::backend::{
    AcquireOutcome, AcquireRequest, Backend, ReleaseOutcome, ReleaseRequest, RenewOutcome,
    RenewRequest,
};
use crate::lease::{End, LOOK, LeaseState, Loss};
use crate::plan::Plan;
use crate::renewal::Span;
use crate::time::Clock;
use crate::wait::Backoff;
use crate::{Error, ErrorKind, LeaseId, Mode, Result};

/// A request that came to its end.
enum Landed {
    Attempt(LeaseId, u64, Result<AcquireOutcome>),
    Renewal(LeaseId, Result<RenewOutcome>),
    /// An attempt in the place of a lease that ends.
    HandOver(LeaseId, u64, Result<AcquireOutcome>, Box<Leaving>),
    Released(LeaseId),
    /// Whoever asked has been answered.
    Answered,
}

/// A lease or an acquisition that ends.
struct Leaving {
    request: ReleaseRequest,
    /// What is left of it.
    left: Duration,
    /// It may have ended already, by a request whose answer got lost.
    unknown: bool,
    /// Who waits for it, and whether the lease was lost before.
    done: Option<(oneshot::Sender<Result<()>>, Result<()>)>,
}

impl Leaving {
    /// Nobody waits for the end of it.
    fn unnoticed(request: ReleaseRequest) -> Self {
        Self {
            request,
            left: Duration::ZERO,
            unknown: false,
            done: None,
        }
    }

    fn answer(self, result: Result<()>) {
        match (self.done, result) {
            (Some((done, before)), result) => drop(done.send(before.and(result))),
            (None, Err(error)) if error.kind() != ErrorKind::LeaseLost => {
                tracing::warn!(%error, "release failed, the lock stays until it expires");
            }
            (None, _) => {}
        }
    }
}

struct Task {
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    attempts: Attempts,
    leases: Leases,
    lines: Lines,
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
        lines: Lines::default(),
        requests: JoinSet::new(),
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
            Command::Line(waiter) => self.lines.join(*waiter),
            Command::Attempt(attempt) => {
                let request = self.attempts.begin(*attempt);
                self.send_attempts(request);
            }
            Command::Abandon(id) => {
                let ending = self.attempts.abandon(&id);
                self.give_back(ending);
                self.lines.abandon(&id);
            }
            Command::Hold(held) => {
                let lease = &held.lease;
                self.attempts.hand_over(&lease.id);
                if lease.mode == Mode::Exclusive {
                    self.lines.hold(&lease.key, &lease.id);
                }
                self.leases.insert(*held, self.clock.now());
            }
            Command::Renew { lease, done } => {
                let now = self.clock.now();
                match self.leases.renew(&lease.id, done, now) {
                    Ok(Some(request)) => self.send_renewal(request),
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
            Command::Forget(id) => {
                self.leases.remove(&id);
                self.lines.leave(&id);
            }
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
            Landed::Renewal(id, outcome) => {
                let now = self.clock.now();
                let lost = self.leases.renewed(&id, outcome, now, fastrand::f64());
                if let Some(held) = lost {
                    self.lost(&held);
                }
            }
            Landed::HandOver(id, seq, outcome, mut leaving) => {
                let granted = matches!(outcome, Ok(AcquireOutcome::Granted(_)));
                let unknown = |error: &Error| error.kind() == ErrorKind::OutcomeUnknown;
                leaving.unknown = outcome.as_ref().is_err_and(unknown);
                self.take(Landed::Attempt(id, seq, outcome));
                if granted {
                    leaving.answer(Ok(()));
                } else {
                    self.send_release(*leaving);
                }
            }
            Landed::Released(id) => self.lines.leave(&id),
            Landed::Answered => {}
        }
    }

    fn do_what_is_due(&mut self) {
        let due = self.leases.due(self.clock.now());
        for request in due.renewals {
            self.send_renewal(request);
        }
        for held in due.ended {
            self.lost(&held);
        }
    }

    fn lost(&mut self, held: &Held) {
        let (lease, now) = (&held.lease, self.clock.now());
        tracing::warn!(key = %lease.key, owner = %lease.owner, "lease lost");
        self.lines.leave(&lease.id);
        // Only a limit of its own ends a lease that the record still shows, and that is over with it.
        if held.renewal.reached_cap(now) {
            self.give_back(Some(lease.ending(now, End::default())));
        }
    }

    /// Nobody waits for the end of it.
    fn give_back(&mut self, ending: Option<ReleaseRequest>) {
        if let Some(ending) = ending {
            self.send_release(Leaving::unnoticed(ending));
        }
    }

    fn release(&mut self, lease: &LeaseState, end: End, done: Option<oneshot::Sender<Result<()>>>) {
        let before = lease.end();
        let now = self.clock.now();
        let held = self.leases.remove(&lease.id);
        let request = lease.ending(now, end);
        let says_more = request.says_more();
        let next = held.as_ref().filter(|_| before.is_ok() && !says_more);
        let next = next.and_then(|held| self.next_in_line(&held.plan));
        let leaving = Leaving {
            request,
            left: held.map_or(Duration::ZERO, |held| held.renewal.left(now)),
            unknown: false,
            done: done.map(|done| (done, before)),
        };
        match next {
            Some(waiter) => self.hand_over(lease, waiter, leaving),
            None => self.send_release(leaving),
        }
    }

    /// Who may have the place of a lease, in its name.
    fn next_in_line(&mut self, from: &Plan) -> Option<Waiter> {
        if !from.any_owner || !self.backend.hands_over() {
            return None;
        }
        // The record would keep the longer ttl, and the late end that comes with it.
        let may = |to: &Plan| to.may_be_handed() && to.request.ttl >= from.request.ttl;
        self.lines.next(&from.request.id, may)
    }

    /// Releases and acquires in one request: the next one takes the place of the lease that ends.
    fn hand_over(&mut self, from: &LeaseState, to: Waiter, leaving: Leaving) {
        let Waiter {
            mut plan,
            mut renewal,
            turn,
        } = to;
        let request = &mut plan.request;
        request.owner = from.owner.clone();
        request.replaces = Some(from.id.clone());
        request.seq = renewal.send(self.clock.now());
        let (reply, answer) = oneshot::channel();
        let ending = plan.ending(plan.request.timeout);
        let attempt = Attempt {
            request: plan.request,
            ending,
            reply,
        };
        let offer = Offer {
            owner: from.owner.clone(),
            renewal,
            answer,
        };
        // If it does not want it any more, it is about to be abandoned, and released then.
        let _ = turn.send(Ok(Turn::Offer(Box::new(offer))));
        let Some(request) = self.attempts.begin(attempt) else {
            return self.send_release(leaving);
        };
        let backend = Arc::clone(&self.backend);
        self.requests.spawn(async move {
            let outcome = backend.acquire(&request).await;
            Landed::HandOver(request.id, request.seq, outcome, Box::new(leaving))
        });
    }

    fn shut_down(&mut self, done: oneshot::Sender<()>) {
        self.ended.push(done);
        let now = self.clock.now();
        for held in self.leases.drain() {
            held.lease.lose(Loss::Shutdown);
            self.give_back(Some(held.lease.ending(now, End::default())));
        }
        // Who waits is told by that.
        self.lines = Lines::default();
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

    /// Each by itself: one that hangs makes no other late.
    fn send_renewal(&mut self, request: RenewRequest) {
        let backend = Arc::clone(&self.backend);
        self.requests.spawn(async move {
            let outcome = backend.renew(&request).await;
            Landed::Renewal(request.id, outcome)
        });
    }

    /// Releases, trying again for as long as the lease would live, and at least as long as one request may take.
    fn send_release(&mut self, leaving: Leaving) {
        let backend = Arc::clone(&self.backend);
        let clock = Arc::clone(&self.clock);
        let span = Span {
            from: clock.now(),
            length: leaving.left.max(leaving.request.timeout),
        };
        self.requests.spawn(async move {
            let result = release(&*backend, &*clock, &leaving, span).await;
            let id = leaving.request.id.clone();
            leaving.answer(result);
            Landed::Released(id)
        });
    }
}

async fn release(
    backend: &dyn Backend,
    clock: &dyn Clock,
    leaving: &Leaving,
    span: Span,
) -> Result<()> {
    let mut backoff = Backoff::new();
    let (request, mut unknown) = (&leaving.request, leaving.unknown);
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

fn not_held(request: &ReleaseRequest) -> Error {
    Error::new(
        ErrorKind::LeaseLost,
        "the lease was gone before it was released, expired and taken over or released by force: what was done last \
         may not have been alone",
    )
    .with_operation("release")
    .with_key(&request.key)
}
