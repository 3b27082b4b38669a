//! What a check looks at: who wants what, and how much may go wrong.

use std::time::Duration;

use crate::{Mode, Queueing};

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decides {
    /// The server, in one step.
    Server,
    /// The client, on a record that it saw, and the server compares and swaps.
    Client,
}

/// By what time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    /// The server's own.
    Server,
    /// What its answers' `Date`s told the client.
    Dates,
}

#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) decides: Decides,
    pub(super) time: Time,
    /// There is a record already, which nobody holds.
    pub(super) exists: bool,
    /// One for each client.
    pub(super) roles: Vec<Role>,
    pub(super) tick: Duration,
    pub(super) ttl: Duration,
    /// How long it lasts.
    pub(super) ticks: u8,
    /// Of each lease.
    pub(super) writes: u8,
    pub(super) faults: Faults,
}

/// What a client wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Role {
    pub(super) mode: Mode,
    pub(super) queueing: Queueing,
    /// An owner that it chose.
    pub(super) owner: Option<u8>,
    /// What it makes of its lease.
    pub(super) changes_to: Option<Mode>,
    pub(super) acquisitions: u8,
    /// How often it asks, of each acquisition.
    pub(super) attempts: u8,
    /// Of each lease.
    pub(super) renewals: u8,
}

/// How often each may happen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Faults {
    pub(super) duplicates: u8,
    pub(super) crashes: u8,
    pub(super) freezes: u8,
    pub(super) steps: u8,
    pub(super) deletions: u8,
    pub(super) failovers: u8,
    /// Answers whose `Date` is an hour ahead.
    pub(super) lies: u8,
}

impl Role {
    pub(super) const fn of(mode: Mode) -> Self {
        Self {
            mode,
            queueing: Queueing::Never,
            owner: None,
            changes_to: None,
            acquisitions: 1,
            attempts: 1,
            renewals: 0,
        }
    }

    pub(super) const fn fair(mode: Mode) -> Self {
        Self {
            queueing: Queueing::Fair,
            ..Self::of(mode)
        }
    }

    pub(super) const fn asks(self, attempts: u8) -> Self {
        Self { attempts, ..self }
    }

    pub(super) const fn renews(self) -> Self {
        Self {
            renewals: 1,
            ..self
        }
    }

    /// It comes back, as an owner that it chose.
    pub(super) const fn owned(self, owner: u8) -> Self {
        Self {
            owner: Some(owner),
            acquisitions: 2,
            ..self
        }
    }

    pub(super) const fn then(self, mode: Mode) -> Self {
        Self {
            changes_to: Some(mode),
            acquisitions: 2,
            ..self
        }
    }
}

impl Scenario {
    /// Clients on leases of two seconds.
    pub(super) fn new(name: &'static str, roles: &[Role]) -> Self {
        Self {
            name,
            decides: Decides::Server,
            time: Time::Server,
            exists: false,
            roles: roles.to_vec(),
            tick: Duration::from_secs(1),
            ttl: Duration::from_secs(2),
            ticks: 4,
            writes: 0,
            faults: Faults::default(),
        }
    }

    pub(super) fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    pub(super) fn by_client(self) -> Self {
        Self {
            decides: Decides::Client,
            ..self
        }
    }

    pub(super) fn by_dates(self) -> Self {
        Self {
            time: Time::Dates,
            ..self.by_client()
        }
    }
}
