//! Words that logs and metrics share: few of each, so that they can be labels.

use crate::lease::Loss;
use crate::{ErrorKind, WhyNot};

/// The outcome of an acquisition that got its lease.
pub(super) const ACQUIRED: &str = "acquired";

/// Of one that did not.
pub(super) fn outcome(why: WhyNot) -> &'static str {
    match why {
        WhyNot::Busy => "busy",
        WhyNot::TimedOut => "timed_out",
        WhyNot::Skipped => "skipped",
        WhyNot::Cancelled => "cancelled",
        WhyNot::Failed(kind) => error(kind),
    }
}

pub(super) fn loss(why: Loss) -> &'static str {
    match why {
        Loss::Expired => "expired",
        Loss::Evicted => "evicted",
        Loss::Shutdown => "shutdown",
        Loss::Change => "change",
    }
}

pub(super) fn error(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::WaitTimeout => "wait_timeout",
        ErrorKind::LeaseLost => "lease_lost",
        ErrorKind::InvalidInput => "invalid_input",
        ErrorKind::NotSetUp => "not_set_up",
        ErrorKind::PermissionDenied => "permission_denied",
        ErrorKind::Throttled => "throttled",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::OutcomeUnknown => "outcome_unknown",
        ErrorKind::CorruptRecord => "corrupt_record",
        ErrorKind::NotFound => "not_found",
        ErrorKind::ConditionFailed => "condition_failed",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Closed => "closed",
        ErrorKind::Other => "other",
    }
}
