//! All there is at one moment.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::backend::dynamodb::clock::IntervalClock;
use crate::renewal::Renewal;
use crate::{LockRecord, Mode};

use super::Id;
use super::SKEW;
use super::ghost::Ghost;
use super::scenario::{Faults, Scenario, Time};
use super::wire::{Message, Reply};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    /// How many ticks have passed.
    pub(super) now: u8,
    /// The present server's clock is ahead of the other's.
    pub(super) is_ahead: bool,
    pub(super) record: Option<LockRecord>,
    /// What no majority has confirmed may be undone: the record before the last write, if the code is careless of it.
    pub(super) unconfirmed: Option<Box<Option<LockRecord>>>,
    pub(super) clients: Vec<Client>,
    /// In an order that does not depend on when what was sent, so that worlds which differ in that only are one.
    pub(super) wire: Vec<Message>,
    /// The highest token that the protected resource has seen.
    pub(super) fence: u64,
    /// What may still go wrong.
    pub(super) left: Faults,
    pub(super) ghost: Ghost,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Client {
    pub(super) lease: Option<Lease>,
    pub(super) asking: Option<Asking>,
    /// What it gave up, while an attempt of it is still being answered.
    pub(super) under_way: Option<Id>,
    /// How many acquisitions it began.
    pub(super) begun: u8,
    /// For so many ticks its monotonic clock stood still.
    pub(super) frozen: u8,
    /// By so many ticks its wall clock is off.
    pub(super) wall_off: i8,
    /// What it knows of the server's time, if it goes by that.
    pub(super) clock: Option<IntervalClock>,
}

/// A lease that a client was handed out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lease {
    pub(super) id: Id,
    pub(super) owner: u8,
    pub(super) mode: Mode,
    pub(super) token: u64,
    pub(super) renewal: Renewal,
    pub(super) renewals: u8,
    pub(super) writes: u8,
}

/// An acquisition that a client waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asking {
    pub(super) id: Id,
    pub(super) owner: u8,
    pub(super) mode: Mode,
    pub(super) queued: bool,
    pub(super) replaces: Option<Id>,
    pub(super) renewal: Renewal,
    pub(super) attempts: u8,
}

impl World {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            now: 0,
            is_ahead: false,
            record: scenario.exists.then(|| LockRecord::new(Mode::Exclusive)),
            unconfirmed: None,
            clients: vec![Client::new(scenario); scenario.roles.len()],
            wire: Vec::new(),
            fence: 0,
            left: scenario.faults.clone(),
            ghost: Ghost::default(),
        }
    }

    pub(super) fn send(&mut self, message: Message) {
        let place = self.place(&message);
        if let Err(place) = place {
            self.wire.insert(place, message);
        }
    }

    pub(super) fn take(&mut self, message: &Message) {
        if let Ok(place) = self.place(message) {
            self.wire.remove(place);
        }
    }

    /// Answers that nobody waits for change nothing.
    pub(super) fn drop_unwanted(&mut self) {
        let clients = &self.clients;
        self.wire.retain(|message| {
            let Message::Reply(to, reply, _) = message else {
                return true;
            };
            let client = &clients[to.client];
            match reply {
                Reply::Look { .. } | Reply::Granted { .. } | Reply::Over => client.goes_on(*to),
                Reply::Renewed { .. } | Reply::Lost => {
                    client.lease.as_ref().is_some_and(|lease| lease.id == *to)
                }
                Reply::Held => {
                    client.asks(*to, |asking| asking.queued || asking.replaces.is_some())
                }
                Reply::Queued => client.asks(*to, |asking| !asking.queued),
            }
        });
    }

    fn place(&self, message: &Message) -> Result<usize, usize> {
        let mine = fingerprint(message);
        self.wire.binary_search_by_key(&mine, fingerprint)
    }
}

/// The same in every run.
fn fingerprint(message: &Message) -> u64 {
    let mut hasher = DefaultHasher::new();
    message.hash(&mut hasher);
    hasher.finish()
}

impl Client {
    fn new(scenario: &Scenario) -> Self {
        let clock = (scenario.time == Time::Dates).then(|| IntervalClock::new(SKEW));
        Self {
            clock,
            ..Self::default()
        }
    }

    fn asks(&self, id: Id, as_well: impl Fn(&Asking) -> bool) -> bool {
        let asking = self.asking.as_ref();
        asking.is_some_and(|asking| asking.id == id && as_well(asking))
    }

    /// It crashed, and comes up again.
    pub(super) fn forget(&mut self) {
        self.lease = None;
        self.asking = None;
        self.under_way = None;
        self.clock = self.clock.as_ref().map(|_| IntervalClock::new(SKEW));
    }

    /// Whether an attempt of this acquisition still goes on.
    pub(super) fn goes_on(&self, id: Id) -> bool {
        self.asks(id, |_| true) || self.under_way == Some(id)
    }
}
