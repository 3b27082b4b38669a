//! What most workers do: take a lock, hold it for a while, give it back, and again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use doclock::LockClient;
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};

use super::sections::{Kind, Log, Section, monotonic};

/// Long enough that nothing expires on a busy machine.
const TTL: Duration = Duration::from_secs(10);
/// Nobody waits as long, or something hangs.
const PATIENCE: Duration = Duration::from_mins(2);

/// Loops of one process, side by side.
#[derive(Serialize, Deserialize)]
pub struct Loops {
    pub log: PathBuf,
    pub loops: Vec<Loop>,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Loop {
    pub key: String,
    pub kind: Kind,
    pub fair: bool,
    pub hold: Duration,
    /// After each section, on average.
    pub rest: Duration,
    pub until: Until,
}

/// When a loop ends.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub enum Until {
    Times(usize),
    Over(Duration),
}

impl Loops {
    pub async fn run(self, locks: &LockClient) -> Result<()> {
        let log = Log::open(&self.log)?;
        let loops = self.loops.iter().map(|one| one.run(locks, &log));
        try_join_all(loops).await?;
        Ok(())
    }
}

impl Loop {
    async fn run(&self, locks: &LockClient, log: &Log) -> Result<()> {
        let start = Instant::now();
        let mut times = 0;
        while match self.until {
            Until::Times(most) => times < most,
            Until::Over(span) => start.elapsed() < span,
        } {
            self.once(locks, log).await?;
            times += 1;
            tokio::time::sleep(self.rest.mul_f64(2.0 * fastrand::f64())).await;
        }
        Ok(())
    }

    pub async fn once(&self, locks: &LockClient, log: &Log) -> Result<()> {
        let lock = self.kind.lock(locks, &self.key).ttl(TTL).wait(PATIENCE);
        // For those who look at the record: it has one mode for all holders.
        let lock = lock.label(self.kind.mode().name());
        let lock = if self.fair { lock.fair() } else { lock };
        let asked = monotonic()?;
        let lease = lock.acquire().await?;
        let begin = monotonic()?;
        tokio::time::sleep(self.hold).await;
        let end = monotonic()?;
        ensure!(lease.is_held(), "lost: {lease:?}");
        let (id, token) = (lease.id().to_string(), lease.token());
        lease.release().await?;
        log.write(&Section {
            kind: self.kind,
            id,
            token,
            asked,
            begin,
            end,
            free: monotonic()?,
        })
    }
}
