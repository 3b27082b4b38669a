//! Thousands of leases that one client keeps alive, acquired one after another.

use std::time::Duration;

use anyhow::Result;
use doclock::{Lease, LockClient};
use tokio::time::{Instant, interval};

use crate::Bench;
use crate::memory::resident;
use crate::meter::Meter;
use crate::report::{Figure, Report};
use crate::time::Clock;

const NAME: &str = "renewals";
const TTL: Duration = Duration::from_secs(30);
/// In which each lease is renewed once.
const PERIOD: Duration = Duration::from_secs(10);
/// How long requests are counted.
const COUNTED: Duration = Duration::from_secs(30);

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let leases: u32 = bench.quick_or(1_000, 10_000);
    let span = Duration::from_secs(bench.quick_or(20, 600));
    let spans = usize::try_from((span + COUNTED).as_secs())?;
    bench.begin(NAME, 2 * leases as usize + spans);
    let mut tell = |what: &str, value, unit, usage| {
        let what = format!("{leases} leases: {what}");
        let figure = bench.figure(NAME, what, value, unit);
        report.add(Figure { usage, ..figure });
    };

    let locks = bench.site.driver(None).await?.locks();
    // Connections and buffers are those of a client without leases too.
    locks.lock("renewals").acquire().await?.release().await?;
    let empty = resident()?;
    let held = acquire(bench, &locks, leases).await?;
    let (cpu, begin) = (Clock::PROCESS.now()?, Instant::now());
    let peak = watch(bench, span).await?;
    let cpu = Clock::PROCESS.now()?.saturating_sub(cpu);
    let share = 100.0 * cpu.div_duration_f64(begin.elapsed());
    let lost = held.iter().filter(|lease| !Lease::is_held(lease)).count();
    tell("CPU", share, "% of a core", None);
    let memory = (peak - empty) / 1e6;
    tell("memory beyond an empty client", memory, "MB", None);
    tell("lost", lost as f64, "", None);
    locks.shutdown().await;
    drop(held);

    // To be told of its commands costs MongoDB's driver more than to send them.
    let meter = Meter::default();
    let locks = bench.site.driver(Some(&meter)).await?.locks();
    let held = acquire(bench, &locks, leases).await?;
    let sent = meter.read();
    watch(bench, COUNTED).await?;
    let sent = (meter.read() - sent) / COUNTED.div_duration_f64(PERIOD);
    let usage = Some(sent / f64::from(leases));
    tell("requests in a third of the ttl", sent.requests, "", usage);
    locks.shutdown().await;
    drop(held);
    Ok(())
}

async fn acquire(bench: &Bench, locks: &LockClient, leases: u32) -> Result<Vec<Lease>> {
    let mut held = Vec::new();
    for number in 0..leases {
        let lock = locks.lock(format!("renewals-{number}"));
        held.push(lock.ttl(TTL).acquire().await?);
        bench.bar.inc(1);
    }
    Ok(held)
}

/// The most memory that this process had meanwhile.
async fn watch(bench: &Bench, span: Duration) -> Result<f64> {
    let mut second = interval(Duration::from_secs(1));
    let mut peak: f64 = 0.0;
    for _ in 0..span.as_secs() {
        second.tick().await;
        peak = peak.max(resident()?);
        bench.bar.inc(1);
    }
    Ok(peak)
}
