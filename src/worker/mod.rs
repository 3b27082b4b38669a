//! The client's task: every request to the backend is made in it, so that none depends on its caller's future.

mod attempts;
mod leases;
mod task;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use crate::backend::{
    AcquireOutcome, AcquireRequest, Backend, ReleaseRequest, RenewOutcome, RenewRequest,
};
use crate::lease::LeaseState;
use crate::plan::Plan;
use crate::renewal::Renewal;
use crate::time::{Clock, Moment};
use crate::{Error, ErrorKind, LeaseId, Result};

/// What the task is asked to do.
pub(crate) enum Command {
    /// Send an attempt to acquire; whoever asked may be gone when it lands.
    Attempt(AcquireRequest, oneshot::Sender<Result<AcquireOutcome>>),
    /// Nobody wants this acquisition any more: release it, once no attempt of it is under way.
    Abandon(ReleaseRequest),
    /// A lease was granted: watch over it.
    Hold(Box<Held>),
    /// Prolong a lease now.
    Renew {
        lease: Arc<LeaseState>,
        done: oneshot::Sender<Result<()>>,
    },
    /// Prolong a grant that is not handed out yet.
    Refresh(RenewRequest, oneshot::Sender<Result<RenewOutcome>>),
    /// Stop to care for a lease, which stays in the record as it is. Answers what it was; `None` if it is lost.
    Take(LeaseId, oneshot::Sender<Result<Option<Held>>>),
    /// End a lease; `succeeded` tells what became of the slot that it is for.
    Release {
        lease: Arc<LeaseState>,
        succeeded: bool,
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
    /// When it was granted.
    pub(crate) since: Moment,
}

/// The way to the client's task; clones lead to the same one.
#[derive(Clone, Debug)]
pub(crate) struct Worker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
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
    pub(crate) fn new(backend: Arc<dyn Backend>, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Shared {
            backend,
            clock,
            commands: Mutex::new(State::Idle),
        }))
    }

    /// Sends an attempt to acquire and waits for it. Dropping the future leaves the attempt under way.
    pub(crate) async fn attempt(&self, request: AcquireRequest) -> Result<AcquireOutcome> {
        self.ask(|reply| Command::Attempt(request, reply)).await
    }

    pub(crate) fn abandon(&self, request: ReleaseRequest) {
        // With the task gone there is nobody left to release by: the lease expires.
        let _ = self.tell(Command::Abandon(request));
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

    /// Takes a lease out of the task's care: nothing renews it any more, and its deadline runs on.
    pub(crate) async fn take(&self, lease: &LeaseState) -> Result<Option<Held>> {
        let id = lease.id.clone();
        self.ask(|reply| Command::Take(id, reply)).await
    }

    /// As [`take`](Self::take), for good. Does not block.
    pub(crate) fn let_expire(&self, lease: &LeaseState) {
        let (reply, _) = oneshot::channel();
        let _ = self.tell(Command::Take(lease.id.clone(), reply));
    }

    pub(crate) async fn release(&self, lease: &Arc<LeaseState>, succeeded: bool) -> Result<()> {
        let lease = Arc::clone(lease);
        self.ask(|done| Command::Release {
            lease,
            succeeded,
            done: Some(done),
        })
        .await
    }

    /// Releases a lease that was dropped. Does not block, and works outside of a runtime.
    pub(crate) fn forget(&self, lease: &Arc<LeaseState>) {
        let _ = self.tell(Command::Release {
            lease: Arc::clone(lease),
            succeeded: false,
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
        runtime.spawn(task::run(backend, Arc::clone(&self.0.clock), inbox));
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

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0
            .commands
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed() -> Error {
    Error::new(
        ErrorKind::Closed,
        "the lock client was shut down, or its runtime ended: make a new one",
    )
}
