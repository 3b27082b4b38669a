//! The task itself.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::attempts::{Attempt, Attempts};
use super::leases::Leases;
use super::leaving::Leaving;
use super::lines::{Lines, Offer, Turn, Waiter};
use super::{Command, Held};
use crate::backend::{
    AcquireOutcome, AcquireRequest, Backend, ReleaseRequest, RenewOutcome, RenewRequest,
};
use crate::lease::{End, LOOK, LeaseState, Loss};
use crate::plan::Plan;
use crate::telemetry::Telemetry;
use crate::time::Clock;
use crate::{Error, ErrorKind, LeaseId, Mode, Result};

/// How many batches of renewals are under way at once, as long as others [can wait](Leases::is_late): few enough that a
/// database that can hardly keep up with thousands of leases gets no more than it does.
const BATCHES: usize = 16;

/// A request that came to its end.
enum Landed {
    Attempt(LeaseId, u64, Result<AcquireOutcome>),
    /// Of one renewal, or of several that were sent together.
    Renewals(Vec<(LeaseId, Result<RenewOutcome>)>),
    /// An attempt in the place of a lease that ends.
    HandOver(LeaseId, u64, Result<AcquireOutcome>, Box<Leaving>),
    Released(LeaseId),
    /// Whoever asked has been answered.
    Answered,
}

struct Task {
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    telemetry: Arc<Telemetry>,
    attempts: Attempts,
    leases: Leases,
    lines: Lines,
    requests: JoinSet<Landed>,
    batches: Arc<Semaphore>,
    ended: Vec<oneshot::Sender<()>>,
}

/// Runs until nobody can send a command any more and all that was under way has landed.
pub(super) async fn run(
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    telemetry: Arc<Telemetry>,
    mut inbox: mpsc::UnboundedReceiver<Command>,
) {
    let mut task = Task {
        backend,
        clock,
        telemetry,
        attempts: Attempts::default(),
        leases: Leases::default(),
        lines: Lines::default(),
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
            Command::Line(waiter) => self.lines.join(*waiter),
            Command::Holder(key, reply) => {
                let holder = self.lines.holder(&key);
                let holder = holder.and_then(|id| self.leases.occupant(id, self.clock.now()));
                let _ = reply.send(Ok(holder));
            }
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
            Landed::Renewals(outcomes) => {
                // The same for all: those that have to wait are sent together again.
                let (now, luck) = (self.clock.now(), fastrand::f64());
                for (id, outcome) in outcomes {
                    if let Some(held) = self.leases.renewed(&id, outcome, now, luck) {
                        self.lost(&held);
                    }
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
        let now = self.clock.now();
        let ended = self.leases.due(now);
        let size = self.backend.renewals_at_once().max(1);
        while self.leases.is_ready() {
            let permit = match Arc::clone(&self.batches).try_acquire_owned() {
                // Where each goes by itself, none waits.
                _ if size == 1 => None,
                Ok(permit) => Some(permit),
                // However many of the others hang.
                Err(_) if self.leases.is_late(now) => None,
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
        self.lines.leave(&lease.id);
        // Only a limit of its own ends a lease that the record still shows, and that is over with it.
        if held.renewal.reached_cap(now) {
            self.send_release(Leaving::of(lease, now));
        }
    }

    /// Nobody waits for the end of it.
    fn give_back(&mut self, ending: Option<ReleaseRequest>) {
        if let Some(ending) = ending {
            self.send_release(Leaving::unnoticed(ending));
        }
    }

    fn release(
        &mut self,
        lease: &Arc<LeaseState>,
        end: End,
        done: Option<oneshot::Sender<Result<()>>>,
    ) {
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
            lease: before.is_ok().then(|| Arc::clone(lease)),
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
            self.send_release(Leaving::of(&held.lease, now));
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

    fn send_renewals(&mut self, requests: Vec<RenewRequest>, permit: Option<OwnedSemaphorePermit>) {
        let backend = Arc::clone(&self.backend);
        self.requests.spawn(async move {
            let outcomes = match &*requests {
                [request] => vec![backend.renew(request).await],
                requests => backend.renew_many(requests).await,
            };
            drop(permit);
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
    fn send_release(&mut self, leaving: Leaving) {
        let backend = Arc::clone(&self.backend);
        let clock = Arc::clone(&self.clock);
        let telemetry = Arc::clone(&self.telemetry);
        self.requests.spawn(async move {
            let result = leaving.release(&*backend, &*clock).await;
            if let Err(error) = &result {
                leaving.failed(&telemetry, error);
            }
            let id = leaving.request.id.clone();
            leaving.answer(result);
            Landed::Released(id)
        });
    }
}

/// Until another batch may be sent.
async fn room(batches: &Semaphore) {
    drop(batches.acquire().await);
}

fn unanswered() -> Error {
    Error::new(
        ErrorKind::OutcomeUnknown,
        "the backend answered fewer renewals than it was asked for: try again",
    )
}
