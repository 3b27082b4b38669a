//! The acquisition: attempts, waits, and the last look before the lease is handed out.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use crate::backend::{
    AcquireOutcome, AcquireRequest, Contention, Grant, Occupant, Reason, ReleaseRequest,
    RenewOutcome, RenewRequest,
};
use crate::client::Inner;
use crate::lease::LeaseState;
use crate::lock::Plan;
use crate::renewal::{Renewal, Span};
use crate::time::Moment;
use crate::wait::{Backoff, Watch};
use crate::worker::{Held, Worker};
use crate::{Error, ErrorKind, Lease, LeaseId, Result};

/// The shortest time that is worth an attempt.
const SHORTEST: Duration = Duration::from_millis(1);

/// Acquires. Contention ends in [`ErrorKind::WaitTimeout`], at once if `wait` is zero: then the database is asked until
/// it has answered.
pub(crate) async fn acquire(client: &Inner, plan: Plan, wait: Duration) -> Result<Lease> {
    client.worker.start()?;
    let waits = !wait.is_zero();
    let length = if waits { wait } else { client.request_timeout };
    let now = client.clock.now();
    let length = plan
        .deadline
        .map_or(length, |end| length.min(end.left(now)));
    let budget = Span { from: now, length };
    let turn = if plan.takes_turns {
        Some(take_turn(client, &plan.request, wait.min(length)).await?)
    } else {
        None
    };
    let acquisition = Acquisition {
        client,
        budget,
        waits,
        renewal: renewal(&plan),
        pending: Pending::new(client, &plan.request),
        plan,
        backoff: Backoff::new(),
        watch: Watch::default(),
    };
    acquisition.run(turn).await
}

fn renewal(plan: &Plan) -> Renewal {
    Renewal::new(plan.request.ttl.as_duration(), plan.request.margin)
}

/// Waits for other tasks of this client that use the same explicit owner.
async fn take_turn(
    client: &Inner,
    request: &AcquireRequest,
    wait: Duration,
) -> Result<OwnedSemaphorePermit> {
    let turns = client.turns(&request.key, &request.owner);
    let turn = tokio::time::timeout(wait, turns.acquire_owned()).await;
    turn.ok().and_then(Result::ok).ok_or_else(|| {
        Error::new(
            ErrorKind::WaitTimeout,
            "held by another task of this client with the same owner: wait longer, or use another owner",
        )
    })
}

struct Acquisition<'a> {
    client: &'a Inner,
    plan: Plan,
    budget: Span,
    waits: bool,
    renewal: Renewal,
    pending: Pending,
    backoff: Backoff,
    watch: Watch,
}

/// What to do after an attempt.
enum Next {
    Done(Lease),
    /// Try again, after so long. With what to report if there is no time for it.
    Again(Duration, Setback),
}

/// Why the lock was not taken yet.
enum Setback {
    Held(Contention),
    Failed(Error),
}

impl Setback {
    fn into_error(self) -> Error {
        match self {
            Self::Held(contention) => wait_timeout(&contention),
            Self::Failed(error) => error,
        }
    }
}

impl Acquisition<'_> {
    async fn run(mut self, mut turn: Option<OwnedSemaphorePermit>) -> Result<Lease> {
        let mut last: Option<Setback> = None;
        loop {
            let left = self.budget.left(self.now());
            if let Some(setback) = last.take_if(|_| left < SHORTEST) {
                return Err(setback.into_error());
            }
            let next = match self.attempt(left.max(SHORTEST)).await {
                Ok(AcquireOutcome::Granted(grant)) => self.settle(grant, &mut turn).await?,
                Ok(AcquireOutcome::Held(contention)) => self.refused(contention)?,
                Err(error) if error.is_transient() => {
                    let pause = self.backoff.next(fastrand::f64());
                    // An attempt that the end of the wait cut short says less than the one before.
                    let over = self.budget.left(self.now()) < SHORTEST;
                    let setback = last.take_if(|_| over);
                    Next::Again(pause, setback.unwrap_or(Setback::Failed(error)))
                }
                Err(error) => return Err(error),
            };
            match next {
                Next::Done(lease) => return Ok(lease),
                Next::Again(pause, setback) => {
                    let left = self.budget.left(self.now());
                    tokio::time::sleep(pause.min(left)).await;
                    last = Some(setback);
                }
            }
        }
    }

    /// Sends one attempt. It goes on without us if we are dropped or run out of time.
    async fn attempt(&mut self, left: Duration) -> Result<AcquireOutcome> {
        let now = self.now();
        self.plan.fit_deadline(now)?;
        let request = &mut self.plan.request;
        request.timeout = self.client.request_timeout.min(left);
        request.watched = self.watch.dead(now);
        request.seq = self.renewal.send(now);
        let attempt = self.client.worker.attempt(request.clone());
        let may_have_held = std::mem::replace(&mut self.pending.may_hold, true);
        let outcome = match tokio::time::timeout(left, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::new(
                ErrorKind::OutcomeUnknown,
                "no answer in time: check that the database is reachable and has a majority",
            )),
        };
        self.pending.may_hold = match &outcome {
            Ok(AcquireOutcome::Granted(_)) => true,
            Ok(AcquireOutcome::Held(_)) => false,
            // What failed for certain says nothing of an earlier attempt whose answer got lost.
            Err(error) => may_have_held || error.kind() == ErrorKind::OutcomeUnknown,
        };
        outcome
    }

    fn refused(&mut self, contention: Contention) -> Result<Next> {
        match contention.reason {
            Reason::Closed | Reason::Replaced => return Err(replaced()),
            Reason::Busy | Reason::Queue => {}
        }
        if !self.waits {
            return Err(wait_timeout(&contention));
        }
        self.plan.request.waiting = true;
        self.watch.observe(&contention, self.now());
        let pause = self.backoff.next_after(&contention, fastrand::f64());
        Ok(Next::Again(pause, Setback::Held(contention)))
    }

    /// Turns a grant into a lease. Looks last whether it still is one: answers may have taken long.
    async fn settle(
        &mut self,
        grant: Grant,
        turn: &mut Option<OwnedSemaphorePermit>,
    ) -> Result<Next> {
        let now = self.now();
        self.plan.cap(&mut self.renewal, now);
        self.renewal.stands(&grant.validity);
        if grant.validity.refresh || self.renewal.is_nearly_spent(self.now()) {
            self.refresh(grant).await;
        }
        if !self.renewal.left(self.now()).is_zero() {
            return self.hand_over(grant.token, turn.take()).map(Next::Done);
        }
        // Given back by its id, so that the next attempt needs another one.
        self.plan.request.id = LeaseId::random();
        self.renewal = renewal(&self.plan);
        self.pending = Pending::new(self.client, &self.plan.request);
        let spent = Error::new(
            ErrorKind::OutcomeUnknown,
            "the lock was granted, but its time was over when the answer came: use a longer ttl",
        );
        Ok(Next::Again(Duration::ZERO, Setback::Failed(spent)))
    }

    /// Renews a grant that is not handed out yet. Whatever comes of it shows in what is left of the lease.
    async fn refresh(&mut self, grant: Grant) {
        let seq = self.renewal.send(self.now());
        let mut request = RenewRequest::new(&self.plan.request, grant.token, seq);
        request.restamp = grant.validity.refresh;
        match self.client.worker.refresh(request).await {
            Ok(RenewOutcome::Renewed(validity)) => self.renewal.stands(&validity),
            Ok(RenewOutcome::Lost) => self.renewal.nothing_stands(),
            Err(error) => tracing::debug!(%error, "a grant could not be refreshed"),
        }
    }

    fn hand_over(&mut self, token: u64, turn: Option<OwnedSemaphorePermit>) -> Result<Lease> {
        let request = &self.plan.request;
        let Some(deadline) = self.renewal.deadline() else {
            return Err(Error::new(
                ErrorKind::Other,
                "the backend named an attempt that was not sent: this is a bug of the backend",
            ));
        };
        let clock = Arc::clone(&self.client.clock);
        let lease = Arc::new(LeaseState::new(request, token, deadline, clock, turn));
        self.client.worker.hold(Held {
            lease: Arc::clone(&lease),
            renewal: self.renewal.clone(),
            request: AcquireRequest {
                timeout: self.client.request_timeout,
                ..request.clone()
            },
            automatic: self.plan.automatic,
        })?;
        self.pending.may_hold = false;
        Ok(Lease::new(lease, self.client.worker.clone()))
    }

    fn now(&self) -> Moment {
        self.client.clock.now()
    }
}

/// An acquisition that may hold a lock that nobody knows of: dropped as such, it is released.
struct Pending {
    may_hold: bool,
    worker: Worker,
    release: ReleaseRequest,
}

impl Pending {
    fn new(client: &Inner, request: &AcquireRequest) -> Self {
        let mut release = ReleaseRequest::new(&request.key, &request.owner, &request.id);
        release.timeout = client.request_timeout;
        Self {
            may_hold: false,
            worker: client.worker.clone(),
            release,
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.may_hold {
            self.worker.abandon(self.release.clone());
        }
    }
}

fn replaced() -> Error {
    Error::new(
        ErrorKind::LeaseLost,
        "another process with the same owner acquired it meanwhile: give every live process an owner of its own",
    )
}

fn wait_timeout(contention: &Contention) -> Error {
    let who = match contention.occupants.as_slice() {
        [] => String::new(),
        [first, others @ ..] => {
            let more = match others.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let left = first.expires_in;
            format!(
                "{}{more}, which expires in {left:?} unless renewed",
                name(first)
            )
        }
    };
    Error::new(
        ErrorKind::WaitTimeout,
        format!("still held after the wait{who}: wait longer, or look at it with `inspect`"),
    )
}

fn name(occupant: &Occupant) -> String {
    match (&occupant.claimant, &occupant.label) {
        (Some(claimant), Some(label)) => format!(" by `{}` ({})", claimant.owner, label.as_str()),
        (Some(claimant), None) => format!(" by `{}`", claimant.owner),
        (None, _) => " by a minimum hold".to_owned(),
    }
}
