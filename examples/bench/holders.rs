//! One shared lock with more and more holders, up to 200.

use std::time::Duration;

use anyhow::Result;
use doclock::{Lease, LockClient, Shared};
use futures_util::future::try_join_all;

use crate::Bench;
use crate::meter::{Meter, Usage};
use crate::report::Report;
use crate::time::{Clock, Times, millis};

const NAME: &str = "holders";
const MOST: usize = 200;
const STEPS: [usize; 5] = [1, 25, 50, 100, MOST];
/// No renewal comes in between.
const LONG: Duration = Duration::from_hours(1);

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let samples = bench.quick_or(20, 100);
    bench.begin(NAME, STEPS.len() * samples);
    let meter = Meter::default();
    let locks = bench.site.driver(Some(&meter)).await?.locks();
    let mut held = Vec::new();
    let mut alone = None;
    for holders in STEPS {
        while held.len() < holders {
            held.push(share(&locks, "holders").await?);
        }
        let (mut times, mut renewals) = (Times::new()?, Times::new()?);
        let mut used = Vec::new();
        for _ in 0..samples {
            let before = meter.read();
            let join = async { Ok(share(&locks, "holders").await?.release().await?) };
            times.time(Clock::WALL, join).await?;
            used.push(meter.read() - before);
            let renew = async { Ok(held[0].renew().await?) };
            renewals.time(Clock::WALL, renew).await?;
            bench.bar.inc(1);
        }
        let usage = Usage::sum(used) / samples as f64;
        let both = [times, renewals].map(|times| times.quantile(0.5));
        let first = *alone.get_or_insert(both);
        let names = ["acquire + release", "renew"];
        for (nth, name) in names.into_iter().enumerate() {
            let what = format!("{name}, beside {holders}");
            let figure = bench.figure(NAME, what, both[nth], "ms");
            let figure = figure.ratio(both[nth] / first[nth]);
            report.add(if nth == 0 {
                figure.usage(usage)
            } else {
                figure
            });
        }
        let (curve, x) = (bench.site.kind.to_string(), holders as f64);
        report.point("holders-time", &curve, (x, both[0]));
        report.point("holders-units", &curve, (x, usage.write_units));
    }
    locks.shutdown().await;
    drop(held);
    at_once(bench, report).await
}

/// All of them come together, and leave together.
async fn at_once(bench: &Bench, report: &mut Report) -> Result<()> {
    let meter = Meter::default();
    let locks = bench.site.driver(Some(&meter)).await?.locks();
    share(&locks, "at-once").await?.release().await?;
    let (before, begin) = (meter.read(), Clock::WALL.now()?);
    let leases = try_join_all((0..MOST).map(|_| share(&locks, "at-once"))).await?;
    let (between, granted) = (meter.read(), Clock::WALL.now()?);
    try_join_all(leases.into_iter().map(Lease::release)).await?;
    let (after, released) = (meter.read(), Clock::WALL.now()?);
    for (what, took, used) in [
        (
            "200 at once: all granted",
            granted.saturating_sub(begin),
            between - before,
        ),
        (
            "200 at once: all released",
            released.saturating_sub(granted),
            after - between,
        ),
    ] {
        let figure = bench.figure(NAME, what, millis(took), "ms");
        report.add(figure.usage(used / MOST as f64));
    }
    locks.shutdown().await;
    Ok(())
}

async fn share(locks: &LockClient, key: &str) -> Result<Lease<Shared>> {
    Ok(locks.shared(key).ttl(LONG).acquire().await?)
}
