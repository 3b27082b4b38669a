//! What is on its way.

use crate::rules::ServerTime;
use crate::{LockRecord, Mode, Moment, Queueing, Timestamp};

use super::Id;

/// An attempt to acquire.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ask {
    pub(super) id: Id,
    pub(super) owner: u8,
    pub(super) seq: u64,
    pub(super) mode: Mode,
    pub(super) queueing: Queueing,
    pub(super) queued: bool,
    pub(super) replaces: Option<Id>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Message {
    Request(Request, Option<Stamp>),
    Reply(Id, Reply, Option<Dated>),
    /// To what the lock protects, with the token.
    Write(u64),
}

/// What comes with a request of a client that keeps the time by `Date`s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stamp {
    pub(super) sent: Moment,
    pub(super) time: ServerTime,
}

/// What comes with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Dated {
    pub(super) sent: Moment,
    pub(super) date: Timestamp,
    /// Of the lease, if it holds.
    pub(super) expires_at: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Request {
    Acquire(Ask),
    /// What the client decided on the record that it saw.
    Swap {
        ask: Ask,
        /// `rev` and `token` of that record.
        base: Option<(u64, u64)>,
        next: Box<LockRecord>,
        grants: bool,
    },
    Renew {
        id: Id,
        owner: u8,
        seq: u64,
        token: u64,
        mode: Mode,
    },
    Release {
        id: Id,
        owner: u8,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reply {
    /// What the client is to decide on, as it was at a time by the server's clock.
    Look {
        ask: Ask,
        record: Option<Box<LockRecord>>,
        at: Timestamp,
    },
    Granted {
        token: u64,
        seq: u64,
    },
    Queued,
    /// Somebody is in the way.
    Held,
    /// The acquisition is over: released, or replaced.
    Over,
    Renewed {
        seq: u64,
    },
    Lost,
}

impl Message {
    pub(super) fn is_request(&self) -> bool {
        !matches!(self, Self::Reply(..))
    }
}
