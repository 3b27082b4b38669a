//! The client's own share, by a backend that grants everything at once and keeps nothing.

use std::fs;

use anyhow::{Context, Result};
use async_trait::async_trait;
use doclock::{
    AcquireOutcome, AcquireRequest, Backend, Grant, Key, LockClient, LockRecord, ReleaseOutcome,
    ReleaseRequest, RenewOutcome, RenewRequest, Validity,
};

use crate::raw::{TTL, take_and_release};
use crate::report::{Figure, Report};
use crate::time::{Clock, Times};

const NAME: &str = "memory";
const LEASES: u32 = 10_000;

pub(crate) async fn run(quick: bool, report: &mut Report) -> Result<()> {
    let locks = LockClient::new(Yes);
    let mut times = Times::new()?;
    for _ in 0..if quick { 2_000 } else { 20_000 } {
        times
            .time(Clock::WALL, take_and_release(&locks, "k"))
            .await?;
    }
    let p50 = 1e3 * times.quantile(0.5);
    report.add(figure("acquire + release, p50", p50, "µs"));

    let before = resident()?;
    let mut leases = Vec::new();
    for number in 0..LEASES {
        let key = format!("tenant-{number}");
        leases.push(locks.lock(key).ttl(TTL).acquire().await?);
    }
    let bytes = (resident()? - before) / f64::from(LEASES);
    report.add(figure("a held lease", bytes, "bytes"));
    drop(leases);
    locks.shutdown().await;
    Ok(())
}

fn figure(what: &str, value: f64, unit: &'static str) -> Figure {
    Figure::new(NAME, &"none", what, value, unit)
}

/// The bytes of this process that are in memory.
pub(crate) fn resident() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status").context("needs Linux")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kilobytes.context("no VmRSS")?.parse::<f64>()? * 1024.0)
}

/// A backend that grants everything at once and keeps nothing.
#[derive(Debug)]
pub(crate) struct Yes;

#[async_trait]
impl Backend for Yes {
    async fn acquire(&self, request: &AcquireRequest) -> doclock::Result<AcquireOutcome> {
        let validity = Validity {
            seq: request.seq,
            valid_for: request.ttl.as_duration(),
            refresh: false,
        };
        Ok(AcquireOutcome::Granted(Grant {
            token: 1,
            validity,
            slot: None,
        }))
    }

    async fn renew(&self, request: &RenewRequest) -> doclock::Result<RenewOutcome> {
        Ok(RenewOutcome::Renewed(Validity {
            seq: request.seq,
            valid_for: request.ttl.as_duration(),
            refresh: false,
        }))
    }

    async fn release(&self, _: &ReleaseRequest) -> doclock::Result<ReleaseOutcome> {
        Ok(ReleaseOutcome::Released)
    }

    async fn inspect(&self, _: &Key) -> doclock::Result<Option<LockRecord>> {
        Ok(None)
    }

    async fn setup(&self) -> doclock::Result<()> {
        Ok(())
    }
}
