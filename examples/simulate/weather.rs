//! What goes wrong in a world, drawn from its seed: on the wire, in the database, and with the hosts.

use fastrand::Rng;

use crate::host::Clocks;
use crate::{CALM, MS, SECOND};

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Fine,
    Lost,
    ReplyLost,
    /// Applied once more, so much later.
    Duplicate(u64),
    LateRequest(u64),
    LateReply(u64),
    Throttled,
    Unavailable,
    /// An error that says nothing; it was applied or not.
    Unknown {
        applied: bool,
    },
}

impl Fate {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fine => "none",
            Self::Lost => "request lost",
            Self::ReplyLost => "reply lost",
            Self::Duplicate(_) => "duplicate",
            Self::LateRequest(_) => "late request",
            Self::LateReply(_) => "late reply",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Unknown { .. } => "outcome unknown",
        }
    }
}

/// What is done to a host.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    /// It stands still until then. Frozen, its monotonic clock does as well.
    Pause {
        until: u64,
        frozen: bool,
        answers_first: bool,
    },
    /// It starts anew then, if ever.
    Crash {
        until: Option<u64>,
    },
    StepWall(i64),
    /// Nothing reaches it or comes from it until then.
    CutOff {
        until: u64,
    },
}

/// What is done to the database.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outage {
    /// Another server, whose clock is off by so much; what was under way is lost.
    FailOver(i64),
    /// No server until then.
    Down {
        until: u64,
    },
    Purge,
}

pub(crate) struct Weather {
    /// The longest way of a request or answer in milliseconds, usually.
    pub(crate) way: u64,
    /// Of a thousand requests, how many suffer each kind of fault.
    faults: u64,
}

impl Weather {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let way = if rng.u8(..8) == 0 { 300 } else { 20 };
        let faults = [0, 5, 20, 60][rng.usize(..4)];
        Self { way, faults }
    }

    pub(crate) fn way(&self, rng: &mut Rng) -> u64 {
        rng.u64(MS..self.way * MS)
    }

    pub(crate) fn fate(&self, rng: &mut Rng, now: u64) -> Fate {
        let luck = rng.u64(..1000);
        if now >= CALM || luck >= self.faults * 8 {
            return Fate::Fine;
        }
        let late = rng.u64(100 * MS..4 * SECOND);
        match luck % 8 {
            0 => Fate::Lost,
            1 => Fate::ReplyLost,
            2 => Fate::Duplicate(rng.u64(MS..6 * SECOND)),
            3 => Fate::LateRequest(late),
            4 => Fate::LateReply(late),
            5 => Fate::Throttled,
            6 => Fate::Unavailable,
            _ => Fate::Unknown {
                applied: rng.bool(),
            },
        }
    }
}

pub(crate) fn clocks(rng: &mut Rng) -> Clocks {
    let second = i64::try_from(SECOND).unwrap();
    Clocks {
        drift: rng.i64(-10_000..=10_000),
        wall_off: rng.i64(-5 * second..=5 * second),
    }
}

/// What is done to one host, in order.
pub(crate) fn fate_of_host(rng: &mut Rng, stops_for_good: bool) -> Vec<(u64, Command)> {
    let mut commands = Vec::new();
    let often = rng.u64(3..30) * SECOND;
    // A wall clock that is set back while the monotonic one stands still is beyond what anybody can notice.
    let freezes = rng.bool();
    let mut at = rng.u64(SECOND / 2..often);
    while at < CALM - 10 * SECOND {
        let until = at + rng.u64(50 * MS..8 * SECOND);
        let hour = 3_600 * i64::try_from(SECOND).unwrap();
        let command = match rng.u8(..8) {
            0..4 => Command::Pause {
                until,
                frozen: freezes && rng.bool(),
                answers_first: rng.bool(),
            },
            4..6 => Command::Crash { until: Some(until) },
            6 => Command::CutOff { until },
            _ if freezes || rng.bool() => Command::StepWall(hour),
            _ => Command::StepWall(-hour),
        };
        commands.push((at, command));
        at = until + rng.u64(SECOND / 2..often);
    }
    if stops_for_good {
        let at = CALM + rng.u64(14 * SECOND..18 * SECOND);
        commands.push((at, Command::Crash { until: None }));
    }
    commands
}

/// What is done to the database, in order.
pub(crate) fn outages(rng: &mut Rng) -> Vec<(u64, Outage)> {
    let mut outages = Vec::new();
    let often = rng.u64(5..60) * SECOND;
    let mut at = rng.u64(SECOND..2 * often);
    while at < CALM - 10 * SECOND {
        let until = at + rng.u64(10 * MS..5 * SECOND);
        if rng.bool() {
            outages.push((at, Outage::Down { until }));
        }
        // No server's clock is behind the truth: that makes the truth the clock of the slowest.
        let off = rng.i64(0..=400 * i64::try_from(MS).unwrap());
        outages.push((at, Outage::FailOver(off)));
        at = until + rng.u64(SECOND..often);
    }
    outages.extend((1..CALM / SECOND).map(|second| (second * SECOND, Outage::Purge)));
    outages.sort_by_key(|(at, _)| *at);
    outages
}
