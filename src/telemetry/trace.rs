//! Events as `tracing` shows them, by the field names of OpenTelemetry's conventions for databases where these have
//! one.

use std::time::Duration;

use tracing::Span;
use tracing::field::{Empty, display};

use super::{Telemetry, names};
use crate::backend::AcquireRequest;
use crate::lease::Loss;
use crate::{Effort, Error, ErrorKind, Event, EventKind, WhyNot};

macro_rules! event {
    ($level:ident, $operation:literal, $message:literal, $telemetry:ident, $event:ident, $($field:tt)*) => {
        tracing::$level!(
            target: "doclock",
            {
                db.system.name = $telemetry.database.system,
                db.namespace = $telemetry.database.namespace,
                db.collection.name = $telemetry.database.collection,
                db.operation.name = $operation,
                doclock.key = %$telemetry.name($event.key.as_str()),
                doclock.owner = %$telemetry.name($event.owner.as_str()),
                doclock.mode = $event.mode.name(),
                $($field)*
            },
            $message
        )
    };
}

pub(super) fn tell(telemetry: &Telemetry, event: &Event, error: Option<&Error>) {
    let text = error.map(|error| display(telemetry.error(error)));
    match &event.kind {
        EventKind::Acquired {
            token,
            effort,
            took_over,
        } => event!(
            debug,
            "acquire",
            "lock acquired",
            telemetry,
            event,
            doclock.token = token,
            doclock.wait_ms = wait_ms(effort),
            doclock.attempts = effort.attempts,
            doclock.took_over = took_over
                .as_ref()
                .map(|owner| display(telemetry.name(owner.as_str()))),
        ),
        EventKind::NotAcquired { why, effort } => event!(
            debug,
            "acquire",
            "lock not acquired",
            telemetry,
            event,
            doclock.outcome = names::outcome(*why),
            doclock.wait_ms = wait_ms(effort),
            doclock.attempts = effort.attempts,
        ),
        EventKind::RenewalFailed {
            token,
            error,
            remaining,
        } => event!(
            debug, "renew", "renewal failed, will try again", telemetry, event,
            doclock.token = token,
            doclock.remaining_ms = millis(*remaining),
            error.type = names::error(*error),
            error = text,
        ),
        EventKind::Lost { token, why, held } => {
            macro_rules! lost {
                ($level:ident) => {
                    event!(
                        $level,
                        "renew",
                        "lease lost",
                        telemetry,
                        event,
                        doclock.token = token,
                        doclock.why = names::loss(*why),
                        doclock.held_ms = millis(*held),
                    )
                };
            }
            match why {
                Loss::Shutdown => lost!(debug),
                Loss::Expired | Loss::Evicted | Loss::Change => lost!(warn),
            }
        }
        EventKind::Released { token, held } => event!(
            debug,
            "release",
            "lock released",
            telemetry,
            event,
            doclock.token = token,
            doclock.held_ms = millis(*held),
        ),
        // Whoever asked for the release is told.
        EventKind::ReleaseFailed {
            error: ErrorKind::LeaseLost,
        } => event!(
            debug, "release", "the lease was gone before it was released", telemetry, event,
            error.type = names::error(ErrorKind::LeaseLost),
        ),
        EventKind::ReleaseFailed { error } => event!(
            warn, "release", "release failed, the lock stays until it expires", telemetry, event,
            error.type = names::error(*error),
            error = text,
        ),
    }
}

/// Around an acquisition: what is not known before its end is recorded then.
pub(super) fn acquisition(telemetry: &Telemetry, request: &AcquireRequest) -> Span {
    tracing::debug_span!(
        target: "doclock",
        "doclock.acquire",
        db.system.name = telemetry.database.system,
        db.namespace = telemetry.database.namespace,
        db.collection.name = telemetry.database.collection,
        db.operation.name = "acquire",
        doclock.key = %telemetry.name(request.key.as_str()),
        doclock.owner = %telemetry.name(request.owner.as_str()),
        doclock.mode = request.mode.name(),
        doclock.outcome = Empty,
        doclock.token = Empty,
        doclock.wait_ms = Empty,
        doclock.attempts = Empty,
        error.type = Empty,
    )
}

/// The end of an acquisition, on its span.
pub(super) fn end(span: &Span, kind: &EventKind) {
    if span.is_disabled() {
        return;
    }
    let effort = match kind {
        EventKind::Acquired { token, effort, .. } => {
            span.record("doclock.outcome", names::ACQUIRED);
            span.record("doclock.token", token);
            effort
        }
        EventKind::NotAcquired { why, effort } => {
            span.record("doclock.outcome", names::outcome(*why));
            if let WhyNot::Failed(error) = why {
                span.record("error.type", names::error(*error));
            }
            effort
        }
        _ => return,
    };
    span.record("doclock.wait_ms", wait_ms(effort));
    span.record("doclock.attempts", effort.attempts);
}

fn wait_ms(effort: &Effort) -> u64 {
    millis(effort.waited)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
