//! What happened, as one who sees every process saw it: what the simulation and the torture write down, and what
//! [`check`] judges.
//!
//! A history is a file of JSON lines. Every process writes its own; together they are one, ordered by [`Event::at`].

// Each program writes down what can happen to it.
#![allow(dead_code)]

pub(crate) mod check;

use doclock::Mode;
use serde::{Deserialize, Serialize};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Event {
    /// When, in nanoseconds on a clock that all processes share and nobody skews: the machine's `CLOCK_MONOTONIC`, or
    /// the simulation's true time. Taken before what is asked for and after what is answered.
    pub(crate) at: u64,
    /// Who: an incarnation of a client. A process that is started again is another one.
    pub(crate) client: u32,
    pub(crate) what: What,
}

/// What happened. `lease` numbers the acquisitions of one client, granted or not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum What {
    /// An acquisition is asked for, and waits for `wait` nanoseconds at most; not at all if that is zero. `ttl`: the longest
    /// that the record can have it without a renewal.
    Acquire {
        lease: u32,
        key: String,
        side: Side,
        fair: bool,
        ttl: u64,
        wait: u64,
        /// Leases of one owner take each other's place: each promises that the one before is over. A change of the mode is
        /// such a pair as well. `None`: an owner that nobody else is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<String>,
    },
    /// It was granted.
    Granted { lease: u32, token: u64 },
    /// It was not, for this kind of error.
    NotGranted { lease: u32, kind: String },
    /// Nobody waits for it any more: its future was dropped. Or it was granted, and left to expire.
    GivenUp { lease: u32 },
    /// The lease said that it is held, when asked between `since` and [`Event::at`], and for `remaining` more from `since`
    /// on. Written only by a client that was not paused in between.
    Held {
        lease: u32,
        since: u64,
        remaining: u64,
    },
    /// The lease told that it is lost.
    Lost { lease: u32, message: String },
    /// A renewal by hand was asked for at `since`, and this came of it.
    Renewed { lease: u32, since: u64, ok: bool },
    /// A release is asked for.
    Release { lease: u32 },
    /// It was answered. Not `ok`: an error; the record may still have it.
    Released { lease: u32, ok: bool },
    /// The resource that `key` protects was asked to write, with this token; a fenced one accepts or refuses it. An
    /// unfenced one accepts everything.
    Write {
        key: String,
        token: u64,
        fenced: bool,
        accepted: bool,
    },
    /// From here on the client does nothing, and has lost all it knew.
    Crashed,
    /// The client stands still, its clocks do not.
    Paused,
    /// It goes on.
    Resumed,
    /// The world was made worse: what was done to it. Counted by its name.
    Fault { name: String },
    /// From here on, until the next fault, the servers are all well, and nothing that was sent before is under way.
    Healed,
    /// A record that is not ours was looked at: whether it is byte for byte as it was put there.
    Foreign { key: String, untouched: bool },
}

/// What a lock allows beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Side {
    Exclusive,
    Shared,
    Permit { limit: u32 },
}

impl Side {
    pub(crate) fn mode(self) -> Mode {
        match self {
            Self::Exclusive => Mode::Exclusive,
            Self::Shared => Mode::Shared,
            Self::Permit { limit } => Mode::Permit { limit },
        }
    }
}
