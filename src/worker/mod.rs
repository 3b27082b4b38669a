//! The client's task: every request to the backend is made in it, so that none depends on its caller's future.

mod attempts;
mod batch;
mod leases;
mod leaving;
mod lines;
mod task;

use std::sync::{Arc, PoisonError};

use tokio::sync::{mpsc, oneshot};

use crate::backend::{
    AcquireOutcome, AcquireRequest, Backend, Occupant, ReleaseRequest, RenewOutcome, RenewRequest,
};
use crate::lease::{End, LeaseState};
use crate::plan::Plan;
use crate::renewal::Renewal;
use crate::sync::{Mutex, MutexGuard};
use crate::telemetry::Telemetry;
use crate::time::Clock;
use crate::{Error, ErrorKind, Key, LeaseId, Result};

use attempts::Attempt;

pub(crate) use lines::{Crowd, Turn, Waiter};

/// What the task is asked to do.
pub(crate) enum Command {
    /// Wait until it is its turn among those of this client that want the key.
    Line(Box<Waiter>),
    /// Tell who of this client has the lock, if somebody has.
    Holder(Key, oneshot::Sender<Result<Option<Occupant>>>),
    /// Send an attempt to acquire.
    Attempt(Box<Attempt>),
    /// Nobody wants this acquisition any more: release it, once no attempt of it is under way.
    Abandon(LeaseId),
    /// A lease was granted: watch over it.
    Hold(Box<Held>),
    /// Prolong a lease now.
    Renew {
        lease: Arc<LeaseState>,
        done: oneshot::Sender<Result<()>>,
    },
    /// Prolong a grant that is not handed out yet.
    Refresh(RenewRequest, oneshot::Sender<Result<RenewOutcome>>),
    /// Stop to renew a lease until it is [resumed](Command::Resume). Answers what it was granted for; `None` if it is lost.
    Pause(LeaseId, oneshot::Sender<Result<Option<Plan>>>),
    /// Renew it again.
    Resume(LeaseId),
    /// Stop to care for a lease, which stays in the record as it is.
    Forget(LeaseId),
    /// End a lease.
    Release {
        lease: Arc<LeaseState>,
        end: End,
        done: Option<oneshot::Sender<Result<()>>>,
    },
    /// Finish what is under way, release what is held, and end.
    Shutdown(oneshot::Sender<()>),
}

/// A lease in the task's care.
pub(crate) struct Held {
    pub(crate) lease: Arc<LeaseState>,
    pub(crate) renewal: Renewal,
    pub(crate) plan: Plan,
}

/// The way to the client's task; clones lead to the same one.
#[derive(Clone, Debug)]
pub(crate) struct Worker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    telemetry: Arc<Telemetry>,
    commands: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// Not yet, or not any more: its runtime is gone.
    Idle,
    Running(mpsc::UnboundedSender<Command>),
    Closed,
}

impl Worker {
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        clock: Arc<dyn Clock>,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        Self(Arc::new(Shared {
            backend,
            clock,
            telemetry,
            commands: Mutex::new(State::Idle),
        }))
    }

    /// Waits until no other of this client asks for the key or has it. Dropping the future leaves the place in the line to
    /// [`abandon`](Self::abandon).
    pub(crate) async fn line(&self, plan: Plan, renewal: Renewal) -> Result<Turn> {
        let waiter = |turn| {
            Command::Line(Box::new(Waiter {
                plan,
                renewal,
                turn,
            }))
        };
        self.ask(waiter).await
    }

    /// Who of this client has the lock, if somebody has.
    pub(crate) async fn holder(&self, key: &Key) -> Result<Option<Occupant>> {
        let key = key.clone();
        self.ask(|reply| Command::Holder(key, reply)).await
    }

    /// Sends an attempt to acquire and waits for it. Dropping the future leaves the attempt under way.
    pub(crate) async fn attempt(
        &self,
        request: AcquireRequest,
        ending: ReleaseRequest,
    ) -> Result<AcquireOutcome> {
        let attempt = |reply| {
            Command::Attempt(Box::new(Attempt {
                request,
                ending,
                reply,
            }))
        };
        self.ask(attempt).await
    }

    pub(crate) fn abandon(&self, id: &LeaseId) {
        // With the task gone there is nobody left to release by: the lease expires.
        let _ = self.tell(Command::Abandon(id.clone()));
    }

    pub(crate) fn hold(&self, held: Held) -> Result<()> {
        self.tell(Command::Hold(Box::new(held)))
    }

    pub(crate) async fn renew(&self, lease: &Arc<LeaseState>) -> Result<()> {
        let lease = Arc::clone(lease);
        self.ask(|done| Command::Renew { lease, done }).await
    }

    pub(crate) async fn refresh(&self, request: RenewRequest) -> Result<RenewOutcome> {
        self.ask(|done| Command::Refresh(request, done)).await
    }

    /// Nothing renews the lease from now on, and its deadline runs on. `None` if it is lost.
    pub(crate) async fn pause(&self, lease: &LeaseState) -> Result<Option<Plan>> {
        let id = lease.id.clone();
        self.ask(|reply| Command::Pause(id, reply)).await
    }

    pub(crate) fn resume(&self, lease: &LeaseState) -> Result<()> {
        self.tell(Command::Resume(lease.id.clone()))
    }

    /// Leaves a lease that is over here to its fate in the record. Does not block.
    pub(crate) fn forget(&self, lease: &LeaseState) {
        let _ = self.tell(Command::Forget(lease.id.clone()));
    }

    pub(crate) async fn release(&self, lease: &Arc<LeaseState>, end: End) -> Result<()> {
        let lease = Arc::clone(lease);
        self.ask(|done| Command::Release {
            lease,
            end,
            done: Some(done),
        })
        .await
    }

    /// Releases a lease that was dropped. Does not block, and works outside of a runtime.
    pub(crate) fn drop_lease(&self, lease: &Arc<LeaseState>) {
        let _ = self.tell(Command::Release {
            lease: Arc::clone(lease),
            end: End::default(),
            done: None,
        });
    }

    pub(crate) async fn shutdown(&self) {
        let (done, ended) = oneshot::channel();
        let running = std::mem::replace(&mut *self.state(), State::Closed);
        if let State::Running(commands) = running
            && commands.send(Command::Shutdown(done)).is_ok()
        {
            let _ = ended.await;
        }
    }

    /// Starts the task on the caller's runtime, unless it runs.
    pub(crate) fn start(&self) -> Result<()> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|error| {
            Error::new(
                ErrorKind::Unsupported,
                "there is no tokio runtime here: call it from within one",
            )
            .with_source(error)
        })?;
        let mut state = self.state();
        match &*state {
            State::Running(commands) if !commands.is_closed() => return Ok(()),
            State::Closed => return Err(closed()),
            State::Running(_) | State::Idle => {}
        }
        let (commands, inbox) = mpsc::unbounded_channel();
        let backend = Arc::clone(&self.0.backend);
        let clock = Arc::clone(&self.0.clock);
        let telemetry = Arc::clone(&self.0.telemetry);
        runtime.spawn(task::run(backend, clock, telemetry, inbox));
        *state = State::Running(commands);
        Ok(())
    }

    /// Tells, and waits for the answer.
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T>>) -> Command,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.tell(command(reply))?;
        answer.await.map_err(|_| closed())?
    }

    fn tell(&self, command: Command) -> Result<()> {
        match &*self.state() {
            State::Running(commands) => commands.send(command).map_err(|_| closed()),
            State::Idle | State::Closed => Err(closed()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0
            .commands
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn closed() -> Error {
    Error::new(
        ErrorKind::Closed,
        "the lock client was shut down, or its runtime ended: make a new one",
    )
}
