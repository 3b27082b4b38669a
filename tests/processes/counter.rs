//! Many processes count in one file, without any care but the lock.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::{join_all, try_join_all};

use super::site::on_every_server;
use super::workers::Worker;

const PROCESSES: u64 = 8;
const TIMES: u64 = 100;
/// No more than that the test ends.
const BOUND: Duration = Duration::from_mins(3);

/// What the file says in the end.
async fn count(url: &str, key: &str) -> Result<u64> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), format!("{:020}", 0))?;
    let mut workers = try_join_all((0..PROCESSES).map(|_| Worker::start(url))).await?;
    let command = format!("count {key} {} {TIMES}", file.path().display());
    let answers = workers.iter_mut().map(|worker| worker.ask(&command));
    for answer in join_all(answers).await {
        assert_eq!(answer?, "ok");
    }
    Ok(std::fs::read_to_string(file.path())?.trim().parse()?)
}

on_every_server! {
    /// Nobody's increment gets lost.
    async fn counts_every_increment(site: Site) {
        let _alone = site.alone().await;
        let url = site.fresh().await?;
        let start = Instant::now();
        let counted = tokio::time::timeout(BOUND, count(&url, "counter")).await??;
        println!("{site:?}: {PROCESSES} processes × {TIMES} increments took {:.1?}", start.elapsed());
        assert_eq!(counted, PROCESSES * TIMES);
    }
}

/// The control: the same without the lock. If it counted right, the tests above would show nothing.
#[tokio::test]
async fn loses_increments_without_the_lock() -> Result<()> {
    let counted = count("memory:", "-").await?;
    println!("without the lock: {counted} of {}", PROCESSES * TIMES);
    assert!(counted < PROCESSES * TIMES, "{counted}");
    Ok(())
}
