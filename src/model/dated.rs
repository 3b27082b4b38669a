//! Clients that know the server's time by its answers' `Date`s, or not at all yet.

use std::time::Duration;

use crate::backend::dynamodb::clock::IntervalClock;
use crate::backend::dynamodb::server_time::worth;
use crate::rules::{ServerTime, Verdict};
use crate::{Holder, Timestamp, Validity};

use super::bug::Bug;
use super::ghost::Cause;
use super::scenario::Time;
use super::wire::{Ask, Dated, Message, Reply, Request, Stamp};
use super::world::World;
use super::{Check, Id, SKEW};

/// How wrong a wall clock may be where nothing tells the time.
const MAX_SKEW: Duration = Duration::from_mins(5);

impl Check {
    /// Sends a request, with the time to write by.
    pub(super) fn send(&self, world: &mut World, client: usize, request: Request) {
        let sent = self.moment(world, client);
        let clock = world.clients[client].clock.as_ref();
        let stamp = clock.map(|clock| Stamp {
            sent,
            time: clock.time_to_write(sent, MAX_SKEW),
        });
        world.send(Message::Request(request, stamp));
    }

    pub(super) fn reply(&self, world: &mut World, to: Id, reply: Reply, stamp: Option<&Stamp>) {
        let holder = world.record.as_ref().and_then(|of| of.holder(&to.name()));
        let dated = stamp.map(|stamp| Dated {
            sent: stamp.sent,
            date: whole_seconds(self.server_now(world)),
            expires_at: holder.map(|holder| holder.expires_at),
        });
        world.send(Message::Reply(to, reply, dated));
    }

    /// By which a request is decided.
    pub(super) fn time_of(&self, world: &World, stamp: Option<&Stamp>) -> ServerTime {
        match stamp {
            Some(stamp) => stamp.time,
            None => ServerTime::exact(self.server_now(world), SKEW),
        }
    }

    /// By which a client decides on what it was shown; `at` is when, if the server tells.
    pub(super) fn time_to_judge(
        &self,
        world: &World,
        client: usize,
        exists: bool,
        at: Timestamp,
    ) -> Option<ServerTime> {
        let now = self.moment(world, client);
        match &world.clients[client].clock {
            Some(clock) if self.bug == Some(Bug::EvictsByTheWall) => {
                let mut blind = IntervalClock::new(SKEW);
                blind.observe_undated();
                let known = clock.time_to_judge(now, MAX_SKEW, exists);
                known.or_else(|| blind.time_to_judge(now, Duration::ZERO, exists))
            }
            Some(clock) => clock.time_to_judge(now, MAX_SKEW, exists),
            None => Some(ServerTime::exact(at, SKEW)),
        }
    }

    pub(super) fn observe(&self, world: &mut World, client: usize, dated: Option<&Dated>) {
        let received = self.moment(world, client);
        if let (Some(clock), Some(dated)) = (&mut world.clients[client].clock, dated) {
            if self.bug == Some(Bug::BelievesOneDate) {
                *clock = IntervalClock::new(SKEW);
            }
            clock.observe(dated.sent, received, dated.date);
        }
    }

    /// Whoever knows nothing yet believes the first `Date`, whatever it says.
    pub(super) fn may_lie(&self, world: &World, message: &Message) -> bool {
        let Message::Reply(to, Reply::Look { .. }, _) = message else {
            return false;
        };
        let now = self.moment(world, to.client);
        let clock = world.clients[to.client].clock.as_ref();
        clock.is_some_and(|clock| clock.time_to_judge(now, MAX_SKEW, true).is_some())
    }

    /// What a lease is worth whose attempt `seq` was answered.
    pub(super) fn validity(
        &self,
        world: &World,
        to: Id,
        seq: u64,
        dated: Option<&Dated>,
    ) -> Validity {
        let expiry = dated.and_then(|dated| Some((dated, dated.expires_at?)));
        match (&world.clients[to.client].clock, expiry) {
            (Some(clock), Some((dated, expires_at))) if self.bug != Some(Bug::BelievesItsWrite) => {
                let latest = clock.latest_at_send(dated.sent, Some(dated.date), MAX_SKEW);
                let holder = Holder::new(None, expires_at, expires_at, self.ttl(), seq);
                self.worth(latest, &holder)
            }
            _ => self.whole(seq),
        }
    }

    /// What a lease is worth that turned up in what the server showed.
    pub(super) fn recognised(&self, holder: &Holder, time: &ServerTime) -> Validity {
        match self.scenario.time {
            Time::Dates => self.worth(time.stamp, holder),
            Time::Server => self.whole(holder.seq),
        }
    }

    /// The whole ttl, from the send.
    fn whole(&self, seq: u64) -> Validity {
        Validity {
            seq,
            valid_for: self.scenario.ttl,
            refresh: false,
        }
    }

    fn worth(&self, latest: Timestamp, holder: &Holder) -> Validity {
        let margin = self.scenario.ttl / 10;
        worth(latest, SKEW, holder, self.ttl(), margin)
    }

    /// A client that goes by `Date`s writes its grant at once where nobody is in the way; a record only if it knows the
    /// time. Otherwise it is shown what there is.
    pub(super) fn takes(&self, world: &mut World, ask: Ask, stamp: Option<&Stamp>) {
        let Some(stamp) = stamp else {
            return self.shows(world, &ask, None);
        };
        let knows = !stamp.time.keep_later_expiry || self.bug == Some(Bug::CreatesByTheWall);
        let may = match &world.record {
            Some(record) => record.holders.is_empty() && record.queue.is_empty(),
            None => knows,
        };
        let mut time = stamp.time;
        if world.record.is_some() {
            time.token_floor = 0;
        }
        match self.admit(world.record.as_ref(), &ask, time) {
            Verdict::Granted(next) if may => {
                let (token, seq) = (next.token, ask.seq);
                let to = ask.id;
                self.store(world, *next, &Cause::Grant(ask));
                self.reply(world, to, Reply::Granted { token, seq }, Some(stamp));
            }
            _ => self.shows(world, &ask, Some(stamp)),
        }
    }
}

/// As a `Date` header says it.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_millis(time.as_millis() / 1_000 * 1_000)
}

pub(super) fn an_hour_ahead(message: Message) -> Message {
    match message {
        Message::Reply(to, reply, Some(dated)) => {
            let date = dated.date.saturating_add(Duration::from_hours(1));
            Message::Reply(to, reply, Some(Dated { date, ..dated }))
        }
        other => other,
    }
}
