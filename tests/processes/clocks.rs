//! Processes with wrong clocks, beside processes with right ones.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;

use super::site::{Site, on_every_server};
use super::workers::{CLOCK, Worker, token};

/// A busy machine may keep a holder from renewing for some seconds, and nobody shall steal it then.
const TTL: Duration = Duration::from_secs(8);
/// How long somebody with a wrong clock tries to get a held lock: longer than the lease without renewals.
const WAIT: Duration = Duration::from_secs(10);
const HOUR: i64 = 3_600_000;

/// What is wrong with a clock, and by how much it steps while its process waits, and while it holds.
#[derive(Clone, Copy)]
pub struct Wrong<'a> {
    /// Of this test, for the key.
    pub name: &'a str,
    pub env: &'a [(&'a str, &'a str)],
    pub steps: &'a [i64],
}

/// A process with a wrong clock neither steals a live lease, nor blocks others for long once it is dead.
pub async fn does_no_harm(site: Site, url: &str, wrong: Wrong<'_>) -> Result<()> {
    let (key, ttl) = (wrong.name, TTL.as_millis());
    let mut right = Worker::start(url).await?;
    let first = right.granted(&format!("try {key} {ttl}")).await?;
    let mut thief = Worker::start_with(url, wrong.env).await?;
    steals_nothing(&mut thief, key, wrong.steps).await?;
    ensure!(right.ask(&format!("held {key}")).await? == "true", "stolen");
    ensure!(right.ask(&format!("renew {key}")).await? == "ok", "stolen");

    let released = right.ask(&format!("release {key}")).await?;
    ensure!(released == "ok", "{released}");
    // A cold process, but for a step: that needs something to step from.
    let mut dying = match wrong.steps {
        [] => Worker::start_with(url, wrong.env).await?,
        _ => thief,
    };
    // Whom a wrong clock blocks, it blocks for much longer than what a busy machine adds to the bound.
    let wait = 2 * site.takeover(TTL).as_millis();
    let second = dying
        .granted(&format!("acquire {key} {ttl} {wait}"))
        .await?;
    ensure!(first < second, "token {second} after {first}");
    // What a wrong clock wrote would be over at once.
    let beside = right.ask(&format!("try {key} {ttl}")).await?;
    ensure!(beside == "held", "beside the wrong clock: {beside}");
    ensure!(
        dying.ask(&format!("held {key}")).await? == "true",
        "lost at once"
    );
    for step in wrong.steps {
        dying.ask(&format!("step {step}")).await?;
        // Written by the clock as it is now, if it still holds.
        dying.ask(&format!("renew {key}")).await?;
    }
    right.tell(&format!("acquire {key} {ttl} {wait}")).await?;
    dying.kill().await?;
    let third = token(&right.answer("acquire").await?)?;
    ensure!(second < third, "token {third} after {second}");
    Ok(())
}

async fn steals_nothing(thief: &mut Worker, key: &str, steps: &[i64]) -> Result<()> {
    let ttl = TTL.as_millis();
    let cold = thief.ask(&format!("try {key} {ttl}")).await?;
    ensure!(cold == "held", "cold: {cold}");
    let acquire = format!("acquire {key} {ttl} {}", WAIT.as_millis());
    for step in steps {
        thief.tell(&acquire).await?;
        thief.ask(&format!("step {step}")).await?;
        let waiting = thief.answer("acquire").await?;
        ensure!(
            token(&waiting).is_err(),
            "in a step of {step} ms: {waiting}"
        );
    }
    let waited = thief.ask(&acquire).await?;
    ensure!(token(&waited).is_err(), "after {WAIT:?}: {waited}");
    Ok(())
}

on_every_server! {
    async fn a_wrong_clock_does_no_harm(site: Site) {
        let _alone = site.alone().await;
        let url = site.fresh().await?;
        let wrong = |name, clock, steps| {
            let url = &url;
            async move {
                let env = [(CLOCK, clock)];
                let result = does_no_harm(site, url, Wrong { name, env: &env, steps }).await;
                result.map_err(|error| error.context(name))
            }
        };
        try_join_all([
            wrong("an-hour-ahead", "3600000", &[][..]),
            wrong("an-hour-behind", "-3600000", &[]),
            wrong("less-than-a-second-behind", "-900", &[]),
            wrong("steps-ahead", "0", &[HOUR]),
            wrong("steps-back", "0", &[-HOUR]),
            wrong("frozen", "0 frozen", &[]),
        ])
        .await?;
    }
}
