//! When a lease is renewed, until when it is valid, and when it is lost: pure state, told the time by its caller.

use std::time::Duration;

use crate::backend::Validity;
use crate::time::Moment;

/// A span that starts at a moment: over once it may have lasted `length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    pub(crate) from: Moment,
    pub(crate) length: Duration,
}

impl Span {
    /// What is left of it at least; zero once it is over.
    pub(crate) fn left(&self, now: Moment) -> Duration {
        self.length.saturating_sub(now.at_most_since(self.from))
    }
}

/// Until when a lease is valid: as long as both spans last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline {
    standing: Span,
    cap: Option<Span>,
}

impl Deadline {
    /// What is left of the lease at least; zero once it is lost.
    pub(crate) fn left(&self, now: Moment) -> Duration {
        let standing = self.standing.left(now);
        self.cap.map_or(standing, |cap| standing.min(cap.left(now)))
    }
}

/// The renewal of one lease.
///
/// Its deadline counts from before the send of the attempt that stands in the record; every attempt has a `seq`,
/// and its send is remembered until a later attempt is known to stand.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(PartialEq, Eq, Hash))]
pub(crate) struct Renewal {
    ttl: Duration,
    margin: Duration,
    /// The end that no renewal can move: the maximum hold or the caller's own deadline, whichever comes first.
    cap: Option<Span>,
    /// The caller's own deadline, which the record must not outlive either: nobody may be left to release it.
    deadline: Option<Span>,
    sends: Vec<(u64, Moment)>,
    next_seq: u64,
    standing: Option<(u64, Span)>,
    retry: Option<Span>,
    failures: u32,
}

/// The first wait after a failed attempt; doubles with each one in a row.
const RETRY: Duration = Duration::from_millis(50);

impl Renewal {
    pub(crate) fn new(ttl: Duration, margin: Duration) -> Self {
        Self {
            ttl,
            margin,
            cap: None,
            deadline: None,
            sends: Vec::new(),
            next_seq: 1,
            standing: None,
            retry: None,
            failures: 0,
        }
    }

    /// What the acquisition agreed on in the end: the ttl and margin that were asked for last, and the end that no
    /// renewal moves.
    pub(crate) fn end_with(
        &mut self,
        (ttl, margin): (Duration, Duration),
        max_hold: Option<Span>,
        deadline: Option<Span>,
        now: Moment,
    ) {
        self.ttl = ttl;
        self.margin = margin;
        self.deadline = deadline;
        let ends = [max_hold, deadline].into_iter().flatten();
        self.cap = ends.min_by_key(|end| end.left(now));
    }

    /// The lease turned out to be gone.
    pub(crate) fn nothing_stands(&mut self) {
        self.standing = None;
    }

    /// An attempt is about to be sent: its number.
    pub(crate) fn send(&mut self, now: Moment) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.sends.push((seq, now));
        seq
    }

    /// An attempt was answered. The newest one that is known to stand decides, whichever answer comes last.
    pub(crate) fn stands(&mut self, validity: &Validity) {
        self.retry = None;
        self.failures = 0;
        if self.standing.is_some_and(|(seq, _)| seq > validity.seq) {
            return;
        }
        // An attempt whose send nobody remembers is not ours: worth nothing.
        let Some(&(_, from)) = self.sends.iter().find(|(seq, _)| *seq == validity.seq) else {
            return;
        };
        let length = validity.valid_for.saturating_sub(self.margin);
        self.standing = Some((validity.seq, Span { from, length }));
        self.sends.retain(|(seq, _)| *seq >= validity.seq);
    }

    /// An attempt failed and may be repeated.
    pub(crate) fn failed(&mut self, now: Moment, luck: f64) {
        // Never so long that the lease runs out before the next one.
        let ceiling = RETRY
            .saturating_mul(1 << self.failures.min(10))
            .min(self.ttl / 10)
            .min((self.left(now) / 2).max(RETRY));
        self.failures = self.failures.saturating_add(1);
        self.retry = Some(Span {
            from: now,
            length: ceiling.mul_f64(luck.clamp(0.0, 1.0)),
        });
    }

    /// Until when the lease is valid; `None` before anything is known to stand.
    pub(crate) fn deadline(&self) -> Option<Deadline> {
        let (_, standing) = self.standing?;
        Some(Deadline {
            standing,
            cap: self.cap,
        })
    }

    /// What is left until the lease is lost.
    pub(crate) fn left(&self, now: Moment) -> Duration {
        self.deadline()
            .map_or(Duration::ZERO, |deadline| deadline.left(now))
    }

    /// Whether the end that no renewal can move has come.
    pub(crate) fn reached_cap(&self, now: Moment) -> bool {
        self.cap.is_some_and(|cap| cap.left(now).is_zero())
    }

    /// The answer to the acquisition leaves so little that it is worth a renewal before the lease is handed out.
    pub(crate) fn is_nearly_spent(&self, now: Moment) -> bool {
        self.left(now) < self.ttl.saturating_sub(self.margin) / 2
    }

    /// How long until a renewal that is due cannot wait for others any more: a third of the lease is left then, which is
    /// time for some attempts.
    pub(crate) fn late_in(&self, now: Moment) -> Duration {
        let third = self.ttl.saturating_sub(self.margin) / 3;
        self.left(now).saturating_sub(third)
    }

    /// How much sooner than due a renewal may be sent beside others.
    pub(crate) fn early(&self) -> Duration {
        self.ttl / 20
    }

    /// Whether it may be sent beside others now: it is due soon, and no earlier failure makes it wait. Nor does the end
    /// that the caller set: the last renewal must not come too soon.
    pub(crate) fn may_go(&self, now: Moment) -> bool {
        let is_soon = |due| due <= self.early();
        self.retry.is_none() && self.deadline.is_none() && self.due_in(now).is_some_and(is_soon)
    }

    /// How long until the next attempt to renew; `None` if there is none to come.
    pub(crate) fn due_in(&self, now: Moment) -> Option<Duration> {
        let (_, span) = self.standing?;
        if let Some(retry) = self.retry {
            return Some(retry.left(now));
        }
        let elapsed = now.at_most_since(span.from);
        let third = (self.ttl / 3).min(span.length / 2).saturating_sub(elapsed);
        let Some(deadline) = self.deadline else {
            return Some(third);
        };
        // The last renewal makes the record expire at the deadline: later ones would hold the lock beyond it.
        let last_chance = deadline.left(now).checked_sub(self.ttl)?;
        let next = third.min(last_chance);
        let gain = elapsed + next;
        (gain >= self.ttl / 20).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    const TTL: Duration = Duration::from_secs(30);
    const MARGIN: Duration = Duration::from_secs(3);

    fn at(seconds: u64) -> Moment {
        Moment {
            monotonic: Duration::from_secs(seconds),
            wall: Timestamp::from_millis(0),
        }
    }

    fn validity(seq: u64) -> Validity {
        Validity {
            seq,
            valid_for: TTL,
            refresh: false,
        }
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_deadline_counts_from_the_send_of_the_attempt_that_stands() {
        let mut renewal = Renewal::new(TTL, MARGIN);
        let lost_answer = renewal.send(at(0));
        let retried = renewal.send(at(20));
        assert_ne!(lost_answer, retried);
        renewal.stands(&validity(lost_answer));
        assert_eq!(renewal.left(at(21)), secs(6));
        assert_eq!(renewal.left(at(27)), Duration::ZERO);
        assert!(renewal.is_nearly_spent(at(21)));
    }

    #[test]
    fn a_late_answer_does_not_undo_a_newer_one() {
        let mut renewal = Renewal::new(TTL, MARGIN);
        let first = renewal.send(at(0));
        let second = renewal.send(at(10));
        renewal.stands(&validity(second));
        renewal.stands(&validity(first));
        assert_eq!(renewal.left(at(10)), secs(27));
    }

    #[test]
    fn a_newer_answer_rules_even_if_it_is_worth_less() {
        let mut renewal = Renewal::new(TTL, MARGIN);
        let first = renewal.send(at(0));
        renewal.stands(&validity(first));
        let seq = renewal.send(at(10));
        renewal.stands(&Validity {
            seq,
            valid_for: secs(5),
            refresh: true,
        });
        assert_eq!(renewal.left(at(10)), secs(2));
    }

    #[test]
    fn of_two_answers_to_one_attempt_the_later_rules() {
        let mut renewal = Renewal::new(TTL, MARGIN);
        let seq = renewal.send(at(0));
        renewal.stands(&validity(seq));
        renewal.stands(&Validity {
            seq,
            valid_for: secs(5),
            refresh: true,
        });
        assert_eq!(renewal.left(at(0)), secs(2));
    }

    #[test]
    fn an_attempt_sent_before_the_answer_to_an_earlier_one_counts() {
        let mut renewal = Renewal::new(TTL, MARGIN);
        let (first, second) = (renewal.send(at(0)), renewal.send(at(10)));
        renewal.stands(&validity(first));
        renewal.stands(&validity(second));
        assert_eq!(renewal.left(at(10)), secs(27));
    }

    #[test]
    fn less_than_half_is_nearly_spent() {
        let mut renewal = Renewal::new(TTL, MARGIN);
        let seq = renewal.send(at(0));
        renewal.stands(&Validity {
            seq,
            valid_for: Duration::from_millis(16_500),
            refresh: false,
        });
        assert!(!renewal.is_nearly_spent(at(0)));
        assert!(renewal.is_nearly_spent(at(1)));
    }

    #[test]
    fn an_attempt_of_somebody_else_is_worth_nothing() {
        let mut renewal = Renewal::new(TTL, MARGIN);
        renewal.send(at(0));
        renewal.stands(&validity(9));
        assert_eq!(renewal.left(at(0)), Duration::ZERO);
    }

    #[test]
    fn renewals_come_at_a_third_and_sooner_for_a_short_validity() {
        let mut renewal = Renewal::new(TTL, MARGIN);
        let seq = renewal.send(at(0));
        assert_eq!(renewal.due_in(at(0)), None, "nothing stands yet");
        renewal.stands(&validity(seq));
        assert_eq!(renewal.due_in(at(4)), Some(secs(6)));
        assert_eq!(renewal.due_in(at(11)), Some(Duration::ZERO));
        let seq = renewal.send(at(11));
        renewal.stands(&Validity {
            seq,
            valid_for: secs(7),
            refresh: false,
        });
        assert_eq!(renewal.due_in(at(11)), Some(secs(2)));
    }

    #[test]
    fn a_renewal_waits_for_others_until_a_third_is_left() {
        let mut renewal = Renewal::new(TTL, MARGIN);
        let seq = renewal.send(at(0));
        renewal.stands(&validity(seq));
        let late_in = [10, 17, 18, 26].map(|now| renewal.late_in(at(now)));
        assert_eq!(late_in, [8, 1, 0, 0].map(secs));
    }

    #[test]
    fn failures_are_retried_with_growing_pauses() {
        let mut renewal = Renewal::new(TTL, MARGIN);
        let seq = renewal.send(at(0));
        renewal.stands(&validity(seq));
        let mut waits = Vec::new();
        for _ in 0..8 {
            renewal.failed(at(10), 1.0);
            waits.push(renewal.due_in(at(10)).unwrap().as_millis());
        }
        assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 3000, 3000]);
        renewal.failed(at(25), 1.0);
        assert_eq!(
            renewal.due_in(at(25)),
            Some(secs(1)),
            "half of what is left"
        );
        let seq = renewal.send(at(10));
        renewal.stands(&validity(seq));
        assert_eq!(renewal.due_in(at(10)), Some(secs(10)));
    }

    #[test]
    fn a_deadline_ends_the_lease_and_the_last_renewal_expires_with_it() {
        let deadline = Span {
            from: at(0),
            length: secs(65),
        };
        let mut renewal = Renewal::new(TTL, MARGIN);
        renewal.end_with((TTL, MARGIN), None, Some(deadline), at(0));
        for now in [0, 10, 20, 30] {
            let seq = renewal.send(at(now));
            renewal.stands(&validity(seq));
        }
        assert_eq!(renewal.due_in(at(30)), Some(secs(5)));
        let seq = renewal.send(at(35));
        renewal.stands(&validity(seq));
        assert_eq!(renewal.due_in(at(35)), None, "nothing to gain");
        assert_eq!(renewal.due_in(at(36)), None);
        assert_eq!(renewal.left(at(60)), secs(2));
        assert_eq!(renewal.left(at(64)), Duration::ZERO);
    }

    #[test]
    fn a_maximum_hold_ends_the_lease_however_often_it_is_renewed() {
        let max_hold = Span {
            from: at(0),
            length: secs(65),
        };
        let mut renewal = Renewal::new(TTL, MARGIN);
        renewal.end_with((TTL, MARGIN), Some(max_hold), None, at(0));
        let seq = renewal.send(at(60));
        renewal.stands(&validity(seq));
        assert_eq!(renewal.left(at(60)), secs(5));
        assert!(!renewal.reached_cap(at(64)));
        assert!(renewal.reached_cap(at(65)));
    }

    #[test]
    fn a_frozen_process_counts_the_wall_clock() {
        let mut renewal = Renewal::new(TTL, MARGIN);
        let seq = renewal.send(at(0));
        renewal.stands(&validity(seq));
        let thawed = Moment {
            monotonic: secs(1),
            wall: Timestamp::from_millis(27_000),
        };
        assert_eq!(renewal.left(thawed), Duration::ZERO);
    }
}
