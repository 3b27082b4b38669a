//! What is measured.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures_util::future::try_join_all;
use indicatif::ProgressBar;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tokio::try_join;
use uuid::Uuid;

use crate::peer::{Contestant, Peer};

/// The middle one counts.
pub(crate) const ROUNDS: usize = 5;
/// How long who waits by hand sleeps between two attempts.
pub(crate) const RETRY: Duration = Duration::from_millis(20);

/// Of each round.
const PAIRS: usize = 60;
/// Of each round.
const HAND_OVERS: usize = 5;
const HOLDS: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(1_500)];
const TASKS: usize = 16;
const CONTENTION: Duration = Duration::from_secs(3);
/// What one lock does after its turn is not the next one's.
const PAUSE: Duration = Duration::from_millis(10);

pub(crate) const COLUMNS: [&str; 6] = [
    "acquire + release, ms",
    "/ by hand",
    "hand-over after 100 ms, ms",
    "after 1.5 s, ms",
    "16 tasks: sections/s",
    "requests/section",
];
/// In the order of the columns.
pub(crate) type Figures = [f64; COLUMNS.len()];

/// How many steps of the bar a round is.
pub(crate) fn steps(contestants: &[Contestant]) -> usize {
    1 + HOLDS.len() + contestants.len()
}

/// One of all measurements, of each contestant.
pub(crate) async fn round(contestants: &[Contestant], bar: &ProgressBar) -> Result<Vec<Figures>> {
    let pairs = pairs(contestants).await?;
    bar.inc(1);
    let mut waits = Vec::new();
    for hold in HOLDS {
        // All at once, with a key for each: whatever else goes on meets them all.
        let all = contestants.iter().map(|one| hand_overs(one, hold));
        waits.push(try_join_all(all).await?);
        bar.inc(1);
    }
    let mut figures = Vec::new();
    for (nth, contestant) in contestants.iter().enumerate() {
        let [sections, requests] = contend(contestant).await?;
        bar.inc(1);
        figures.push([
            pairs[nth],
            pairs[nth] / pairs[0],
            waits[0][nth],
            waits[1][nth],
            sections,
            requests,
        ]);
    }
    Ok(figures)
}

/// Of all rounds, for a contestant.
pub(crate) fn middle(rounds: &[Vec<Figures>], nth: usize) -> Figures {
    std::array::from_fn(|column| median(rounds.iter().map(|round| round[nth][column])))
}

/// Milliseconds to acquire and release without contention, for each contestant.
async fn pairs(contestants: &[Contestant]) -> Result<Vec<f64>> {
    let mut times = vec![Vec::new(); contestants.len()];
    // Whoever comes later may find something warm.
    let mut order: Vec<usize> = (0..contestants.len()).collect();
    for _ in 0..PAIRS {
        fastrand::shuffle(&mut order);
        for &nth in &order {
            let begin = Instant::now();
            contestants[nth].clients[0].acquire("pair").await?.await?;
            times[nth].push(millis(begin.elapsed()));
            sleep(PAUSE).await;
        }
    }
    Ok(times.into_iter().map(median).collect())
}

/// Milliseconds from the begin of a release to the grant of the client that waits.
async fn hand_overs(contestant: &Contestant, hold: Duration) -> Result<f64> {
    let key = format!("hand-over-{}", hold.as_millis());
    let [holder, waiter] = &contestant.clients;
    let mut times = Vec::new();
    for _ in 0..HAND_OVERS {
        let release = holder.acquire(&key).await?;
        let released = async {
            // Not in step with the waiter's own pauses.
            sleep(hold.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
            let begin = Instant::now();
            release.await?;
            anyhow::Ok(begin)
        };
        let granted = async {
            let release = waiter.acquire(&key).await?;
            let granted = Instant::now();
            release.await?;
            Ok(granted)
        };
        let (begin, granted) = try_join!(released, granted)?;
        times.push(millis(granted - begin));
    }
    Ok(median(times))
}

/// Sections a second, and requests for each of them, of tasks of one client.
async fn contend(contestant: &Contestant) -> Result<[f64; 2]> {
    // A waiter that is stopped in the end may leave something.
    let key = Uuid::new_v4().to_string();
    let until = Instant::now() + CONTENTION;
    let before = contestant.meter.read();
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        tasks.spawn(work(Arc::clone(&contestant.clients[0]), key.clone(), until));
    }
    let mut sections = 0.0;
    while let Some(done) = tasks.join_next().await {
        sections += done??;
    }
    let requests = contestant.meter.read() - before;
    Ok([sections / CONTENTION.as_secs_f64(), requests / sections])
}

/// The sections of one task.
async fn work(client: Arc<dyn Peer>, key: String, until: Instant) -> Result<f64> {
    let mut sections = 0.0;
    while let Ok(release) = timeout_at(until, client.acquire(&key)).await {
        release?.await?;
        sections += 1.0;
    }
    Ok(sections)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The middle one.
fn median(times: impl IntoIterator<Item = f64>) -> f64 {
    let mut times: Vec<f64> = times.into_iter().collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
