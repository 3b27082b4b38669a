//! The acquisition: attempts, waits, and the last look before the lease is handed out.

mod line;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument;

use crate::backend::{
    AcquireOutcome, AcquireRequest, Contention, Grant, Occupant, Queueing, Reason, RenewOutcome,
    RenewRequest,
};
use crate::client::LockClient;
use crate::lease::{Hold, LeaseState, Loss};
use crate::plan::Plan;
use crate::record::Payload;
use crate::renewal::{Renewal, Span};
use crate::telemetry::Story;
use crate::time::Moment;
use crate::wait::{Backoff, Polls, Watch, watching};
use crate::wake::{Pace, Stand, Wake};
use crate::worker::{Held, Worker};
use crate::{Error, ErrorKind, LeaseId, Mode, Result};

/// The shortest time that is worth an attempt.
const SHORTEST: Duration = Duration::from_millis(1);

/// How an acquisition ended.
pub(crate) enum Taken<L = Hold> {
    Lease(L),
    /// The run of its slot has happened, and left this.
    Skipped(Option<Payload>),
}

/// Acquires. Contention ends in [`ErrorKind::WaitTimeout`], at once
/// if `wait` is zero: then the database is asked until it has answered.
pub(crate) async fn acquire(client: &LockClient, plan: Plan, wait: Duration) -> Result<Taken> {
    let mut story = Story::of(client, &plan.request);
    let span = story.span();
    let taken = take(client, plan, wait, &mut story).instrument(span).await;
    story.ended(&taken, !wait.is_zero());
    taken
}

async fn take(
    client: &LockClient,
    mut plan: Plan,
    wait: Duration,
    story: &mut Story,
) -> Result<Taken> {
    let inner = client.inner();
    inner.worker.start()?;
    let waits = !wait.is_zero();
    if !waits {
        plan.request.queueing = Queueing::Never;
    }
    // Who wants a lock in order of arrival expects others.
    plan.request.waiting = plan.request.queueing == Queueing::Fair;
    let length = if waits { wait } else { inner.request_timeout };
    let now = inner.clock.now();
    let length = plan
        .deadline
        .map_or(length, |end| length.min(end.left(now)));
    let budget = Span { from: now, length };
    let mut turn = if plan.takes_turns {
        Some(take_turn(client, &plan.request, wait.min(length)).await?)
    } else {
        None
    };
    Acquisition::new(client, plan, budget, waits, story)
        .run(&mut turn)
        .await
}

/// Tries to take a lease of one's own over by another mode, for `length` at most. Its `turn` moves on to the new lease.
pub(crate) async fn convert(
    client: &LockClient,
    mut plan: Plan,
    length: Duration,
    turn: &mut Option<OwnedSemaphorePermit>,
) -> Result<Option<Hold>> {
    let inner = client.inner();
    plan.request.queueing = Queueing::Never;
    let budget = Span {
        from: inner.clock.now(),
        length: length.min(inner.request_timeout),
    };
    let mut story = Story::of(client, &plan.request);
    let span = story.span();
    let taken = Acquisition::new(client, plan, budget, false, &mut story)
        .run(turn)
        .instrument(span)
        .await;
    story.ended(&taken, false);
    Ok(match taken? {
        Taken::Lease(lease) => Some(lease),
        Taken::Skipped(_) => None,
    })
}

fn renewal(plan: &Plan) -> Renewal {
    Renewal::new(plan.request.ttl.as_duration(), plan.request.margin)
}

/// Waits for other tasks of this client that use the same explicit owner.
async fn take_turn(
    client: &LockClient,
    request: &AcquireRequest,
    wait: Duration,
) -> Result<OwnedSemaphorePermit> {
    let turns = client.inner().turns(&request.key, &request.owner);
    let turn = tokio::time::timeout(wait, turns.acquire_owned()).await;
    turn.ok().and_then(Result::ok).ok_or_else(|| {
        Error::new(
            ErrorKind::WaitTimeout,
            "held by another task of this client with the same owner: wait longer, or use another owner",
        )
    })
}

struct Acquisition<'a> {
    client: &'a LockClient,
    plan: Plan,
    budget: Span,
    waits: bool,
    story: &'a mut Story,
    renewal: Renewal,
    pending: Pending,
    backoff: Backoff,
    polls: Polls,
    watch: Watch,
    /// Where the store tells of changes.
    wake: Option<Wake>,
}

/// What to do after an attempt.
enum Next {
    Done(Taken),
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

impl<'a> Acquisition<'a> {
    fn new(
        client: &'a LockClient,
        plan: Plan,
        budget: Span,
        waits: bool,
        story: &'a mut Story,
    ) -> Self {
        Self {
            client,
            budget,
            waits,
            story,
            renewal: renewal(&plan),
            pending: Pending::new(client, &plan),
            plan,
            backoff: Backoff::new(),
            polls: Polls::default(),
            watch: Watch::default(),
            wake: None,
        }
    }

    async fn run(mut self, turn: &mut Option<OwnedSemaphorePermit>) -> Result<Taken> {
        let mut last: Option<Setback> = None;
        let mut offered = self.line_up().await?;
        loop {
            let left = self.budget.left(self.now());
            if let Some(setback) = last.take_if(|_| left < SHORTEST) {
                return Err(setback.into_error());
            }
            if let Err(error) = self.plan.fit_deadline(self.now()) {
                // Others had it for so long that nothing can be done with it any more.
                return Err(last.map_or(error, Setback::into_error));
            }
            let outcome = match offered.take() {
                Some(outcome) => outcome,
                None => self.attempt(left.max(SHORTEST)).await,
            };
            self.story.answered(&outcome);
            let next = match outcome {
                Ok(AcquireOutcome::Granted(grant)) => {
                    self.answered(true);
                    self.settle(grant, turn).await?
                }
                Ok(AcquireOutcome::Queued(contention)) => self.queued(contention),
                Ok(AcquireOutcome::Held(contention)) => self.refused(contention)?,
                Ok(AcquireOutcome::Skipped(state)) => Next::Done(Taken::Skipped(state)),
                Err(error) if error.is_transient() => {
                    // An attempt that may yet arrive would take over what is held in its owner's name then.
                    self.plan.any_owner &= error.kind() != ErrorKind::OutcomeUnknown;
                    let pause = self.backoff.next(fastrand::f64());
                    // An attempt that the end of the wait cut short says less than the one before.
                    let over = self.budget.left(self.now()) < SHORTEST;
                    let setback = last.take_if(|_| over);
                    Next::Again(pause, setback.unwrap_or(Setback::Failed(error)))
                }
                Err(error) => return Err(error),
            };
            match next {
                Next::Done(taken) => return Ok(taken),
                Next::Again(pause, setback) => {
                    self.rest(pause, &setback).await;
                    last = Some(setback);
                }
            }
        }
    }

    /// Sends one attempt. It goes on without us if we are dropped or run out of time.
    async fn attempt(&mut self, left: Duration) -> Result<AcquireOutcome> {
        self.lose_patience();
        let now = self.now();
        let inner = self.client.inner();
        let request = &mut self.plan.request;
        if self.waits && self.wake.is_none() {
            self.wake = inner.backend.watch(&request.key, request.mode, false);
        }
        if let Some(wake) = &mut self.wake {
            wake.asks();
        }
        request.timeout = inner.request_timeout.min(left);
        request.watched = self.watch.dead(now);
        request.seq = self.renewal.send(now);
        self.story.asks(now);
        let ending = self.plan.ending(inner.request_timeout);
        let attempt = inner.worker.attempt(self.plan.request.clone(), ending);
        match tokio::time::timeout(left, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => Err(no_answer()),
        }
    }

    /// Waits before the next attempt, no longer than its time allows: for so long, or until the store tells that it is
    /// worth to ask.
    async fn rest(&mut self, pause: Duration, setback: &Setback) {
        let left = self.budget.left(self.now());
        let sleep = tokio::time::sleep(pause.min(left));
        let Setback::Held(contention) = setback else {
            return sleep.await;
        };
        let request = &self.plan.request;
        if contention.reason == Reason::Border || !self.waits {
            return sleep.await;
        }
        let backend = &self.client.inner().backend;
        if !self.wake.as_ref().is_some_and(Wake::is_live) {
            // It keeps its place if it has one.
            let another = backend.watch(&request.key, request.mode, true);
            let is_told = another.as_ref().is_some_and(Wake::is_live);
            if self.wake.is_none() && is_told {
                // But not of what happened since the attempt.
                self.wake = another;
                return;
            }
            self.wake = another.map(|another| self.wake.take().unwrap_or(another));
        }
        let Some(wake) = &mut self.wake else {
            return sleep.await;
        };
        let stand = if request.queued {
            Stand::InLine {
                ahead: contention.ahead,
                queue: contention.queue,
            }
        } else {
            Stand::Outside
        };
        let pace = Pace {
            blind: pause,
            watching: watching(request.queued, fastrand::f64()),
            expiry: contention.free_in,
            ttl: request.ttl.as_duration(),
        };
        // It asks once more at the end of its time.
        let _ = tokio::time::timeout(left, wake.chance(stand, pace)).await;
    }

    /// Stands in the queue, until the attempt that comes when it may be its turn.
    fn queued(&mut self, contention: Contention) -> Next {
        self.plan.request.queued = true;
        let now = self.saw(&contention);
        let mode = self.plan.request.mode;
        let pause = self.polls.in_line(&contention, mode, now, fastrand::f64());
        Next::Again(pause, Setback::Held(contention))
    }

    fn refused(&mut self, contention: Contention) -> Result<Next> {
        match contention.reason {
            Reason::Closed | Reason::Replaced => return Err(replaced()),
            // Not for others, but until it is known what to ask for: a try waits for that as well.
            Reason::Border if contention.free_in < self.budget.left(self.now()) => {
                let pause = contention.free_in.max(SHORTEST);
                return Ok(Next::Again(pause, Setback::Held(contention)));
            }
            Reason::Border | Reason::Busy | Reason::Queue => {}
        }
        if !self.waits || contention.reason == Reason::Border {
            return Err(wait_timeout(&contention));
        }
        self.answered(false);
        self.plan.request.queued = false;
        let now = self.saw(&contention);
        let pause = self.polls.outside(&contention, now, fastrand::f64());
        Ok(Next::Again(pause, Setback::Held(contention)))
    }

    /// Takes note of a refusal.
    fn saw(&mut self, contention: &Contention) -> Moment {
        let now = self.now();
        self.plan.request.waiting = true;
        self.watch.observe(contention, now);
        self.polls.observe(contention, now);
        now
    }

    /// Who is passed again and again asks in the order of arrival from now on.
    fn lose_patience(&mut self) {
        let request = &mut self.plan.request;
        let is_passed = self.wake.as_ref().is_some_and(Wake::is_passed);
        if request.queueing == Queueing::WhenNeeded
            && (is_passed || self.polls.is_passed(request.mode))
            && self.client.inner().backend.hands_over()
        {
            request.queueing = Queueing::Fair;
        }
    }

    fn answered(&mut self, granted: bool) {
        if let Some(wake) = &mut self.wake {
            wake.answered(granted);
        }
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
            let lease = self.hand_over(&grant, now, turn.take())?;
            return Ok(Next::Done(Taken::Lease(lease)));
        }
        // Whoever chose its owner to take over from it has done so: no ground to throw that one out again.
        if self.plan.takes_turns && self.renewal.deadline().is_none() {
            return Err(replaced());
        }
        // Given back by its id, so that the next attempt needs another one, and its owner no other lease.
        self.plan.any_owner = false;
        self.plan.request.id = LeaseId::random();
        self.plan.request.queued = false;
        self.renewal = renewal(&self.plan);
        self.pending = Pending::new(self.client, &self.plan);
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
        // The answer that brought the grant may have taken nearly all of the caller's time.
        let left = self.budget.left(self.now()).max(SHORTEST);
        request.timeout = request.timeout.min(left);
        let refresh = self.client.inner().worker.refresh(request);
        let refreshed = tokio::time::timeout(left, refresh).await;
        match refreshed.unwrap_or_else(|_| Err(no_answer())) {
            Ok(RenewOutcome::Renewed(validity)) => self.renewal.stands(&validity),
            Ok(RenewOutcome::Lost) => self.renewal.nothing_stands(),
            Err(error) => {
                let error = self.client.inner().telemetry.error(&error);
                tracing::debug!(%error, "a grant could not be refreshed");
            }
        }
    }

    fn hand_over(
        &mut self,
        grant: &Grant,
        granted: Moment,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Result<Hold> {
        let Some(deadline) = self.renewal.deadline() else {
            return Err(Error::new(
                ErrorKind::Other,
                "the backend named an attempt that was not sent: this is a bug of the backend",
            ));
        };
        let inner = self.client.inner();
        let mut plan = self.plan.clone();
        plan.request.timeout = inner.request_timeout;
        let granted = (grant, granted);
        let lease = Arc::new(LeaseState::new(&plan, granted, deadline, inner, turn));
        // Before anybody else can tell of its end.
        self.story.acquired(&lease, &plan.request.watched);
        let held = inner.worker.hold(Held {
            lease: Arc::clone(&lease),
            renewal: self.renewal.clone(),
            plan,
        });
        held.inspect_err(|_| lease.lose(Loss::Shutdown))?;
        Ok(Hold::new(lease, self.client.clone()))
    }

    fn now(&self) -> Moment {
        self.client.inner().clock.now()
    }
}

/// An acquisition that may hold a lock that nobody knows of, or stand in the queue: dropped before it was handed over, it
/// is given back.
struct Pending {
    worker: Worker,
    id: LeaseId,
}

impl Pending {
    fn new(client: &LockClient, plan: &Plan) -> Self {
        Self {
            worker: client.inner().worker.clone(),
            id: plan.request.id.clone(),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.worker.abandon(&self.id);
    }
}

pub(crate) fn no_answer() -> Error {
    Error::new(
        ErrorKind::OutcomeUnknown,
        "no answer in time: check that the database is reachable and has a majority",
    )
}

fn replaced() -> Error {
    Error::new(
        ErrorKind::LeaseLost,
        "another process with the same owner acquired it meanwhile: give every live process an owner of its own",
    )
}

fn wait_timeout(contention: &Contention) -> Error {
    let timeout = |message| Error::new(ErrorKind::WaitTimeout, message);
    if contention.reason == Reason::Border {
        let left = contention.free_in;
        return timeout(format!(
            "the slot begins in {left:?} by the database's time: try again then, or wait longer"
        ));
    }
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
    let how = match contention.mode {
        Mode::Exclusive => String::new(),
        Mode::Shared => " as shared".to_owned(),
        Mode::Permit { limit } => format!(" as permits of {limit}"),
    };
    let line = match contention.ahead {
        0 => String::new(),
        ahead => format!(", and {ahead} ahead in the queue"),
    };
    let how = if who.is_empty() { String::new() } else { how };
    timeout(format!(
        "still held after the wait{how}{who}{line}: wait longer, or look at it with `inspect`"
    ))
}

fn name(occupant: &Occupant) -> String {
    match (&occupant.claimant, &occupant.label) {
        (Some(claimant), Some(label)) => format!(" by `{}` ({})", claimant.owner, label.as_str()),
        (Some(claimant), None) => format!(" by `{}`", claimant.owner),
        (None, _) => " by a minimum hold".to_owned(),
    }
}
