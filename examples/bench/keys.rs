//! One client that holds more and more keys, up to 100,000.

use std::time::Duration;

use anyhow::Result;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::Bench;
use crate::raw::{ByHand, take_and_release};
use crate::report::Report;
use crate::time::{Clock, Times};

const NAME: &str = "keys";
const STEPS: [usize; 6] = [1, 10, 100, 1_000, 10_000, 100_000];
/// Steps of a quick run.
const QUICK: usize = 4;
/// Acquisitions under way at once.
const SIDE_BY_SIDE: usize = 32;
/// No renewal comes in between.
const LONG: Duration = Duration::from_hours(1);

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let (steps, samples) = (bench.quick_or(QUICK, STEPS.len()), bench.quick_or(30, 200));
    bench.begin(NAME, steps * samples);
    let driver = bench.site.driver(None).await?;
    let (locks, by_hand) = (driver.locks(), ByHand(driver));
    let mut held = Vec::new();
    for keys in &STEPS[..steps] {
        let (from, begin) = (held.len(), Clock::WALL.now()?);
        let missing = stream::iter(from..*keys).map(async |number| {
            let key = format!("keys-{number}");
            locks.lock(key).ttl(LONG).acquire().await
        });
        let more: Vec<_> = missing.buffer_unordered(SIDE_BY_SIDE).try_collect().await?;
        let took = Clock::WALL.now()?.saturating_sub(begin);
        held.extend(more);

        let (mut ours, mut plain) = (Times::new()?, Times::new()?);
        for _ in 0..samples {
            let (one, other) = ("one-more-key", "one-more-by-hand");
            ours.time(Clock::WALL, take_and_release(&locks, one))
                .await?;
            plain
                .time(Clock::WALL, by_hand.take_and_release(other))
                .await?;
            bench.bar.inc(1);
        }
        let [ours, plain] = [ours, plain].map(|times| times.quantile(0.5));
        let what = format!("acquire + release, {keys} held");
        report.add(bench.figure(NAME, what, ours, "ms").ratio(ours / plain));
        let curve = bench.site.kind.to_string();
        report.point("keys-time", curve, (*keys as f64, ours));
        if Some(keys) == STEPS[..steps].last() {
            let rate = (keys - from) as f64 / took.as_secs_f64();
            let what = format!("acquired a second, {SIDE_BY_SIDE} side by side");
            report.add(bench.figure(NAME, what, rate, "/s"));
        }
    }
    drop(held);
    locks.shutdown().await;
    Ok(())
}
