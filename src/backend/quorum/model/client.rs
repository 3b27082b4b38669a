//! A client, and its task at each member: what the folder above does, step by step.

use std::time::Duration;

use super::super::decide::{Ballot, Standing, Tally, Vote};
use super::bug::Bug;
use super::member::{TICK, TTL, ttl};
use super::{Check, MEMBERS, World};
use crate::backend::{Grant, Validity};

/// What a task at a member does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Link {
    #[default]
    Free,
    /// The request of this attempt is on its way.
    Asking(u64),
    /// It was answered, and waits for what becomes of it.
    Waiting,
    /// From one token to another.
    Raising(u64, u64, u64),
    GivingBack(u64),
    Ending,
}

impl Link {
    pub(super) fn is_request(self) -> bool {
        !matches!(self, Self::Free | Self::Waiting)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Seat {
    pub(super) link: Link,
    asked: u64,
    token: Option<u64>,
    given_back: u64,
    kept: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Order {
    #[default]
    Wait,
    Raise(u64),
    Keep,
    GiveBack,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Client {
    pub(super) number: usize,
    pub(super) seats: [Seat; MEMBERS],
    /// Its attempt, and when each was sent.
    seq: u64,
    sends: Vec<u64>,
    tally: Tally,
    order: Order,
    /// What it was granted, and believes in until then.
    until: Option<Duration>,
    /// In which attempt.
    pub(super) granted: u64,
    over: bool,
}

/// What a member answered.
pub(super) enum Reply {
    Granted(Grant),
    Held,
    Raised(Option<Validity>),
    Released,
}

impl Client {
    pub(super) fn new(number: usize) -> Self {
        Self {
            number,
            seats: [Seat::default(); MEMBERS],
            seq: 0,
            sends: Vec::new(),
            tally: Tally::new(MEMBERS),
            order: Order::GiveBack,
            until: None,
            granted: 0,
            over: false,
        }
    }

    pub(super) fn may_attempt(&self, attempts: u64) -> bool {
        !self.over && self.order == Order::GiveBack && self.seq < attempts
    }

    pub(super) fn is_asking(&self) -> bool {
        matches!(self.order, Order::Wait | Order::Raise(_))
            || self.seats.iter().any(|seat| seat.link.is_request())
    }

    /// No answer that it waits for can come.
    pub(super) fn is_stuck(&self) -> bool {
        matches!(self.order, Order::Wait | Order::Raise(_))
            && !self.over
            && !self.seats.iter().any(|seat| seat.link.is_request())
    }

    pub(super) fn holds(&self) -> bool {
        self.until.is_some() && !self.over
    }

    pub(super) fn believes(&self, now: u64) -> bool {
        self.until.is_some_and(|until| at(now) < until)
    }

    /// Tasks whose turn has come at their member ask it; and what no decision rests on any more is forgotten, for the sake of
    /// fewer states.
    pub(super) fn settle(&mut self) {
        let wanted = !self.over && self.order != Order::GiveBack;
        for seat in &mut self.seats {
            if seat.link == Link::Free && wanted && seat.asked < self.seq {
                (seat.link, seat.asked) = (Link::Asking(self.seq), self.seq);
            }
            if seat.link == Link::Free && self.over {
                *seat = Seat::default();
            }
        }
        if self.over {
            self.tally = Tally::new(MEMBERS);
            self.sends.clear();
        }
    }

    pub(super) fn release(&mut self) {
        self.over = true;
        self.until = None;
        for seat in &mut self.seats {
            if matches!(seat.link, Link::Free | Link::Waiting) {
                seat.link = Link::Ending;
            }
        }
    }

    /// What its task does once it has no answer to wait for.
    fn obey(&mut self, member: usize, stands: bool) {
        let (seq, order, over) = (self.seq, self.order, self.over);
        let seat = &mut self.seats[member];
        let is_newest = seat.asked == seq;
        seat.link = match order {
            _ if over => Link::Ending,
            _ if !stands => Link::Free,
            // Its own attempt is over: another one is under way.
            _ if !is_newest => give_back(seat),
            Order::GiveBack if seat.kept => Link::Free,
            Order::GiveBack => give_back(seat),
            Order::Keep => {
                seat.kept = seat.token.is_some();
                Link::Free
            }
            Order::Raise(to) => match seat.token.filter(|token| *token < to) {
                Some(from) => Link::Raising(seq, from, to),
                None => Link::Waiting,
            },
            Order::Wait => Link::Waiting,
        };
    }
}

fn give_back(seat: &mut Seat) -> Link {
    seat.token = None;
    seat.given_back = seat.asked;
    Link::GivingBack(seat.asked)
}

fn at(tick: u64) -> Duration {
    TICK * u32::try_from(tick).unwrap()
}

fn ballot(token: u64, validity: Validity) -> Vote {
    Vote::For(Ballot { token, validity })
}

impl Check {
    pub(super) fn attempt(&self, world: &mut World, c: usize) {
        let client = &mut world.clients[c];
        client.seq += 1;
        client.sends.push(world.now);
        if self.bug != Some(Bug::CountsFormerGrants) {
            client.tally = Tally::new(MEMBERS);
        }
        client.order = Order::Wait;
    }

    /// What a request does at a member.
    pub(super) fn apply(&self, world: &mut World, c: usize, m: usize, link: Link) -> Reply {
        let now = world.now;
        let member = &mut world.members[m];
        match link {
            Link::Asking(seq) => match member.acquire(c, seq, now) {
                Some(grant) => Reply::Granted(grant),
                None => Reply::Held,
            },
            Link::Raising(seq, from, to) => Reply::Raised(member.raise(c, seq, (from, to), now)),
            Link::GivingBack(seq) => {
                let all = self.bug == Some(Bug::GivesAllBack);
                member.release(c, Some(if all { u64::MAX } else { seq }), now);
                Reply::Released
            }
            Link::Ending | Link::Free | Link::Waiting => {
                member.release(c, None, now);
                Reply::Released
            }
        }
    }

    /// `None`: its sender does not know what became of it.
    pub(super) fn answered(&self, world: &mut World, c: usize, m: usize, reply: Option<Reply>) {
        let client = &mut world.clients[c];
        let link = client.seats[m].link;
        let mut stands = true;
        let vote = match (link, reply) {
            (Link::Asking(_), Some(Reply::Granted(grant))) => {
                let seat = &mut client.seats[m];
                let counts = grant.validity.seq > seat.given_back
                    || self.bug == Some(Bug::CountsWhatMayBeGivenBack);
                if counts {
                    seat.token = Some(grant.token);
                }
                counts.then(|| ballot(grant.token, grant.validity))
            }
            (Link::Asking(_), Some(_)) => {
                stands = false;
                Some(Vote::Against)
            }
            (Link::Raising(_, _, to), Some(Reply::Raised(validity))) => {
                client.seats[m].token = validity.map(|_| to);
                validity.map(|validity| ballot(to, validity))
            }
            (Link::GivingBack(_) | Link::Ending, _) => {
                client.seats[m].link = Link::Free;
                if client.over && link != Link::Ending {
                    client.seats[m].link = Link::Ending;
                }
                return;
            }
            _ => None,
        };
        let is_newest = client.seats[m].asked == client.seq;
        if is_newest {
            client.tally.vote(m, vote.unwrap_or(Vote::Failed));
            self.decide(world, c);
        }
        let client = &mut world.clients[c];
        match (client.order, link) {
            // Done or failed, it waits for what becomes of the rest.
            (Order::Raise(to), Link::Raising(_, _, asked)) if asked == to => {
                client.seats[m].link = Link::Waiting;
            }
            _ => client.obey(m, stands),
        }
    }

    /// What the votes make of an attempt, as `QuorumBackend::attempt` does.
    fn decide(&self, world: &mut World, c: usize) {
        let client = &mut world.clients[c];
        let order = match client.order {
            Order::Wait => match self.standing(&client.tally) {
                Standing::Open => return,
                Standing::Won => {
                    let token = client.tally.token();
                    world.disagreed |= client.tally.agreement(token) == Standing::Open;
                    self.agreed(world, c, token)
                }
                Standing::Refused | Standing::Short => Order::GiveBack,
            },
            Order::Raise(token) => {
                let tally = &client.tally;
                let follows = self.bug != Some(Bug::RaisesToTheFirst);
                let is_passed = tally.agreement(token) == Standing::Open && follows;
                let token = if is_passed { tally.token() } else { token };
                self.agreed(world, c, token)
            }
            Order::Keep | Order::GiveBack => return,
        };
        let client = &mut world.clients[c];
        client.order = order;
        for m in 0..MEMBERS {
            if client.seats[m].link == Link::Waiting {
                client.obey(m, true);
            }
        }
    }

    fn standing(&self, tally: &Tally) -> Standing {
        let half = MEMBERS / 2;
        if self.bug == Some(Bug::HalfIsEnough) && tally.in_favour() >= half {
            return Standing::Won;
        }
        tally.election()
    }

    fn agreed(&self, world: &mut World, c: usize, token: u64) -> Order {
        let agreement = world.clients[c].tally.agreement(token);
        let skipped = matches!(self.bug, Some(Bug::NoWriteBack | Bug::HalfIsEnough));
        match agreement {
            Standing::Open if !skipped => return Order::Raise(token),
            Standing::Open | Standing::Won => {}
            Standing::Short | Standing::Refused if skipped => {}
            _ => return Order::GiveBack,
        }
        let client = &world.clients[c];
        let validity = client.tally.validity(token, ttl());
        let validity = validity.or_else(|| skipped.then(|| client.tally.renewed(ttl())).flatten());
        let fallback = Validity {
            seq: client.seq,
            valid_for: TTL,
            refresh: false,
        };
        let validity = validity.unwrap_or(fallback);
        self.hand_out(world, c, token, validity)
    }

    fn hand_out(&self, world: &mut World, c: usize, token: u64, validity: Validity) -> Order {
        let now = world.now;
        let client = &mut world.clients[c];
        let sent = |seq: u64| client.sends[usize::try_from(seq).unwrap() - 1];
        let elapsed = at(now - sent(client.seq));
        let is_spent = super::super::decide::is_spent(&validity, client.seq, elapsed);
        if is_spent && self.bug != Some(Bug::HandsOutWhatIsSpent) {
            return Order::GiveBack;
        }
        let from = match self.bug {
            Some(Bug::CountsFromTheAnswer) => now,
            _ => sent(validity.seq),
        };
        let until = at(from) + validity.valid_for;
        // What an earlier attempt was granted, its client finds spent by itself.
        if until <= at(now) && validity.seq < client.seq {
            return Order::GiveBack;
        }
        client.until = Some(until);
        client.granted = client.seq;
        world.spent |= until <= at(now);
        world.regressed |= token <= world.token;
        world.token = world.token.max(token);
        Order::Keep
    }
}
