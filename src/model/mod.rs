//! A model check of the protocol over the crate's own [rules](crate::rules) and [renewals](crate::renewal).
//!
//! The world around them does what it likes: messages are late, come twice, or never; clients pause, crash, and have
//! clocks that stand still or step; the database collects what may be collected, loses a primary, or has a record deleted
//! by hand. Every order of events within a [`Scenario`]'s bounds is looked at.
//!
//! A message that is never delivered is a lost one, and a client whose turn never comes is a paused one: neither needs an
//! action of its own.

mod bug;
mod client;
mod dated;
mod decide;
mod ghost;
mod invariant;
mod scenario;
mod server;
mod tests;
mod wire;
mod world;

use std::time::Duration;

use stateright::{Model, Property};

use crate::{AcquireRequest, Key, LeaseId, Mode, Moment, Owner, Timestamp, Ttl};

use bug::Bug;
use scenario::{Scenario, Time};
use wire::{Ask, Message};
use world::{Client, World};

/// By how much the clocks of two servers differ at most.
const SKEW: Duration = Duration::from_millis(500);
/// In the middle of a second: a `Date` says whole ones.
const EPOCH: i64 = 1_700_000_000_600;

/// A scenario, and what is wrong with the code in it.
struct Check {
    scenario: Scenario,
    bug: Option<Bug>,
}

/// What may happen next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    /// A client begins an acquisition, in another mode if it holds.
    Begin(usize),
    /// It sends one more attempt of it.
    Again(usize),
    /// It gives it up.
    Abandon(usize),
    /// What it gave up got no answer in time.
    TimeOut(usize),
    Renew(usize),
    Release(usize),
    /// It writes to what the lock protects.
    Write(usize),
    Crash(usize),
    Deliver(Message),
    /// It comes a second time, later.
    Duplicate(Message),
    /// An answer comes whose `Date` is an hour ahead.
    Lie(Message),
    /// Time passes.
    Tick,
    /// Time passes, and a client's monotonic clock stands still.
    Freeze(usize),
    /// A client's wall clock is set, forward or back.
    Step(usize, i8),
    /// The database's TTL.
    Purge,
    /// Somebody deletes a record that nobody holds.
    Delete,
    /// Another server takes over, whose clock is different.
    FailOver,
}

impl Model for Check {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.scenario)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        self.of_clients(world, actions);
        for message in &world.wire {
            actions.push(Action::Deliver(message.clone()));
            if world.left.duplicates > 0 && message.is_request() {
                actions.push(Action::Duplicate(message.clone()));
            }
            if world.left.lies > 0 && self.may_lie(world, message) {
                actions.push(Action::Lie(message.clone()));
            }
        }
        self.of_the_world(world, actions);
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        match action {
            Action::Begin(client) => self.begin(&mut world, client),
            Action::Again(client) => self.attempt(&mut world, client),
            Action::Abandon(client) => self.abandon(&mut world, client),
            Action::TimeOut(client) => world.clients[client].under_way = None,
            Action::Renew(client) => self.renew(&mut world, client),
            Action::Release(client) => self.release(&mut world, client),
            Action::Write(client) => Self::write(&mut world, client),
            Action::Crash(client) => {
                world.left.crashes -= 1;
                world.clients[client].forget();
            }
            Action::Deliver(message) => {
                world.take(&message);
                self.deliver(&mut world, message);
            }
            Action::Duplicate(message) => {
                world.left.duplicates -= 1;
                self.deliver(&mut world, message);
            }
            Action::Lie(message) => {
                world.left.lies -= 1;
                world.take(&message);
                self.deliver(&mut world, dated::an_hour_ahead(message));
            }
            Action::Tick => world.now += 1,
            Action::Freeze(client) => {
                world.left.freezes -= 1;
                world.now += 1;
                world.clients[client].frozen += 1;
            }
            Action::Step(client, ticks) => {
                world.left.steps -= 1;
                world.clients[client].wall_off += ticks;
            }
            Action::Purge => self.purge(&mut world),
            Action::Delete => {
                world.left.deletions -= 1;
                // No two of its kind in one instant: a token is a time.
                world.now += 1;
                world.record = None;
            }
            Action::FailOver => Self::fail_over(&mut world),
        }
        self.look(&mut world);
        world.drop_unwanted();
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        invariant::properties()
    }
}

impl Check {
    fn of_clients(&self, world: &World, actions: &mut Vec<Action>) {
        let scenario = &self.scenario;
        for (index, client) in world.clients.iter().enumerate() {
            let believes = self.left(world, index).is_some();
            match &client.asking {
                Some(asking) => {
                    if asking.attempts < scenario.roles[index].attempts {
                        actions.push(Action::Again(index));
                    }
                    actions.push(Action::Abandon(index));
                }
                None if client.begun < scenario.roles[index].acquisitions
                    && self.may_begin(client, index) =>
                {
                    let upgrades = scenario.roles[index].changes_to.is_some();
                    if client.lease.is_none() || (upgrades && believes) {
                        actions.push(Action::Begin(index));
                    }
                }
                None => {}
            }
            if client.under_way.is_some() {
                actions.push(Action::TimeOut(index));
            }
            if let Some(lease) = &client.lease {
                if believes && client.asking.is_none() {
                    if lease.renewals < scenario.roles[index].renewals {
                        actions.push(Action::Renew(index));
                    }
                    if lease.writes < scenario.writes {
                        actions.push(Action::Write(index));
                    }
                }
                if client.asking.is_none() {
                    actions.push(Action::Release(index));
                }
            }
            if world.left.crashes > 0 && (client.lease.is_some() || client.asking.is_some()) {
                actions.push(Action::Crash(index));
            }
            // Whose does not matter: the clients are alike where clocks step.
            if world.left.steps > 0 && index == 0 {
                actions.extend([1, -1].map(|ticks| Action::Step(index, ticks)));
            }
            if world.left.freezes > 0 && world.now < scenario.ticks {
                actions.push(Action::Freeze(index));
            }
        }
    }

    /// Acquisitions of an owner that was chosen take turns.
    fn may_begin(&self, client: &Client, index: usize) -> bool {
        let takes_turns = self.scenario.roles[index].owner.is_some();
        !takes_turns || client.under_way.is_none() || self.bug == Some(Bug::TurnEndsEarly)
    }

    fn of_the_world(&self, world: &World, actions: &mut Vec<Action>) {
        if world.now < self.scenario.ticks {
            actions.push(Action::Tick);
        }
        let Some(record) = &world.record else {
            return;
        };
        if record
            .purge_at
            .is_some_and(|at| at <= self.server_now(world))
        {
            actions.push(Action::Purge);
        }
        // Not within a request's time-out of its creation: by `Date`s, the token of what is created is the time when it
        // was decided.
        let is_quiet =
            self.scenario.time == Time::Server || !world.wire.iter().any(Message::is_request);
        let may_delete = world.left.deletions > 0 && world.now < self.scenario.ticks;
        if may_delete && is_quiet && record.holders.is_empty() {
            actions.push(Action::Delete);
        }
        if world.left.failovers > 0 {
            actions.push(Action::FailOver);
        }
    }

    fn deliver(&self, world: &mut World, message: Message) {
        match message {
            Message::Request(request, stamp) => self.serve(world, request, stamp),
            Message::Reply(to, reply, dated) => {
                self.observe(world, to.client, dated.as_ref());
                self.answered(world, to, reply, dated.as_ref());
            }
            Message::Write(token) => self.arrives(world, token),
        }
    }

    /// True time.
    fn truth(&self, world: &World) -> Timestamp {
        let elapsed = self.scenario.tick * u32::from(world.now);
        Timestamp::from_millis(EPOCH).saturating_add(elapsed)
    }

    /// What the server's clock shows.
    fn server_now(&self, world: &World) -> Timestamp {
        let now = self.truth(world);
        if world.is_ahead {
            now.saturating_add(SKEW)
        } else {
            now
        }
    }

    /// What a client's clocks show.
    fn moment(&self, world: &World, client: usize) -> Moment {
        let client = &world.clients[client];
        let wall = i64::from(world.now) + i64::from(client.wall_off);
        let tick = i64::try_from(self.scenario.tick.as_millis()).unwrap();
        Moment {
            monotonic: self.scenario.tick * u32::from(world.now - client.frozen),
            wall: Timestamp::from_millis(EPOCH + wall * tick),
        }
    }

    /// What is left of a client's lease as far as it knows; `None` if it has none, or knows that it is lost.
    fn left(&self, world: &World, client: usize) -> Option<Duration> {
        let lease = world.clients[client].lease.as_ref()?;
        let left = lease.renewal.left(self.moment(world, client));
        Some(left).filter(|left| !left.is_zero())
    }

    fn ttl(&self) -> Ttl {
        Ttl::new(self.scenario.ttl).unwrap()
    }

    /// The request that `ask` stands for.
    fn request(&self, ask: &Ask) -> AcquireRequest {
        let owner = Owner::new(format!("o{}", ask.owner)).unwrap();
        let key = Key::new("k").unwrap();
        AcquireRequest {
            id: ask.id.name(),
            seq: ask.seq,
            queueing: ask.queueing,
            queued: ask.queued,
            replaces: ask.replaces.map(Id::name),
            ..AcquireRequest::new(&key, &owner, ask.mode, self.ttl())
        }
    }
}

/// Which acquisition: whose, and its how many-th.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Id {
    client: usize,
    number: u8,
}

impl Id {
    fn name(self) -> LeaseId {
        LeaseId::new(format!("{}-{}", self.client, self.number)).unwrap()
    }
}

/// Whether two leases exclude each other.
fn conflict(one: Mode, other: Mode) -> bool {
    one == Mode::Exclusive || !one.same_kind(other)
}
