//! A holder is killed: who gets the lock, and when.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use doclock::{Timestamp, connect};
use futures_util::future::try_join_all;

use super::site::{Site, on_every_server};
use super::workers::Worker;
use crate::support::poll;

const TTL: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;

/// How long after the kill the lock was granted to others.
struct Takeover {
    waiting: Duration,
    fresh: Duration,
}

/// One holder with three keys is killed: one is waited for, one is wanted by a process that starts then, one by a
/// process that starts when it has expired.
async fn crash(site: Site, url: &str, round: usize) -> Result<Takeover> {
    let keys = ["waiting", "fresh", "late"].map(|name| format!("{name}-{round}"));
    let ttl = TTL.as_millis();
    // Twice the bound: a late grant shall be told apart from none.
    let wait = 2 * site.takeover(TTL).as_millis();
    let mut holder = Worker::start(url).await?;
    let mut tokens = Vec::new();
    for key in &keys {
        tokens.push(holder.granted(&format!("try {key} {ttl}")).await?);
    }
    let mut waiting = Worker::start(url).await?;
    let command = format!("try {} {ttl}", keys[0]);
    ensure!(waiting.ask(&command).await? == "held", "{command}");
    waiting
        .tell(&format!("acquire {} {ttl} {wait}", keys[0]))
        .await?;

    holder.kill().await?;
    let killed = Instant::now();
    let waits = async {
        let token = super::workers::token(&waiting.answer("acquire").await?)?;
        ensure!(token > tokens[0], "token {token} after {}", tokens[0]);
        Ok(killed.elapsed())
    };
    let starts = async {
        let mut fresh = Worker::start(url).await?;
        let token = fresh
            .granted(&format!("acquire {} {ttl} {wait}", keys[1]))
            .await?;
        ensure!(token > tokens[1], "token {token} after {}", tokens[1]);
        Ok(killed.elapsed())
    };
    let comes_late = async {
        expired(site, url, &keys[2]).await?;
        let mut late = Worker::start(url).await?;
        let token = late.granted(&format!("try {} {ttl}", keys[2])).await?;
        ensure!(token > tokens[2], "token {token} after {}", tokens[2]);
        Ok(())
    };
    let (waiting, fresh, ()) = tokio::try_join!(waits, starts, comes_late)?;
    Ok(Takeover { waiting, fresh })
}

/// Waits until nobody can doubt that what the record shows has expired.
async fn expired(site: Site, url: &str, key: &str) -> Result<()> {
    let record = connect(url)
        .await?
        .inspect(key)
        .await?
        .context("no record")?;
    let holder = record.holders.first().context("no holder")?;
    // The servers are on this machine, so its time is theirs.
    let end = holder
        .expires_at
        .saturating_add(site.uncertainty() + Duration::from_millis(100));
    poll::until("the lease has expired", Duration::from_secs(30), || async {
        Timestamp::from(std::time::SystemTime::now()) > end
    })
    .await
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

on_every_server! {
    /// A waiting process and one that starts afterwards are granted in time; one that comes late at once.
    async fn a_killed_holders_lock_is_granted_again(site: Site) {
        let _alone = site.alone().await;
        let url = site.fresh().await?;
        let rounds = (0..ROUNDS).map(|round| crash(site, &url, round));
        let takeovers = try_join_all(rounds).await?;
        let waiting: Vec<Duration> = takeovers.iter().map(|times| times.waiting).collect();
        let fresh: Vec<Duration> = takeovers.iter().map(|times| times.fresh).collect();
        let bound = site.takeover(TTL);
        for time in waiting.iter().chain(&fresh) {
            assert!(*time < bound, "granted after {time:?}, the bound is {bound:?}");
        }
        println!(
            "{site:?}, ttl {TTL:?}: median after the kill {:.2?} waiting, {:.2?} fresh; most {:.2?}",
            median(waiting.clone()),
            median(fresh.clone()),
            waiting.iter().chain(&fresh).max().unwrap()
        );
    }
}
