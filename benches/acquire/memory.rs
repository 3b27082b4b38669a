//! The client's own share, by a backend that grants everything at once and keeps nothing.

use std::fs;

use anyhow::{Context, Result};
use async_trait::async_trait;
use doclock::{
    AcquireOutcome, AcquireRequest, Backend, Grant, Key, LockClient, LockRecord, ReleaseOutcome,
    ReleaseRequest, RenewOutcome, RenewRequest, Validity,
};
use hdrhistogram::Histogram;
use indicatif::ProgressBar;

use crate::race::{quantile, time};
use crate::{KEY_A, TTL, take_and_release};

const LEASES: u32 = 10_000;

/// Prints two lines.
pub(crate) async fn measure(rounds: u32) -> Result<()> {
    let locks = LockClient::new(Yes);
    let mut histogram = Histogram::new(3)?;
    for _ in 0..rounds {
        time(
            &mut async || take_and_release(&locks, KEY_A).await,
            &mut histogram,
        )
        .await?;
    }
    println!(
        "{:20}  {:>7.3}  {:>8.3}",
        "no server at all",
        quantile(&histogram, 0.5),
        quantile(&histogram, 0.99),
    );

    let progress = ProgressBar::new(LEASES.into());
    let before = resident()?;
    let mut leases = Vec::new();
    for number in 0..LEASES {
        let key = format!("tenant-{number}");
        leases.push(locks.lock(key).ttl(TTL).acquire().await?);
        progress.inc(1);
    }
    let bytes = resident()?.saturating_sub(before) / u64::from(LEASES);
    progress.finish_and_clear();
    println!("\nMemory of a held lease, {LEASES} on one client: {bytes} bytes");
    drop(leases);
    locks.shutdown().await;
    Ok(())
}

/// The bytes of this process that are in memory.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("needs Linux")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kilobytes.context("no VmRSS")?.parse::<u64>()? * 1024)
}

#[derive(Debug)]
struct Yes;

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
