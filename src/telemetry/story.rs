//! An acquisition, from its begin until it is told how it ended.

use std::sync::Arc;

use tracing::Span;

use super::{Telemetry, trace};
use crate::acquire::Taken;
use crate::backend::{AcquireOutcome, AcquireRequest, Contention, Reason, Watched};
use crate::client::LockClient;
use crate::lease::LeaseState;
use crate::renewal;
use crate::time::{Clock, Moment};
use crate::{Effort, ErrorKind, Event, EventKind, Key, LeaseId, Mode, Owner, Result, WhyNot};

/// What is told of an acquisition in the end. Dropped before, it was cancelled.
pub(crate) struct Story {
    telemetry: Arc<Telemetry>,
    clock: Arc<dyn Clock>,
    span: Span,
    key: Key,
    owner: Owner,
    mode: Mode,
    began: Moment,
    /// When the last request was sent.
    asked: Option<Moment>,
    attempts: u32,
    refusals: u32,
    /// Of those in the way at the last refusal, whoever is the first to run out.
    in_the_way: Option<InTheWay>,
    is_over: bool,
}

struct InTheWay {
    id: LeaseId,
    owner: Owner,
    /// Its time, unless it renews.
    rest: renewal::Span,
}

impl Story {
    pub(crate) fn of(client: &LockClient, request: &AcquireRequest) -> Self {
        let inner = client.inner();
        let now = inner.clock.now();
        Self {
            span: trace::acquisition(&inner.telemetry, request),
            telemetry: Arc::clone(&inner.telemetry),
            clock: Arc::clone(&inner.clock),
            key: request.key.clone(),
            owner: request.owner.clone(),
            mode: request.mode,
            began: now,
            asked: None,
            attempts: 0,
            refusals: 0,
            in_the_way: None,
            is_over: false,
        }
    }

    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// A request is sent.
    pub(crate) fn asks(&mut self, now: Moment) {
        self.attempts += 1;
        self.asked = Some(now);
    }

    pub(crate) fn answered(&mut self, outcome: &Result<AcquireOutcome>) {
        let Ok(AcquireOutcome::Queued(refusal) | AcquireOutcome::Held(refusal)) = outcome else {
            return;
        };
        if refusal.reason != Reason::Border {
            self.refusals += 1;
            self.in_the_way = InTheWay::first(refusal, self.clock.now());
        }
    }

    /// It is granted, by a request that named those as dead.
    pub(crate) fn acquired(&mut self, lease: &LeaseState, watched: &[Watched]) {
        let asked = self.asked.unwrap_or(self.began);
        let other = self.in_the_way.take();
        let other = other.filter(|other| other.is_gone(asked, watched));
        // The name of another task's lease, if that was handed on.
        self.owner = lease.owner.clone();
        self.end(EventKind::Acquired {
            token: lease.token,
            effort: self.effort(),
            took_over: other.map(|other| other.owner),
        });
    }

    /// It ended, unless that was told already. `waits`: others were to be waited for.
    pub(crate) fn ended(mut self, taken: &Result<Taken>, waits: bool) {
        let why = match taken {
            Ok(Taken::Lease(_)) => return,
            Ok(Taken::Skipped(_)) => WhyNot::Skipped,
            Err(error) => match error.kind() {
                ErrorKind::WaitTimeout if waits => WhyNot::TimedOut,
                ErrorKind::WaitTimeout => WhyNot::Busy,
                kind => WhyNot::Failed(kind),
            },
        };
        self.not_acquired(why);
    }

    fn not_acquired(&mut self, why: WhyNot) {
        let effort = self.effort();
        self.end(EventKind::NotAcquired { why, effort });
    }

    fn effort(&self) -> Effort {
        let now = self.clock.now();
        let asked = self.asked.unwrap_or(now);
        Effort {
            took: now.at_least_since(self.began),
            waited: asked.at_least_since(self.began),
            attempts: self.attempts,
            refusals: self.refusals,
        }
    }

    fn end(&mut self, kind: EventKind) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        trace::end(&self.span, &kind);
        let event = Event {
            key: self.key.clone(),
            owner: self.owner.clone(),
            mode: self.mode,
            kind,
        };
        self.span.in_scope(|| self.telemetry.tell(&event, None));
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if !self.is_over {
            self.not_acquired(WhyNot::Cancelled);
        }
    }
}

impl InTheWay {
    fn first(refusal: &Contention, now: Moment) -> Option<Self> {
        let first = refusal
            .occupants
            .iter()
            .min_by_key(|occupant| occupant.expires_in)?;
        let claimant = first.claimant.as_ref()?;
        Some(Self {
            id: claimant.id.clone(),
            owner: claimant.owner.clone(),
            rest: renewal::Span {
                from: now,
                length: first.expires_in,
            },
        })
    }

    /// Whether a later request that was granted met it as dead, rather than released.
    fn is_gone(&self, asked: Moment, watched: &[Watched]) -> bool {
        self.rest.left(asked).is_zero() || watched.iter().any(|dead| dead.id == self.id)
    }
}
