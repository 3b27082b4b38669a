//! From the release in one process to the grant in another that waits, and what the waiter asks the database meanwhile.

use std::time::Duration;

use anyhow::{Result, ensure};
use fastrand::Rng;
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use uuid::Uuid;

use crate::Bench;
use crate::child::{Child, Parent, Role, say};
use crate::meter::{Meter, Usage};
use crate::raw::{ByHand, Way};
use crate::report::Report;
use crate::server::{Driver, Site};
use crate::time::{Clock, Times, median, millis};

const NAME: &str = "handover";
const WAYS: [Way; 3] = [Way::Doclock, Way::Fair, Way::Plain];

#[derive(Serialize, Deserialize)]
struct Ask {
    way: Way,
    key: String,
}

/// What the waiter saw.
#[derive(Serialize, Deserialize)]
struct Waited {
    granted: Duration,
    usage: Usage,
}

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let holds = [
        (Duration::from_millis(100), bench.quick_or(25, 100)),
        (Duration::from_millis(1_500), bench.quick_or(9, 40)),
    ];
    let rounds: usize = holds.iter().map(|hold| hold.1).sum();
    bench.begin(NAME, rounds * WAYS.len());
    let driver = bench.site.driver(None).await?;
    let by_hand = ByHand(driver.clone());
    for (hold, rounds) in holds {
        // All at once, with a key for each: whatever else goes on meets them all.
        let passes = try_join_all(WAYS.map(|way| pass(bench, &driver, way, hold, rounds)));
        let trip = round_trip(&by_hand, hold.mul_f64(rounds as f64));
        let (trip, passes) = tokio::try_join!(trip, passes)?;
        for (way, passes) in WAYS.into_iter().zip(passes) {
            let took = median(passes.iter().map(|pass| pass.took));
            let usage = Usage::sum(passes.iter().map(|pass| pass.usage)) / passes.len() as f64;
            let what = format!("after a hold of {} ms, {way}", hold.as_millis());
            let figure = bench.figure(NAME, what, took, "ms");
            report.add(figure.ratio(took / trip).usage(usage));
        }
        let what = format!("one raw call meanwhile, {} ms", hold.as_millis());
        report.add(bench.figure(NAME, what, trip, "ms"));
    }
    Ok(())
}

/// Of the least write, in milliseconds: of a server that is as idle as the hand-overs find it.
async fn round_trip(by_hand: &ByHand, span: Duration) -> Result<f64> {
    const TRIPS: u32 = 50;
    let mut times = Times::new()?;
    for _ in 0..TRIPS {
        let owner = Uuid::new_v4().to_string();
        let taken = times
            .time(Clock::WALL, by_hand.take("trip", &owner))
            .await?;
        ensure!(taken, "held by another");
        by_hand.give_back("trip", &owner).await?;
        sleep(span / TRIPS).await;
    }
    Ok(times.quantile(0.5))
}

struct Pass {
    /// Milliseconds from the begin of the release to the grant.
    took: f64,
    /// The waiter's, until it was granted.
    usage: Usage,
}

async fn pass(
    bench: &Bench,
    driver: &Driver,
    way: Way,
    hold: Duration,
    rounds: usize,
) -> Result<Vec<Pass>> {
    let mut waiter = Child::start(&Role::Waiter {
        site: bench.site.clone(),
    })?;
    waiter.hear::<()>().await?;
    let (locks, by_hand) = (driver.locks(), ByHand(driver.clone()));
    let mut rng = Rng::with_seed(bench.seed);
    let mut passes = Vec::new();
    for round in 0..rounds {
        let key = format!("handover-{way:?}-{}", hold.as_millis());
        let owner = format!("holder-{round}");
        let lease = if way == Way::Plain {
            by_hand.wait(&key, &owner, Duration::MAX).await?;
            None
        } else {
            Some(locks.lock(&key).acquire().await?)
        };
        let ask = Ask {
            way,
            key: key.clone(),
        };
        waiter.say(&ask).await?;
        waiter.hear::<()>().await?;
        // Not in step with the waiter's own pauses.
        sleep(hold.mul_f64(0.8 + 0.4 * rng.f64())).await;
        let begin = Clock::WALL.now()?;
        match lease {
            Some(lease) => lease.release().await?,
            None => by_hand.give_back(&key, &owner).await?,
        }
        let told: Waited = waiter.hear().await?;
        passes.push(Pass {
            took: millis(told.granted.saturating_sub(begin)),
            usage: told.usage,
        });
        bench.bar.inc(1);
    }
    waiter.end().await?;
    Ok(passes)
}

/// In the child: waits whenever it is asked to.
pub(crate) async fn wait(site: &Site) -> Result<()> {
    let meter = Meter::default();
    let driver = site.driver(Some(&meter)).await?;
    let (locks, by_hand) = (driver.locks(), ByHand(driver));
    // Its connections are those of a process that has been there for a while.
    by_hand
        .take_and_release(&Uuid::new_v4().to_string())
        .await?;
    say(&())?;
    let mut parent = Parent::new();
    while let Some(Ask { way, key }) = parent.hear().await? {
        let before = meter.read();
        say(&())?;
        let told = |granted| Waited {
            granted,
            usage: meter.read() - before,
        };
        let told = if way == Way::Plain {
            by_hand.wait(&key, "waiter", Duration::MAX).await?;
            let told = told(Clock::WALL.now()?);
            by_hand.give_back(&key, "waiter").await?;
            told
        } else {
            let lock = locks.lock(&key);
            let lock = if way == Way::Fair { lock.fair() } else { lock };
            let lease = lock.acquire().await?;
            let told = told(Clock::WALL.now()?);
            lease.release().await?;
            told
        };
        say(&told)?;
    }
    locks.shutdown().await;
    Ok(())
}
