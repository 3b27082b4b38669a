//! Events as metrics. Labels take few values each: never a key or an owner.

use std::time::Duration;

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use super::names;
use crate::{Effort, ErrorKind, Event, EventKind, Loss, Mode};

const ACQUIRE_DURATION: &str = "doclock_acquire_duration_seconds";
const WAIT_DURATION: &str = "doclock_wait_duration_seconds";
const REFUSALS: &str = "doclock_refusals_total";
const TAKEOVERS: &str = "doclock_takeovers_total";
const LEASES_HELD: &str = "doclock_leases_held";
const HOLD_DURATION: &str = "doclock_hold_duration_seconds";
const RENEWAL_FAILURES: &str = "doclock_renewal_failures_total";
const LEASES_LOST: &str = "doclock_leases_lost_total";
const RELEASE_FAILURES: &str = "doclock_release_failures_total";

/// Makes them known to the recorder that is installed now.
pub(super) fn announce(backend: &'static str) {
    describe();
    // Who watches for an increase does not see one in a counter that begins with it.
    for mode in [Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 1 }] {
        for why in [Loss::Expired, Loss::Evicted, Loss::Shutdown, Loss::Change] {
            lost(backend, mode, why, 0);
        }
    }
}

fn describe() {
    let seconds = |name: &'static str, what: &'static str| {
        describe_histogram!(name, Unit::Seconds, what);
    };
    let count = |name: &'static str, what: &'static str| {
        describe_counter!(name, Unit::Count, what);
    };
    seconds(
        ACQUIRE_DURATION,
        "How long acquisitions took in all, by their outcome.",
    );
    seconds(
        WAIT_DURATION,
        "How much of it was over when the last request was sent: the wait for others.",
    );
    count(
        REFUSALS,
        "Requests for a lock that were refused because others hold it or queue for it.",
    );
    count(
        TAKEOVERS,
        "Locks taken over from a holder that let its lease run out.",
    );
    describe_gauge!(LEASES_HELD, Unit::Count, "Leases that are held.");
    seconds(
        HOLD_DURATION,
        "How long leases were held that were released or lost.",
    );
    count(RENEWAL_FAILURES, "Renewals that failed.");
    count(LEASES_LOST, "Leases that were lost.");
    count(
        RELEASE_FAILURES,
        "Releases that the database did not confirm.",
    );
}

fn lost(backend: &'static str, mode: Mode, why: Loss, times: u64) {
    counter!(LEASES_LOST, "backend" => backend, "mode" => mode.name(), "why" => names::loss(why))
        .increment(times);
}

pub(super) fn tell(backend: &'static str, event: &Event) {
    let mode = event.mode.name();
    let failed = |name: &'static str, error: ErrorKind| {
        let error = names::error(error);
        counter!(name, "backend" => backend, "mode" => mode, "error_type" => error).increment(1);
    };
    let held = gauge!(LEASES_HELD, "backend" => backend, "mode" => mode);
    let ended = |after: Duration| {
        held.decrement(1.0);
        histogram!(HOLD_DURATION, "backend" => backend, "mode" => mode).record(after);
    };
    let asked = |effort: &Effort, outcome: &'static str| {
        histogram!(ACQUIRE_DURATION, "backend" => backend, "mode" => mode, "outcome" => outcome)
            .record(effort.took);
        histogram!(WAIT_DURATION, "backend" => backend, "mode" => mode, "outcome" => outcome)
            .record(effort.waited);
        counter!(REFUSALS, "backend" => backend, "mode" => mode).increment(effort.refusals.into());
    };
    match &event.kind {
        EventKind::Acquired {
            effort, took_over, ..
        } => {
            asked(effort, names::ACQUIRED);
            held.increment(1.0);
            counter!(TAKEOVERS, "backend" => backend, "mode" => mode)
                .increment(took_over.is_some().into());
        }
        EventKind::NotAcquired { why, effort } => asked(effort, names::outcome(*why)),
        EventKind::RenewalFailed { error, .. } => failed(RENEWAL_FAILURES, *error),
        EventKind::Lost { why, held, .. } => {
            ended(*held);
            lost(backend, event.mode, *why, 1);
        }
        EventKind::Released { held, .. } => ended(*held),
        EventKind::ReleaseFailed { error } => failed(RELEASE_FAILURES, *error),
    }
}
