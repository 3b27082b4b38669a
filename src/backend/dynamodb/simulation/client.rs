//! A client of the simulation: local clocks that are wrong in their own way, and the protocol around the pure code.

use std::time::Duration;

use fastrand::Rng;

use super::super::clock::{Interval, IntervalClock, WriteTime};
use super::super::validity::{Validity, Written, expires_at, pad};
use super::{Bugs, EPOCH_MS, MAX_SKEW, Micros, SECOND, SKEW, Scenario};
use crate::time::{Moment, Timestamp};

/// A host's clocks over true time.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalClock {
    pub(super) rate_ppm: i64,
    pub(super) wall_error: Micros,
    /// For how long the monotonic clock stood still.
    pub(super) frozen: Micros,
}

impl LocalClock {
    pub(super) fn at(&self, now: Micros) -> Moment {
        let drift = |span: Micros| span + span * self.rate_ppm / 1_000_000;
        let monotonic = u64::try_from(drift(now - self.frozen) + 3_600 * SECOND).unwrap_or(0);
        let wall = (drift(now) + self.wall_error).div_euclid(1_000);
        Moment {
            monotonic: Duration::from_micros(monotonic),
            wall: Timestamp::from_millis(EPOCH_MS + wall),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Holder {
    pub(super) id: u64,
    pub(super) seq: u64,
    pub(super) expires_at: Timestamp,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Record {
    pub(super) rev: u64,
    pub(super) holder: Option<Holder>,
    pub(super) closed: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    /// The fast path. Without `create`, only on a record that exists.
    Take {
        mine: Holder,
        create: bool,
    },
    /// Evict whom `rev` showed. `watched`: by the watch rule, not by the clock.
    Swap {
        mine: Holder,
        rev: u64,
        watched: bool,
    },
    Clamp {
        rev: u64,
        bound: Timestamp,
    },
    Renew {
        mine: Holder,
    },
    Release {
        id: u64,
    },
    Read,
}

/// Every response has a `Date` and shows the record as it is after the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply {
    pub(super) number: u64,
    pub(super) date: Timestamp,
    pub(super) done: bool,
    pub(super) record: Option<Record>,
}

/// What a client does next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    Send(Action),
    Sleep(Micros),
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    number: u64,
    sent: Moment,
    action: Action,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    holder: Holder,
    /// Of the attempt that stands in the record.
    sent: Moment,
    valid_for: Duration,
    /// `acquire` has returned.
    handed_out: bool,
    refreshed: bool,
    renews: bool,
    held_for: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) local: LocalClock,
    /// What the two clocks showed when the estimate began.
    began: Option<Moment>,
    pub(super) interval: IntervalClock,
    scenario: Scenario,
    bugs: Bugs,
    rng: Rng,
    flight: Option<Flight>,
    lease: Option<Lease>,
    wanted: Option<u64>,
    watched: Option<(u64, u64, Moment)>,
    held_by_another: bool,
    tries_once: bool,
    pub(super) number: u64,
    pub(super) refreshes: u64,
}

impl Client {
    pub(super) fn new(local: LocalClock, scenario: Scenario, bugs: Bugs, mut rng: Rng) -> Self {
        let tries_once = rng.u32(0..100) < scenario.once_percent;
        Self {
            local,
            began: None,
            interval: IntervalClock::new(SKEW),
            scenario,
            bugs,
            rng,
            flight: None,
            lease: None,
            wanted: None,
            watched: None,
            held_by_another: false,
            tries_once,
            number: 0,
            refreshes: 0,
        }
    }

    /// The id of the lease that this client would say, if asked now, that it holds.
    pub(super) fn believes(&self, now: Micros) -> Option<u64> {
        let lease = self.lease.filter(|lease| lease.handed_out)?;
        self.is_valid(&lease, self.local.at(now))
            .then_some(lease.holder.id)
    }

    fn is_valid(&self, lease: &Lease, now: Moment) -> bool {
        now.at_most_since(lease.sent) + self.margin() < lease.valid_for
    }

    fn margin(&self) -> Duration {
        self.scenario.ttl / 10
    }

    /// What the interval clock is told of the local clocks. The seeded bug hides every divergence from it.
    fn told(&self, moment: Moment) -> Moment {
        let Some(began) = self.began.filter(|_| self.bugs.blind_to_thaw) else {
            return moment;
        };
        let wall = began.wall.saturating_add(moment.at_least_since(began));
        Moment { wall, ..moment }
    }

    /// A fresh process on the same host.
    pub(super) fn restart(&mut self) {
        let mut fresh = Self::new(
            self.local,
            self.scenario.clone(),
            self.bugs,
            self.rng.fork(),
        );
        fresh.tries_once = self.tries_once;
        fresh.number = self.number + 1_000;
        fresh.refreshes = self.refreshes;
        *self = fresh;
    }

    /// Notes the send of what [`Next::Send`] asked for; the number of the request.
    pub(super) fn sends(&mut self, action: Action, sent: Moment) -> u64 {
        self.number += 1;
        self.flight = Some(Flight {
            number: self.number,
            sent,
            action,
        });
        self.number
    }

    /// A timer: a request timed out, or it is time for the next thing.
    pub(super) fn wakes(&mut self, now: Micros, id: u64) -> Next {
        let moment = self.local.at(now);
        let timed_out = self.flight.take().is_some();
        match self.lease {
            None if self.held_by_another && !timed_out => Next::Send(Action::Read),
            None => self.take(now, id),
            Some(lease) if !lease.handed_out => self.renew(now, lease),
            Some(lease) => self.tends(now, moment, lease),
        }
    }

    fn tends(&mut self, now: Micros, moment: Moment, lease: Lease) -> Next {
        let age = moment.at_least_since(lease.sent);
        if !self.is_valid(&lease, moment) {
            self.ends();
            return Next::Sleep(self.pause());
        }
        if lease.held_for.is_zero() {
            self.ends();
            return Next::Send(Action::Release {
                id: lease.holder.id,
            });
        }
        if lease.renews && age >= self.scenario.ttl * 3 / 10 {
            let lease = Lease {
                refreshed: false,
                ..lease
            };
            return self.renew(now, lease);
        }
        self.until_due(lease)
    }

    /// Sleeps in steps of at most a third of the ttl, which is when a renewal is due.
    fn until_due(&mut self, lease: Lease) -> Next {
        let step = (self.scenario.ttl / 3).min(lease.held_for);
        self.lease = Some(Lease {
            held_for: lease.held_for.saturating_sub(step),
            ..lease
        });
        Next::Sleep(i64::try_from(step.as_micros()).unwrap_or(i64::MAX) + 1)
    }

    fn ends(&mut self) {
        self.lease = None;
        self.wanted = None;
        self.held_by_another = false;
    }

    fn pause(&mut self) -> Micros {
        self.rng.i64(0..self.scenario.idle)
    }

    fn take(&mut self, now: Micros, id: u64) -> Next {
        // Serverless: an acquisition often comes from a process that knows nothing yet.
        if self.wanted.is_none() && self.rng.u32(0..100) < self.scenario.fresh_percent {
            self.interval = IntervalClock::new(SKEW);
            self.began = None;
        }
        let id = *self.wanted.get_or_insert(id);
        let (mine, write_time) = self.holder(now, id, None);
        Next::Send(Action::Take {
            mine,
            create: write_time.verified,
        })
    }

    fn renew(&mut self, now: Micros, lease: Lease) -> Next {
        let (mine, _) = self.holder(now, lease.holder.id, Some(lease.holder.expires_at));
        let holder = Holder {
            seq: lease.holder.seq,
            ..mine
        };
        self.lease = Some(Lease { holder, ..lease });
        Next::Send(Action::Renew { mine })
    }

    /// Myself as written now. On an unverified clock an expiry is never moved back.
    fn holder(&mut self, now: Micros, id: u64, before: Option<Timestamp>) -> (Holder, WriteTime) {
        let write_time = self
            .interval
            .write_time(self.told(self.local.at(now)), MAX_SKEW);
        let mut expiry = expires_at(write_time.latest, self.scenario.ttl, SKEW);
        if self.bugs.no_pad {
            expiry = expiry.saturating_sub(pad(SKEW));
        }
        if let Some(before) = before.filter(|_| !write_time.verified) {
            expiry = expiry.max(before);
        }
        // Every attempt has its own `seq`; the number of its request will do.
        let holder = Holder {
            id,
            seq: self.number + 1,
            expires_at: expiry,
        };
        (holder, write_time)
    }

    pub(super) fn hears(&mut self, now: Micros, reply: &Reply) -> Option<Next> {
        let flight = self.flight.filter(|flight| flight.number == reply.number)?;
        self.flight = None;
        self.observe(now, &flight, reply.date);
        Some(match flight.action {
            Action::Take { mine, .. } | Action::Swap { mine, .. } | Action::Renew { mine }
                if reply.done =>
            {
                self.settle(now, &flight, mine, reply.date)
            }
            Action::Renew { .. } => {
                self.ends();
                Next::Sleep(self.pause())
            }
            Action::Release { .. } => Next::Sleep(self.pause()),
            _ => self.consider(now, reply.record),
        })
    }

    fn observe(&mut self, now: Micros, flight: &Flight, date: Timestamp) {
        self.began = self.began.or(Some(flight.sent));
        let sent = self.told(flight.sent);
        let received = self.told(self.local.at(now));
        if self.bugs.starts_over && self.contradicts(sent, received, date) {
            self.interval = IntervalClock::new(SKEW);
        }
        self.interval.observe(sent, received, date);
    }

    fn contradicts(&self, sent: Moment, received: Moment, date: Timestamp) -> bool {
        let mut alone = IntervalClock::new(SKEW);
        alone.observe(sent, received, date);
        let pair = (self.interval.interval(received), alone.interval(received));
        let (Some(known), Some(fresh)) = pair else {
            return false;
        };
        known.latest < fresh.earliest || fresh.latest < known.earliest
    }

    /// The write stands: what is it worth?
    fn settle(&mut self, now: Micros, flight: &Flight, mine: Holder, date: Timestamp) -> Next {
        let (ttl, margin) = (self.scenario.ttl, self.margin());
        let latest_at_send = self
            .interval
            .latest_at_send(flight.sent, Some(date), MAX_SKEW);
        let written = Written {
            expires_at: mine.expires_at,
            ttl,
            margin,
        };
        let validity = if self.bugs.no_validity_rule {
            Validity {
                valid_for: ttl,
                refresh: false,
            }
        } else {
            written.validity(latest_at_send, SKEW)
        };
        let lease = Lease {
            holder: mine,
            sent: flight.sent,
            valid_for: validity.valid_for,
            ..self
                .lease
                .unwrap_or_else(|| self.candidate(mine, flight.sent))
        };
        self.lease = Some(lease);
        if validity.refresh && !lease.refreshed {
            self.refreshes += 1;
            return self.renew(
                now,
                Lease {
                    refreshed: true,
                    ..lease
                },
            );
        }
        if !self.is_valid(&lease, self.local.at(now)) {
            self.ends();
            return Next::Send(Action::Release { id: mine.id });
        }
        let lease = Lease {
            handed_out: true,
            ..lease
        };
        self.lease = Some(lease);
        self.until_due(lease)
    }

    fn candidate(&mut self, holder: Holder, sent: Moment) -> Lease {
        let share = self.rng.u32(2..=30);
        Lease {
            holder,
            sent,
            valid_for: Duration::ZERO,
            handed_out: false,
            refreshed: false,
            renews: self.scenario.all_renew || self.rng.bool(),
            held_for: self.scenario.ttl * share / 10,
        }
    }

    /// Not mine: free, to be evicted or clamped, or to be waited for.
    fn consider(&mut self, now: Micros, record: Option<Record>) -> Next {
        let id = self.wanted.unwrap_or_default();
        let record = record.unwrap_or_default();
        let Some(holder) = record.holder else {
            self.held_by_another = false;
            self.wanted = self.wanted.filter(|&wanted| wanted != record.closed);
            return if self.wanted.is_some() {
                self.take(now, id)
            } else {
                Next::Sleep(self.pause())
            };
        };
        if holder.id == id {
            // An earlier attempt was granted and its response got lost.
            let lease = self.candidate(holder, self.local.at(now));
            return self.renew(now, lease);
        }
        self.held_by_another = true;
        self.judge(now, id, &record, holder)
    }

    fn judge(&mut self, now: Micros, id: u64, record: &Record, holder: Holder) -> Next {
        let moment = self.local.at(now);
        let told = self.told(moment);
        let interval = if self.bugs.unverified_evicts {
            Some(
                self.interval
                    .interval(told)
                    .unwrap_or(Interval::unverified(told, MAX_SKEW)),
            )
        } else {
            self.interval.judge(told, MAX_SKEW)
        };
        let watched = self.watches(moment, holder);
        let expired = interval.is_some_and(|interval| holder.expires_at <= interval.earliest);
        if expired || watched {
            let (mine, _) = self.holder(now, id, None);
            return Next::Send(Action::Swap {
                mine,
                rev: record.rev,
                watched: !expired,
            });
        }
        interval.map_or(Next::Sleep(100_000), |interval| {
            self.clamps_or_waits(record, holder, interval)
        })
    }

    fn clamps_or_waits(&mut self, record: &Record, holder: Holder, interval: Interval) -> Next {
        let bound = expires_at(interval.latest, self.scenario.ttl, SKEW);
        if holder.expires_at > bound.saturating_add(self.scenario.clamp_excess) {
            return Next::Send(Action::Clamp {
                rev: record.rev,
                bound,
            });
        }
        let left = holder
            .expires_at
            .saturating_since(interval.earliest)
            .as_micros();
        let left = i64::try_from(left).unwrap_or(i64::MAX);
        Next::Sleep(left.clamp(100_000, self.rng.i64(100_000..=SECOND)))
    }

    /// Whether (id, seq) stands unchanged for longer than its holder could believe in it.
    fn watches(&mut self, now: Moment, holder: Holder) -> bool {
        match self.watched {
            Some((id, seq, since)) if (id, seq) == (holder.id, holder.seq) => {
                let long = self.scenario.ttl * 5 / 4 + Duration::from_secs(1);
                now.at_least_since(since) >= long
            }
            _ => {
                self.watched = Some((holder.id, holder.seq, now));
                false
            }
        }
    }
}
