//! Acquire and release of a free lock, in turn with the driver alone: with the very requests that doclock sends, and with
//! the least lock that can be written by hand.

use anyhow::Result;
use fastrand::Rng;
use indicatif::ProgressBar;

use crate::meter::{Meter, Usage};
use crate::raw::{ByHand, Recorded, take_and_release};
use crate::report::Report;
use crate::server::{Driver, Site};
use crate::time::{Clock, Times, median, on_one_thread};
use crate::{Bench, TIMES};

const NAME: &str = "acquire";
/// What doclock may take, beside the driver alone.
const GOAL: f64 = 1.05;

/// Those that are compared; each has a key.
const DOCLOCK: usize = 0;
const RESENT: usize = 1;
const BY_HAND: usize = 2;
const KEYS: [&str; 3] = ["doclock", "resent", "by-hand"];

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let rounds = bench.quick_or(60, 400);
    bench.begin(NAME, 2 * TIMES * rounds);
    let race = Race {
        site: bench.site.clone(),
        rounds,
        seed: bench.seed,
        bar: bench.bar.clone(),
    };
    let wall = race.run(Clock::WALL).await?;
    // Nothing else is done by that thread: whatever the server takes is left out.
    let processor = on_one_thread(async move || race.run(Clock::THREAD).await).await?;

    let [ours, by_hand] = count(&bench.site).await?;
    let times = |blocks: &[Block], who: usize, of: fn(&Times) -> f64| {
        median(blocks.iter().map(|block| of(&block[who])))
    };
    let ratio = |blocks: &[Block], to: usize, of: fn(&Times) -> f64| {
        let ratios = blocks
            .iter()
            .map(|block| of(&block[DOCLOCK]) / of(&block[to]));
        median(ratios)
    };
    let half: fn(&Times) -> f64 = |times| times.quantile(0.5);
    let slow: fn(&Times) -> f64 = |times| times.quantile(0.99);
    for (to, name) in [(RESENT, "the same requests"), (BY_HAND, "a lock by hand")] {
        let figure =
            |what: &str, value, unit| bench.figure(NAME, format!("{what} / {name}"), value, unit);
        let value = times(&wall, DOCLOCK, half);
        let fast = figure("p50", value, "ms").ratio(ratio(&wall, to, half));
        report.add(fast.goal(GOAL).usage(ours));
        let value = times(&wall, DOCLOCK, slow);
        report.add(figure("p99", value, "ms").ratio(ratio(&wall, to, slow)));
        let value = 1e3 * times(&processor, DOCLOCK, Times::mean);
        let taken = ratio(&processor, to, Times::mean);
        report.add(figure("client's processor time", value, "µs").ratio(taken));
    }
    let value = times(&wall, RESENT, half);
    report.add(bench.figure(NAME, "p50 of the same requests", value, "ms"));
    let value = times(&wall, BY_HAND, half);
    report.add(
        bench
            .figure(NAME, "p50 of a lock by hand", value, "ms")
            .usage(by_hand),
    );
    Ok(())
}

/// The times of all three.
type Block = [Times; 3];

struct Race {
    site: Site,
    rounds: usize,
    seed: u64,
    bar: ProgressBar,
}

impl Race {
    async fn run(&self, clock: Clock) -> Result<Vec<Block>> {
        let driver = self.site.driver(None).await?;
        let locks = driver.locks();
        let by_hand = ByHand(driver.clone());
        let recorded = Recorded::new(&self.site, KEYS[DOCLOCK]).await?;
        // They are those of a record that is there.
        take_and_release(&locks, KEYS[RESENT]).await?;
        let mut rng = Rng::with_seed(self.seed);
        let mut blocks = Vec::new();
        // The first one warms up.
        for block in 0..=TIMES {
            let mut times = [Times::new()?, Times::new()?, Times::new()?];
            for round in 0..self.rounds {
                // Whoever comes later may find something warm.
                let mut order = [DOCLOCK, RESENT, BY_HAND];
                rng.shuffle(&mut order);
                for who in order {
                    let times = &mut times[who];
                    let key = KEYS[who];
                    match who {
                        DOCLOCK => times.time(clock, take_and_release(&locks, key)).await,
                        RESENT => {
                            let round = recorded.resend(&driver, key, round);
                            times.time(clock, round).await
                        }
                        _ => times.time(clock, by_hand.take_and_release(key)).await,
                    }?;
                }
                self.bar.inc(u64::from(block > 0));
            }
            blocks.push(times);
        }
        locks.shutdown().await;
        Ok(blocks.split_off(1))
    }
}

/// What one round costs by doclock, and by hand.
async fn count(site: &Site) -> Result<[Usage; 2]> {
    const ROUNDS: u32 = 10;
    let meter = Meter::default();
    let driver: Driver = site.driver(Some(&meter)).await?;
    let (locks, by_hand) = (driver.locks(), ByHand(driver));
    let before = meter.read();
    for _ in 0..ROUNDS {
        take_and_release(&locks, KEYS[DOCLOCK]).await?;
    }
    let between = meter.read();
    for _ in 0..ROUNDS {
        by_hand.take_and_release(KEYS[BY_HAND]).await?;
    }
    let usages = [between - before, meter.read() - between];
    Ok(usages.map(|usage| usage / f64::from(ROUNDS)))
}
