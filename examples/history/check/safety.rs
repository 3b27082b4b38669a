//! What must never happen.

use std::collections::HashMap;

use super::Bounds;
use super::lives::{Grant, History, Life};
use super::report::{Report, Takeover};
use crate::history::{Event, Side, What};

/// How a lease says that its record does not have it any more, and not just that its own time is over.
const GONE: &str = "gone from the database";

/// I1 and the control, by what the resources accepted in their own order.
pub(super) fn writes(events: &[&Event], report: &mut Report) {
    let mut newest: HashMap<(&str, bool), (u64, &Event)> = HashMap::new();
    for event in events {
        let What::Write {
            key,
            token,
            fenced,
            accepted: true,
        } = &event.what
        else {
            continue;
        };
        let (highest, by) = newest.entry((key, *fenced)).or_insert((*token, event));
        if token >= highest {
            (*highest, *by) = (*token, event);
        } else if *fenced {
            let sentence = "a fenced resource accepted an older token after a newer one";
            report.violate("I1", sentence, &[by, event]);
        } else {
            report.control += 1;
        }
    }
}

/// I13, by those who put the record there.
pub(super) fn foreign(events: &[&Event], report: &mut Report) {
    let touched = |event: &&&Event| {
        matches!(
            event.what,
            What::Foreign {
                untouched: false,
                ..
            }
        )
    };
    for event in events.iter().filter(touched) {
        report.violate("I13", "a record that is not ours was changed", &[event]);
    }
}

/// I2: no token twice, and who asks after a grant was answered gets a greater one.
pub(super) fn tokens(history: &History, key: &[usize], report: &mut Report) {
    let mut grants = history.granted(key);
    grants.sort_by_key(|grant| grant.token);
    for pair in grants.windows(2) {
        if let [one, other] = pair
            && one.token == other.token
        {
            let events = [one.event, other.event];
            report.violate("I2", "a token was issued twice", &events);
        }
    }
    let mut answered = grants.clone();
    answered.sort_by_key(|grant| grant.event.at);
    grants.sort_by_key(|grant| grant.life.asked.at);
    let mut answered = answered.into_iter().peekable();
    let mut newest: Option<Grant> = None;
    for grant in grants {
        while let Some(before) = answered.next_if(|it| it.event.at < grant.life.asked.at) {
            newest = newest
                .filter(|it| it.token >= before.token)
                .or(Some(before));
        }
        if let Some(before) = newest.filter(|it| it.token > grant.token) {
            let events = [before.event, grant.life.asked, grant.event];
            report.violate("I2", "a later grant has an older token", &events);
        }
    }
}

/// I3, I4, I10, I12: once a grant was answered, no lease with an older token that it stands against is held, announced
/// to be, renewed, or released as if it were.
pub(super) fn conflicts(history: &History, key: &[usize], report: &mut Report) {
    let mut grants = history.granted(key);
    grants.sort_by_key(|grant| std::cmp::Reverse(grant.token));
    let mut later: [Earliest; 3] = Default::default();
    for grant in grants {
        let against = match grant.life.side {
            Side::Exclusive => later.as_slice(),
            Side::Shared => &[later[0], later[2]],
            Side::Permit { .. } => &later[..2],
        };
        let first = against.iter().filter_map(|it| it.against(grant.life));
        if let Some(first) = first.min_by_key(|it| it.event.at) {
            conflict(grant, first, report);
        }
        later[kind(grant.life.side)].note(grant);
    }
}

fn conflict(older: Grant, newer: Grant, report: &mut Report) {
    let (at, life) = (newer.event.at, older.life);
    if let Some((held, _)) = life.claim().filter(|(_, until)| *until > at) {
        let both = (life.side, newer.life.side);
        let (invariant, sentence) = match (held.since > at, both) {
            (true, (Side::Exclusive, Side::Exclusive)) => {
                ("I3", "two hold an exclusive lease at once")
            }
            (true, _) => ("I10", "leases that exclude each other are held at once"),
            (false, _) => (
                "I12",
                "a lease was taken over before the end that it had announced",
            ),
        };
        report.violate(invariant, sentence, &[older.event, held.event, newer.event]);
    }
    if let Some((renewed, _)) = life.renewed.iter().find(|(_, since)| *since > at) {
        let events = [older.event, newer.event, renewed];
        report.violate("I4", "a lease was renewed after it was taken over", &events);
    }
    if let (Some(asked), Some((released, true))) = (life.release, life.released)
        && asked.at > at
    {
        let events = [older.event, newer.event, asked, released];
        let sentence = "a lease was released as if held after it was taken over";
        report.violate("I4", sentence, &events);
    }
}

fn kind(side: Side) -> usize {
    match side {
        Side::Exclusive => 0,
        Side::Shared => 1,
        Side::Permit { .. } => 2,
    }
}

/// The grant that was answered first, and the first of another owner than that one's.
#[derive(Clone, Copy, Default)]
struct Earliest<'h, 'a> {
    first: Option<Grant<'h, 'a>>,
    other: Option<Grant<'h, 'a>>,
}

impl<'h, 'a> Earliest<'h, 'a> {
    fn note(&mut self, grant: Grant<'h, 'a>) {
        let same_owner = |it: Grant| it.life.same_owner(grant.life);
        let is_first = self.first.is_none_or(|it| grant.event.at < it.event.at);
        if is_first {
            let other = self.first.filter(|it| !same_owner(*it));
            (self.first, self.other) = (Some(grant), other.or(self.other));
        } else if !self.first.is_some_and(same_owner)
            && self.other.is_none_or(|it| grant.event.at < it.event.at)
        {
            self.other = Some(grant);
        }
    }

    fn against(&self, life: &Life) -> Option<Grant<'h, 'a>> {
        let not_own = |it: &Grant| !it.life.same_owner(life);
        self.first.filter(not_own).or(self.other.filter(not_own))
    }
}

/// I10 for permits: when a grant is answered, all that announced to be held at that instant were granted before the
/// newest of them, whose limit ruled then.
pub(super) fn permits(history: &History, key: &[usize], report: &mut Report) {
    let mut grants = history.granted(key);
    grants.retain(|it| matches!(it.life.side, Side::Permit { .. }));
    grants.sort_by_key(|grant| grant.event.at);
    let mut held: Vec<Grant> = Vec::new();
    for grant in grants {
        let until = |it: &Grant| it.life.claim().map_or(0, |(_, until)| until);
        held.retain(|it| until(it) > grant.event.at && !it.life.same_owner(grant.life));
        let newest = held.iter().chain([&grant]).max_by_key(|it| it.token);
        let Some((Side::Permit { limit }, newest)) = newest.map(|it| (it.life.side, *it)) else {
            continue;
        };
        let is_held = until(&grant) > grant.event.at;
        if is_held || newest.token == grant.token {
            held.push(grant);
        }
        if held.len() > limit as usize {
            let events: Vec<_> = held
                .iter()
                .map(|it| it.event)
                .chain([newest.event])
                .collect();
            report.violate("I10", "more permits are held than there are", &events);
        }
    }
}

/// Who took over what was never given back; witnesses, not violations.
pub(super) fn takeovers(history: &History, key: &[usize], bounds: &Bounds, report: &mut Report) {
    let mut grants = history.granted(key);
    grants.sort_by_key(|grant| grant.token);
    for pair in grants.windows(2) {
        let [before, next] = pair else { continue };
        let side_by_side =
            kind(before.life.side) == kind(next.life.side) && before.life.side != Side::Exclusive;
        if side_by_side || before.life.release.is_some() || before.life.same_owner(next.life) {
            continue;
        }
        report.takeovers += 1;
        let (ttl, at) = (before.life.ttl, next.event.at);
        let age = at.saturating_sub(history.client_of(next.life).born);
        report.young_takeovers += u64::from(age < ttl);
        let holder = history.client_of(before.life);
        let stops = holder.pauses.iter().map(|(pause, _)| *pause);
        let stops = stops.chain(holder.crashed).map(|stop| stop.at);
        let since = stops
            .filter(|stop| (before.event.at..at).contains(stop))
            .min();
        if let Some(since) = since {
            let delay = at - since.max(next.life.asked.at);
            let bound = ttl.saturating_add(bounds.uncertainty);
            let worst = report.worst_takeover.filter(|it| it.delay >= delay);
            report.worst_takeover = worst.or(Some(Takeover { delay, bound }));
        }
    }
}

/// I3, I5, I12, of one lease: it is announced for no longer than its ttl, is not held once it was lost or given back, and
/// is not gone before its time.
pub(super) fn announcements(history: &History, life: &Life, report: &mut Report) {
    for held in &life.held {
        if held.remaining > life.ttl {
            let sentence = "a lease announced more than its ttl";
            report.violate("I12", sentence, &[life.asked, held.event]);
        }
        for over in [life.lost, life.release].into_iter().flatten() {
            if held.since > over.at {
                let sentence = "a lease was held again after it had ended";
                report.violate("I3", sentence, &[over, held.event]);
            }
        }
    }
    let Some((lost, announced)) = life.lost.zip(life.held.iter().max_by_key(|it| it.until()))
    else {
        return;
    };
    let What::Lost { message, .. } = &lost.what else {
        return;
    };
    let is_early = message.contains(GONE) && lost.at < announced.until();
    if is_early && !is_explained(history, life, report) {
        let sentence = "a lease was gone from its record before the end that it had announced";
        report.violate("I5", sentence, &[announced.event, lost]);
    }
}

/// By the next lease of its owner, or by an operator.
fn is_explained(history: &History, life: &Life, report: &Report) -> bool {
    let What::Acquire { key, .. } = &life.asked.what else {
        return false;
    };
    let of_key = history.keys.get(key.as_str());
    let mut others = of_key.into_iter().flat_map(|key| history.of(key));
    others.any(|it| it.same_owner(life) && !std::ptr::eq(it, life))
        || report.faults.keys().any(|name| name.starts_with("force"))
}
