//! The client and its leases, on the in-memory backend, in tokio's paused time: what takes minutes here takes
//! milliseconds, and every wait is exact.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::must_use_candidate,
    clippy::new_without_default,
    clippy::unchecked_time_subtraction,
    clippy::unwrap_used
)]

mod acquiring;
mod batches;
mod elections;
mod ending;
mod faulty;
mod holding;
mod input;
mod line;
mod observing;
mod once;
mod patterns;
mod polling;
mod queueing;
mod races;
mod waking;

use std::sync::Arc;
use std::time::Duration;

use doclock::{Backend, Clock, Lock, LockClient, MemoryBackend, Moment, Timestamp};
use faulty::Faulty;
use tokio::time::Instant;

pub const TTL: Duration = secs(30);
/// When a lease of [`TTL`] is lost unless renewed: the margin is a tenth.
pub const LOST_AFTER: Duration = secs(27);

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Two processes with one database.
pub struct World {
    pub memory: MemoryBackend,
    pub faults: Faulty,
    /// The one whose requests suffer faults.
    pub ours: LockClient,
    pub theirs: LockClient,
}

impl World {
    pub fn new() -> Self {
        let memory = MemoryBackend::new();
        let faults = Faulty::new(&memory);
        Self {
            ours: LockClient::new(faults.clone()),
            theirs: LockClient::new(memory.clone()),
            faults,
            memory,
        }
    }

    pub fn lock(&self) -> Lock {
        self.ours.lock("k").ttl(TTL)
    }

    pub fn other(&self) -> Lock {
        self.theirs.lock("k").ttl(TTL)
    }
}

/// Follows tokio's clock alone: what is much work may take longer than a lease by any other.
#[derive(Clone, Copy, Debug)]
pub struct Virtual(Instant);

impl Virtual {
    pub fn begin() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Virtual {
    fn now(&self) -> Moment {
        let elapsed = self.0.elapsed();
        Moment {
            monotonic: elapsed,
            wall: Timestamp::from_millis(1_700_000_000_000).saturating_add(elapsed),
        }
    }
}

/// A client by that clock.
pub fn client(backend: impl Backend) -> LockClient {
    let clock = Arc::new(Virtual::begin());
    LockClient::builder(backend).clock(clock).build()
}

/// Lets virtual time pass, and everything that is due in it happen.
pub async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
