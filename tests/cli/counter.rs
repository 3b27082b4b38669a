//! Four shells count in one file, without any care but the lock.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use tokio::process::Command;
use tokio::time::timeout;

use super::command::{BOUND, MEMORY, Notes};
use crate::processes::patterns::usual_or_full;
use crate::processes::site::on_every_server;

const SHELLS: u32 = 4;
/// Reads, pauses, writes.
const INCREMENT: &str = "n=$(cat f); sleep 0.01; echo $((n+1)) > f";

/// Each shell makes so many increments, one after the other: what the file says in the end.
async fn count(notes: &Notes, times: u32, increment: impl Fn() -> Command) -> Result<u32> {
    std::fs::write(notes.path("f"), "0\n")?;
    let shell = async || {
        for _ in 0..times {
            let ended = increment().stderr(Stdio::inherit()).status().await?;
            ensure!(ended.success(), "{ended}");
        }
        Ok(())
    };
    let shells = try_join_all((0..SHELLS).map(|_| shell()));
    timeout(usual_or_full(BOUND, 5 * BOUND), shells)
        .await
        .context("it does not end")??;
    Ok(notes.read("f").trim().parse()?)
}

on_every_server! {
    /// Nobody's increment gets lost.
    async fn counts_every_increment(site: Site) {
        let _alone = site.alone().await;
        let (url, notes) = (site.fresh().await?, Notes::new()?);
        let times = usual_or_full(10, 50);
        let start = Instant::now();
        let counted = count(&notes, times, || notes.doclock(&url, "run --wait 2m k", INCREMENT)).await?;
        println!("{site:?}: {SHELLS} shells × {times} increments took {:.1?}", start.elapsed());
        assert_eq!(counted, SHELLS * times);
    }
}

/// The control: the same without a common lock. If it counted right, the tests above would show nothing.
#[tokio::test]
async fn loses_increments_without_a_lock() -> Result<()> {
    let notes = Notes::new()?;
    let times = 10;
    let counted = count(&notes, times, || notes.doclock(MEMORY, "run k", INCREMENT));
    let counted = counted.await?;
    println!("without a common lock: {counted} of {}", SHELLS * times);
    assert!(counted < SHELLS * times);
    Ok(())
}
