//! A rate limiter: permits that are never given back, but expire.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use doclock::LockClient;
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};

use super::sections::{Log, monotonic};
use super::team::Team;
use super::{Task, report, usual_or_full};
use crate::processes::site::on_every_server;

const LIMIT: u32 = 4;
const PROCESSES: usize = 3;
/// In each process.
const CALLERS: usize = 3;
/// Which no more than `LIMIT` calls may start in.
const WINDOW: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_mins(1);

/// Callers who call as often as they may.
#[derive(Serialize, Deserialize)]
pub struct Calls {
    log: PathBuf,
    span: Duration,
}

impl Calls {
    pub async fn run(self, locks: &LockClient) -> Result<()> {
        let log = Log::open(&self.log)?;
        try_join_all((0..CALLERS).map(|_| self.call(locks, &log))).await?;
        Ok(())
    }

    async fn call(&self, locks: &LockClient, log: &Log) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < self.span {
            let call = locks.semaphore("rate", LIMIT).ttl(WINDOW).wait(PATIENCE);
            // Or some would wait for as long as they have no luck.
            let call = call.fair();
            call.acquire().await?.let_expire();
            log.write(&monotonic()?)?;
        }
        Ok(())
    }
}

/// Between each start and the one that is too many for its window.
fn gaps(mut starts: Vec<Duration>) -> Vec<Duration> {
    starts.sort_unstable();
    let windows = starts.windows(LIMIT as usize + 1);
    let gap = |starts: &[Duration]| Some(*starts.last()? - *starts.first()?);
    windows.filter_map(gap).collect()
}

on_every_server! {
    async fn no_window_has_more_calls_than_the_limit(site: Site) {
        let _alone = site.alone().await;
        let url = site.fresh().await?;
        let mut team = Team::start(&url, PROCESSES).await?;
        let span = usual_or_full(Duration::from_secs(10), Duration::from_mins(1));
        let starts: Vec<Duration> = team
            .each(|_, log| Task::Calls(Calls { log, span }))
            .await?;
        let calls = starts.len();
        let gaps = gaps(starts);
        let shortest = gaps.iter().min().copied().unwrap_or_default();
        report(
            site,
            "rate limit",
            format_args!("{calls} calls, {LIMIT} in {WINDOW:?} allowed; the next after {shortest:.2?} at least"),
        );
        assert!(shortest >= WINDOW, "{LIMIT} calls and the next within {shortest:?}");
        assert!(calls > 2 * LIMIT as usize, "{calls} calls in {span:?}");
    }
}
