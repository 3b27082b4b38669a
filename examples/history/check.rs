//! Judges a history: whether the invariants of a lock held in it, by what its clients saw.
//!
//! Every judgement is sound: a client that is paused, or writes down late what it saw, is never blamed for it. So an event's
//! time counts in the direction that acquits: what was asked for began no earlier, what was answered was over no later.
//! What only the database can know (the order of a queue, a record's own expiry) is not judged here.

mod liveness;
mod lives;
mod report;
mod safety;
#[cfg(test)]
mod tests;

use super::{Event, What};
use lives::History;
pub(crate) use report::Report;

/// What the world of a history promises, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How long after a dead holder's ttl, or after a release, the next grant may take while all is well: what is not known
    /// of the time, a poll, and a few requests.
    pub(crate) uncertainty: u64,
    /// How much later than its own wait an acquisition may end.
    pub(crate) grace: u64,
    /// How long an acquisition may take that does not wait: its request's timeout.
    pub(crate) attempt: u64,
}

/// Judges `events`, in any order: those of one instant are taken in the order in which they stand.
pub(crate) fn check(events: &[Event], bounds: &Bounds) -> Report {
    let mut events: Vec<&Event> = events.iter().collect();
    events.sort_by_key(|event| event.at);
    let history = History::new(&events);
    let mut report = Report::default();
    count(&events, &mut report);
    safety::writes(&events, &mut report);
    safety::foreign(&events, &mut report);
    for key in history.keys.values() {
        safety::tokens(&history, key, &mut report);
        safety::conflicts(&history, key, &mut report);
        safety::permits(&history, key, &mut report);
        safety::takeovers(&history, key, bounds, &mut report);
        liveness::gaps(&history, key, bounds, &mut report);
    }
    for life in &history.lives {
        safety::announcements(&history, life, &mut report);
        liveness::wait(&history, life, bounds, &mut report);
    }
    report
}

fn count(events: &[&Event], report: &mut Report) {
    for event in events {
        match &event.what {
            What::Granted { .. } => report.grants += 1,
            What::Released { ok: true, .. } => report.releases += 1,
            What::Lost { .. } => report.lost += 1,
            What::Crashed => report.crashes += 1,
            What::Paused => report.pauses += 1,
            What::Fault { name } => *report.faults.entry(name.clone()).or_default() += 1,
            _ => {}
        }
    }
}
