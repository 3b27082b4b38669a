//! What a client does with a lock.

use std::time::Duration;

use anyhow::Result;
use doclock::{Lock, LockClient, Mode};
use fastrand::Rng;

use crate::history::{Side, What};

/// Of permits: fewer than want one.
const LIMIT: u32 = 2;

/// How long somebody waits for a lock.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    Try,
    Wait(Duration),
    /// Would wait longer than it does.
    GiveUp {
        wait: Duration,
        after: Duration,
    },
}

/// Who renews.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    Automatic,
    ByHand,
    Both,
}

/// How a lease ends, unless it is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Release,
    Drop,
    Expire,
}

/// One acquisition and what follows.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) key: String,
    pub(crate) side: Side,
    pub(crate) fair: bool,
    pub(crate) manner: Manner,
    pub(crate) renewal: Renewal,
    /// Longer than a third of the ttl, so that it must be renewed.
    pub(crate) long: bool,
    pub(crate) end: End,
}

impl Workload {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let (key, side, fair) = match rng.u8(..10) {
            0..4 => ("exclusive", Side::Exclusive, false),
            4 => ("mixed", Side::Exclusive, false),
            5..7 => ("mixed", Side::Shared, false),
            7 => ("permits", Side::Permit { limit: LIMIT }, false),
            _ => ("fair", Side::Exclusive, true),
        };
        let wait = Duration::from_millis(rng.u64(1000..=10_000));
        let manner = match rng.u8(..10) {
            0..6 => Manner::Wait(wait),
            6..9 => Manner::Try,
            _ => Manner::GiveUp {
                wait,
                after: Duration::from_millis(rng.u64(5..800)),
            },
        };
        let end = match rng.u8(..20) {
            0..14 => End::Release,
            14..19 => End::Drop,
            _ => End::Expire,
        };
        let renewal = match rng.u8(..8) {
            0..6 => Renewal::Automatic,
            6 => Renewal::Both,
            _ => Renewal::ByHand,
        };
        Self {
            key: key.to_owned(),
            side,
            fair,
            manner,
            renewal,
            long: rng.u8(..10) == 0,
            end,
        }
    }

    pub(crate) fn lock(&self, locks: &LockClient) -> Lock<Mode> {
        let lock = locks.lock_as(&self.key, self.side.mode());
        let lock = if self.fair { lock.fair() } else { lock };
        match self.renewal {
            Renewal::ByHand => lock.manual_renewal(),
            Renewal::Automatic | Renewal::Both => lock,
        }
    }

    /// What is asked for.
    pub(crate) fn acquire(&self, lease: u32, ttl: Duration) -> Result<What> {
        let wait = match self.manner {
            Manner::Try => Duration::ZERO,
            Manner::Wait(wait) | Manner::GiveUp { wait, .. } => wait,
        };
        Ok(What::Acquire {
            lease,
            key: self.key.clone(),
            side: self.side,
            fair: self.fair,
            ttl: u64::try_from(ttl.as_nanos())?,
            wait: u64::try_from(wait.as_nanos())?,
            owner: None,
        })
    }

    /// Only who is alone has a token that orders writes.
    pub(crate) fn writes(&self) -> bool {
        self.side == Side::Exclusive
    }

    /// The critical section's pieces: 5 to 500 ms in all, or a few seconds.
    pub(crate) fn pauses(&self, rng: &mut Rng) -> Vec<Duration> {
        let pieces = rng.u64(1..=4);
        let all = if self.long {
            rng.u64(1000..4000)
        } else {
            rng.u64(5..=500)
        };
        let piece = Duration::from_millis(all / pieces);
        (0..pieces).map(|_| piece).collect()
    }
}
