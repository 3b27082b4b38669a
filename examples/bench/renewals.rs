//! Thousands of leases that one client keeps alive, acquired one after another.

use std::time::Duration;

use anyhow::Result;
use doclock::Lease;
use tokio::time::{Instant, interval};

use crate::Bench;
use crate::memory::resident;
use crate::meter::Meter;
use crate::report::Report;
use crate::time::Clock;

const NAME: &str = "renewals";
const TTL: Duration = Duration::from_secs(30);
/// In which each lease is renewed once.
const PERIOD: Duration = Duration::from_secs(10);

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let leases: u32 = bench.quick_or(1_000, 10_000);
    let span = Duration::from_secs(bench.quick_or(20, 600));
    bench.begin(NAME, leases as usize + usize::try_from(span.as_secs())?);
    let meter = Meter::default();
    let locks = bench.site.driver(Some(&meter)).await?.locks();
    // Connections and buffers are those of a client without leases too.
    locks.lock("renewals").acquire().await?.release().await?;
    let empty = resident()?;

    let mut held = Vec::new();
    for number in 0..leases {
        let lock = locks.lock(format!("renewals-{number}"));
        held.push(lock.ttl(TTL).acquire().await?);
        bench.bar.inc(1);
    }
    let (sent, cpu, begin) = (meter.read(), Clock::PROCESS.now()?, Instant::now());
    let peak = watch(bench, span).await?;
    let span = begin.elapsed().as_secs_f64();
    let cpu = Clock::PROCESS.now()?.saturating_sub(cpu).as_secs_f64();
    let sent = (meter.read() - sent) / (span / PERIOD.as_secs_f64());
    let lost = held.iter().filter(|lease| !Lease::is_held(lease)).count();

    let figure = |what: &str, value, unit| {
        bench.figure(NAME, format!("{leases} leases: {what}"), value, unit)
    };
    let per_period = figure("requests in a third of the ttl", sent.requests, "");
    report.add(per_period.usage(sent / f64::from(leases)));
    report.add(figure("CPU", 100.0 * cpu / span, "% of a core"));
    report.add(figure(
        "memory beyond an empty client",
        (peak - empty) / 1e6,
        "MB",
    ));
    report.add(figure("lost", lost as f64, ""));
    drop(held);
    locks.shutdown().await;
    Ok(())
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
