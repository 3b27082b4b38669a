//! When those look again who are not told of changes: by how long they have waited, and by when the lock is expected to
//! change hands. Pure: the time and the luck come in.

use std::time::Duration;

use super::{SLOWEST, jittered};
use crate::backend::Contention;
use crate::time::Moment;
use crate::{Claimant, Mode};

/// No ceiling of a wait is lower: a look takes its time as well.
const FASTEST: Duration = Duration::from_millis(20);
/// A wait takes no more than this part of the time already waited: so the lock is free for less than a tenth of it before
/// that is noticed, the requests included.
const MOST: u32 = 6;
/// However soon a change is expected, a wait may take this part: a crowd that waits for long must not ask the more often,
/// the shorter the holds are.
const LEAST: u32 = 20;

/// For how long each place in the queue waits, as long as it is not known how long the lock is held.
const PLACE: Duration = Duration::from_millis(40);
/// Of many who may all be the next, each looks less often by this much for each of them: a crowd of readers behind one
/// writer would keep the database from anything else.
const SPREAD: Duration = Duration::from_millis(5);

/// Who sees the lock change hands so often without it stops trying its luck.
const PASSED: u32 = 32;

/// What a waiter learns of those before it by looking.
#[derive(Debug, Default)]
pub(crate) struct Polls(Option<Seen>);

#[derive(Debug)]
struct Seen {
    since: Moment,
    holders: Vec<Claimant>,
    /// When the present hold was first seen.
    changed: Moment,
    ahead: usize,
    /// How long the lock is held, on average.
    hold: Option<Duration>,
    passed: u32,
    is_row: bool,
}

impl Polls {
    /// Takes note of a refusal that was received at `now`.
    pub(crate) fn observe(&mut self, contention: &Contention, now: Moment) {
        let occupants = contention.occupants.iter();
        let holders = occupants.filter_map(|occupant| occupant.claimant.clone());
        let holders = holders.collect();
        match &mut self.0 {
            Some(seen) => seen.observe(holders, contention.ahead, now),
            first => {
                *first = Some(Seen {
                    since: now,
                    holders,
                    changed: now,
                    ahead: contention.ahead,
                    hold: None,
                    passed: 0,
                    is_row: false,
                });
            }
        }
    }

    /// Whether somebody who wants this mode will hardly get it by luck: the tasks of another client hand the lock on to each
    /// other, or it went from one to another again and again. Those who share find room beside others sooner or later.
    pub(crate) fn is_passed(&self, mode: Mode) -> bool {
        let seen = self.0.as_ref();
        let often = |seen: &Seen| mode == Mode::Exclusive && seen.passed >= PASSED;
        seen.is_some_and(|seen| seen.is_row || often(seen))
    }

    /// The wait of somebody outside of the queue: no longer than until the holders in the way expire.
    pub(crate) fn outside(&self, contention: &Contention, now: Moment, luck: f64) -> Duration {
        let waited = self.waited(now);
        let (least, most) = ((waited / LEAST).max(FASTEST), waited / MOST);
        let half_way = self.change(now).map(|change| change / 2);
        jittered(ceiling(half_way.unwrap_or(most), least, most), luck).min(contention.free_in)
    }

    /// The wait of somebody who stands in the queue for this mode.
    pub(crate) fn in_line(
        &self,
        contention: &Contention,
        mode: Mode,
        now: Moment,
        luck: f64,
    ) -> Duration {
        let (at_once, crowd) = match mode {
            Mode::Exclusive => (1, 0),
            Mode::Shared => (1, contention.queue),
            // As many come back at about the same time, so that so many places are as good as one.
            Mode::Permit { limit } => (limit.max(1), contention.queue),
        };
        let ahead = count(contention.ahead);
        let least = SPREAD.saturating_mul(count(crowd)).max(FASTEST);
        let most = self.waited(now) / MOST;
        let most = most.max(PLACE.saturating_mul(ahead / at_once));
        let expected = self.hold().zip(self.change(now));
        let half_way = expected.map(|(hold, change)| {
            let turn = hold.saturating_mul(ahead).saturating_add(change);
            turn / 2
        });
        jittered(ceiling(half_way.unwrap_or(most), least, most), luck).min(contention.free_in)
    }

    fn waited(&self, now: Moment) -> Duration {
        let since = self.0.as_ref().map(|seen| seen.since);
        since.map_or(Duration::ZERO, |since| now.at_least_since(since))
    }

    fn hold(&self) -> Option<Duration> {
        self.0.as_ref()?.hold
    }

    /// How far away the instant is at which the lock is expected to be released, before it and after it.
    fn change(&self, now: Moment) -> Option<Duration> {
        let seen = self.0.as_ref()?;
        let held = now.at_least_since(seen.changed);
        let is_free = seen.holders.is_empty();
        Some(if is_free {
            Duration::ZERO
        } else {
            seen.hold?.abs_diff(held)
        })
    }
}

impl Seen {
    fn observe(&mut self, holders: Vec<Claimant>, ahead: usize, now: Moment) {
        let stays = |before: &Claimant| holders.iter().any(|holder| holder.owner == before.owner);
        let is_next = |before: &Claimant| {
            let mut same = holders.iter().filter(|holder| holder.owner == before.owner);
            same.any(|holder| holder.id != before.id)
        };
        self.is_row |= self.holders.iter().any(is_next);
        let was_held = !self.holders.is_empty();
        // Between two looks the lock may have had several turns.
        let turns = count(self.ahead.saturating_sub(ahead)) + u32::from(was_held);
        let turns = turns.saturating_sub(u32::from(!holders.is_empty()));
        let turns = turns.max(u32::from(!self.holders.iter().all(stays)));
        let held = now.at_least_since(self.changed);
        if let Some(hold) = held.checked_div(turns) {
            self.hold = Some(self.hold.map_or(hold, |before| between(before, hold)));
            self.passed = self.passed.saturating_add(1);
        }
        if turns > 0 || !was_held {
            self.changed = now;
        }
        (self.holders, self.ahead) = (holders, ahead);
    }
}

/// The mean of two times in proportion: one that was much longer than all others is soon forgotten.
fn between(one: Duration, other: Duration) -> Duration {
    Duration::from_secs_f64((one.as_secs_f64() * other.as_secs_f64()).sqrt())
}

fn ceiling(wanted: Duration, least: Duration, most: Duration) -> Duration {
    wanted.min(most).max(least).min(SLOWEST)
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
