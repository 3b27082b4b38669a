//! What must happen in time, where that can be told for certain: while the servers are well.

use super::Bounds;
use super::lives::{History, Life};
use super::report::Report;
use crate::history::Event;

/// How long a place in the queue stays without its waiter.
const PLACE: u64 = 6_000_000_000;

/// When something may be in the way of those who wait for a key, and what ended it.
#[derive(Clone, Copy)]
struct Block<'a> {
    from: u64,
    until: u64,
    by: Option<(&'a Event, Why)>,
}

#[derive(Clone, Copy)]
enum Why {
    Released,
    GivenUp,
    Stopped,
}

impl Why {
    fn judged(self) -> (&'static str, &'static str) {
        match self {
            Self::Released => ("I6", "nobody got a lock in time after its release"),
            Self::GivenUp => (
                "I7",
                "nobody got a lock in time after an acquisition was given up",
            ),
            Self::Stopped => ("I8", "nobody got a lock in time after its holder stopped"),
        }
    }
}

/// I6, I7, I8: while somebody waits, and nobody else holds or may still stand in the record, the next grant comes within
/// the uncertainty. A holder that stopped is in the way for its ttl, a waiter for as long as its place stands.
pub(super) fn gaps(history: &History, key: &[usize], bounds: &Bounds, report: &mut Report) {
    let mut blocks = Vec::new();
    for life in history.of(key) {
        block(history, life, &mut blocks);
    }
    blocks.sort_by_key(|block| block.from);
    let gaps = between(&blocks, bounds.uncertainty);
    let ttl = history.of(key).map(|life| life.ttl).max().unwrap_or(0);
    for life in history.of(key).filter(|life| life.wait > 0) {
        let client = history.client_of(life);
        let end = life.granted.map(|(event, _)| event).or(life.ended);
        let end = end.or(client.crashed).map_or(client.last, |end| end.at);
        for (from, until) in awake(history, life, end) {
            for (start, stop) in &history.well {
                // What went wrong before may stand in the record for so long.
                let settled = start.saturating_add(if *start == 0 { 0 } else { ttl.max(PLACE) });
                let waits = (from.max(settled), until.min(*stop));
                overlap(&gaps, waits, life, bounds, report);
            }
        }
    }
}

fn overlap(
    gaps: &[Block],
    (from, until): (u64, u64),
    life: &Life,
    bounds: &Bounds,
    report: &mut Report,
) {
    let enough = from.saturating_add(bounds.uncertainty);
    let first = gaps.partition_point(|gap| gap.until <= enough);
    let Some(gap) = gaps.get(first) else { return };
    if gap.from.max(from).saturating_add(bounds.uncertainty) < until {
        let why = gap.by.map_or(Why::Released, |(_, why)| why);
        let (invariant, sentence) = why.judged();
        let end = life.granted.map(|(event, _)| event).or(life.ended);
        let events = gap.by.map(|(event, _)| event).into_iter();
        let events: Vec<_> = events.chain([life.asked]).chain(end).collect();
        report.violate(invariant, sentence, &events);
    }
}

/// The time between the blocks, where it is longer than `longer`.
fn between<'a>(blocks: &[Block<'a>], longer: u64) -> Vec<Block<'a>> {
    let mut gaps = Vec::new();
    let mut free = Block {
        from: 0,
        until: u64::MAX,
        by: None,
    };
    for block in blocks {
        if block.from > free.from.saturating_add(longer) {
            gaps.push(Block {
                until: block.from,
                ..free
            });
        }
        if block.until > free.from {
            free = Block {
                from: block.until,
                until: u64::MAX,
                by: block.by,
            };
        }
    }
    gaps.push(free);
    gaps
}

/// When this acquisition is in the way of others: while it holds, and for a while when it ends or its client stops. A
/// waiter that is awake is not: its own turn would do as well.
fn block<'a>(history: &History<'a>, life: &Life<'a>, blocks: &mut Vec<Block<'a>>) {
    let client = history.client_of(life);
    let released = life.released.filter(|(_, ok)| *ok).map(|(event, _)| event);
    let given_up = [life.ended, life.lost, life.release, client.crashed];
    let given_up = given_up.into_iter().flatten().min_by_key(|end| end.at);
    let over = released.or(given_up);
    let mut from = life.asked.at;
    let stops = client.pauses.iter().map(|(pause, _)| *pause);
    let stops = stops.filter(|stop| over.is_none_or(|over| stop.at < over.at));
    for stop in stops.filter(|stop| stop.at > life.asked.at).chain(over) {
        let granted = life.granted.filter(|(event, _)| event.at <= stop.at);
        let stays = if granted.is_some() {
            life.ttl
        } else {
            life.ttl.max(PLACE)
        };
        let is_released = released.is_some_and(|it| std::ptr::eq(it, stop));
        let is_pause = client.pauses.iter().any(|(it, _)| std::ptr::eq(*it, stop));
        let why = match (is_released, is_pause || client.crashed == Some(stop)) {
            (true, _) => Why::Released,
            (_, true) => Why::Stopped,
            _ => Why::GivenUp,
        };
        blocks.push(Block {
            from: granted.map_or(stop.at, |(event, _)| event.at.max(from)),
            until: stop.at.saturating_add(if is_released { 0 } else { stays }),
            by: Some((stop, why)),
        });
        // One that never goes on is in nobody's way any more.
        let pause = client.pauses.iter().find(|(it, _)| std::ptr::eq(*it, stop));
        let Some(resumed) = pause.and_then(|(_, end)| *end) else {
            return;
        };
        from = resumed;
    }
    if let (None, Some((granted, _))) = (over, life.granted) {
        blocks.push(Block {
            from: granted.at.max(from),
            until: u64::MAX,
            by: None,
        });
    }
}

/// When the client was not paused, from the ask to `end`.
fn awake(history: &History, life: &Life, end: u64) -> Vec<(u64, u64)> {
    let mut from = life.asked.at;
    let mut awake = Vec::new();
    for (pause, resumed) in &history.client_of(life).pauses {
        let resumed = resumed.unwrap_or(u64::MAX);
        if resumed > from && pause.at < end {
            awake.push((from, pause.at));
            from = resumed;
        }
    }
    awake.push((from, end));
    awake.retain(|(from, until)| from < until);
    awake
}

/// No acquisition ends later than its own wait, less what its client was paused.
pub(super) fn wait(history: &History, life: &Life, bounds: &Bounds, report: &mut Report) {
    let client = history.client_of(life);
    let end = life.granted.map(|(event, _)| event).or(life.ended);
    if end.is_none() && client.crashed.is_some() {
        return;
    }
    let until = end.map_or(client.last, |end| end.at);
    let awake = awake(history, life, until);
    let waited: u64 = awake.iter().map(|(from, until)| until - from).sum();
    let wait = if life.wait > 0 {
        life.wait
    } else {
        bounds.attempt
    };
    if waited > wait.saturating_add(bounds.grace) {
        let events: Vec<_> = [life.asked].into_iter().chain(end).collect();
        let sentence = "an acquisition hung past its own wait";
        report.violate("liveness", sentence, &events);
    }
}
