//! The end of a lease, or of an acquisition that nobody wants any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::backend::{Backend, ReleaseOutcome, ReleaseRequest};
use crate::lease::{End, LeaseState};
use crate::renewal::Span;
use crate::telemetry::Telemetry;
use crate::time::{Clock, Moment};
use crate::wait::Backoff;
use crate::{Error, ErrorKind, Result};

/// A lease or an acquisition that ends.
pub(super) struct Leaving {
    pub(super) request: ReleaseRequest,
    /// What is left of it.
    pub(super) left: Duration,
    /// The lease that it was until now: neither lost before, nor never handed out.
    pub(super) lease: Option<Arc<LeaseState>>,
    /// It may have ended already, by a request whose answer got lost.
    pub(super) unknown: bool,
    /// Who waits for it, and whether the lease was lost before.
    pub(super) done: Option<(oneshot::Sender<Result<()>>, Result<()>)>,
}

impl Leaving {
    /// Nobody waits for the end of it.
    pub(super) fn unnoticed(request: ReleaseRequest) -> Self {
        Self {
            request,
            left: Duration::ZERO,
            lease: None,
            unknown: false,
            done: None,
        }
    }

    /// A lease that ends without its holder's asking.
    pub(super) fn of(lease: &Arc<LeaseState>, now: Moment) -> Self {
        Self {
            lease: Some(Arc::clone(lease)),
            ..Self::unnoticed(lease.ending(now, End::default()))
        }
    }

    pub(super) fn answer(self, result: Result<()>) {
        if let Some((done, before)) = self.done {
            let _ = done.send(before.and(result));
        }
    }

    /// Tells that it could not be released.
    pub(super) fn failed(&self, telemetry: &Telemetry, error: &Error) {
        if let Some(lease) = &self.lease {
            return lease.release_failed(error);
        }
        // Nobody knows whether it held at all: it may be gone.
        if error.kind() != ErrorKind::LeaseLost {
            tracing::warn!(
                doclock.key = %telemetry.name(self.request.key.as_str()), error = %telemetry.error(error),
                "what was given up could not be released, the lock may stay until it expires"
            );
        }
    }

    /// Releases, trying again for as long as the lease would live, and at least as long as one request may take.
    pub(super) async fn release(&self, backend: &dyn Backend, clock: &dyn Clock) -> Result<()> {
        let (request, mut unknown) = (&self.request, self.unknown);
        let span = Span {
            from: clock.now(),
            length: self.left.max(request.timeout),
        };
        let mut backoff = Backoff::new();
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
