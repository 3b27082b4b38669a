//! A process that takes a lock, gives it back and ends, as a serverless function's first call does; and how long its lock
//! took from the start of the driver's client.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::child::{Child, Role, say};
use crate::meter::{Meter, Usage};
use crate::raw::{ByHand, TTL, Way};
use crate::report::Report;
use crate::server::Site;
use crate::time::{Clock, Times, median, millis};
use crate::{Bench, TIMES};

const NAME: &str = "cold";
const WAYS: [Way; 2] = [Way::Doclock, Way::Plain];

/// What a process tells of itself.
#[derive(Serialize, Deserialize)]
struct Told {
    /// From nothing to the lock, in milliseconds.
    granted: f64,
    usage: Usage,
}

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let rounds = bench.quick_or(3, 10);
    bench.begin(NAME, TIMES * rounds * WAYS.len());
    let mut ratios = [Vec::new(), Vec::new()];
    let mut values = [Vec::new(), Vec::new()];
    let mut usages = Vec::new();
    for _ in 0..TIMES {
        let mut granted = [Vec::new(), Vec::new()];
        let mut whole = [Times::new()?, Times::new()?];
        for _ in 0..rounds {
            for (nth, way) in WAYS.into_iter().enumerate() {
                let told = whole[nth].time(Clock::WALL, shot(&bench.site, way)).await?;
                granted[nth].push(told.granted);
                if way == Way::Doclock {
                    usages.push(told.usage);
                }
                bench.bar.inc(1);
            }
        }
        let granted = granted.map(median);
        let whole = whole.map(|times| times.quantile(0.5));
        for (nth, [ours, plain]) in [granted, whole].into_iter().enumerate() {
            values[nth].push(ours);
            ratios[nth].push(ours / plain);
        }
    }
    let usage = Usage::sum(usages.iter().copied()) / usages.len() as f64;
    let names = [
        "first lock, from a new client",
        "whole process, release included",
    ];
    for ((name, values), ratios) in names.into_iter().zip(values).zip(ratios) {
        let figure = bench.figure(NAME, name, median(values), "ms");
        report.add(figure.ratio(median(ratios)).usage(usage));
    }
    Ok(())
}

async fn shot(site: &Site, way: Way) -> Result<Told> {
    let site = site.clone();
    let mut child = Child::start(&Role::Shot { site, way })?;
    let told = child.hear().await?;
    child.end().await?;
    Ok(told)
}

/// In the child.
pub(crate) async fn shoot(site: &Site, way: Way) -> Result<()> {
    let begin = Clock::WALL.now()?;
    let meter = Meter::default();
    let driver = site.driver(Some(&meter)).await?;
    let granted = if way == Way::Plain {
        let (by_hand, owner) = (ByHand(driver), Uuid::new_v4().to_string());
        ensure!(
            by_hand.take("shot-by-hand", &owner).await?,
            "held by another"
        );
        let granted = Clock::WALL.now()?;
        by_hand.give_back("shot-by-hand", &owner).await?;
        granted
    } else {
        let locks = driver.locks();
        let lease = locks.lock("shot").ttl(TTL).acquire().await?;
        let granted = Clock::WALL.now()?;
        lease.release().await?;
        locks.shutdown().await;
        granted
    };
    say(&Told {
        granted: millis(granted.saturating_sub(begin)),
        usage: meter.read(),
    })
}
