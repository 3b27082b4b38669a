//! A holder is stopped for so long that others take its locks, and goes on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use doclock::{LockClient, LockRecord};

use super::site::on_every_server;
use super::workers::{Worker, token};
use crate::support::poll;

const TTL: Duration = Duration::from_secs(2);
/// How often the successor renews until the holder goes on: every third of the ttl.
const RENEWALS: u64 = 4;
/// One for each way to notice first.
const KEYS: [&str; 4] = ["held", "lost", "renew", "release"];

async fn record(locks: &LockClient, key: &str) -> Result<LockRecord> {
    locks.inspect(key).await?.context("no record")
}

/// Each lock's new token.
async fn take_over(successor: &mut Worker, wait: Duration) -> Result<Vec<u64>> {
    let mut tokens = Vec::new();
    for key in KEYS {
        let command = format!("acquire {key} {} {}", TTL.as_millis(), wait.as_millis());
        tokens.push(successor.granted(&command).await?);
    }
    Ok(tokens)
}

/// Whatever it does first, and whatever next.
async fn notices(paused: &mut Worker) -> Result<()> {
    for (key, answer) in KEYS
        .into_iter()
        .zip(["false", "LeaseLost", "LeaseLost", "LeaseLost"])
    {
        ensure!(paused.answer(key).await? == answer, "`{key}` first");
    }
    for key in ["held", "lost", "renew"] {
        for (command, answer) in [
            ("held", "false"),
            ("lost", "LeaseLost"),
            ("renew", "LeaseLost"),
        ] {
            let answered = paused.ask(&format!("{command} {key}")).await?;
            ensure!(answered == answer, "`{command}` after `{key}`: {answered}");
        }
        let released = paused.ask(&format!("release {key}")).await?;
        ensure!(
            released == "LeaseLost",
            "`release` after `{key}`: {released}"
        );
    }
    Ok(())
}

on_every_server! {
    async fn a_stopped_holder_notices_at_once(site: Site) {
        let _alone = site.alone().await;
        let url = site.fresh().await?;
        let locks = doclock::connect(&url).await?;
        let (mut paused, mut successor) = tokio::try_join!(Worker::start(&url), Worker::start(&url))?;
        let mut old = Vec::new();
        for key in KEYS {
            old.push(paused.granted(&format!("try {key} {}", TTL.as_millis())).await?);
        }
        paused.pause()?;
        let new = take_over(&mut successor, 2 * site.takeover(TTL)).await?;
        for (old, new) in old.iter().zip(&new) {
            assert!(old < new, "token {new} after {old}");
        }
        poll::until("the successor has renewed often", Duration::from_mins(1), || async {
            let record = record(&locks, KEYS[0]).await;
            record.is_ok_and(|record| record.holders[0].seq > RENEWALS)
        })
        .await?;

        for command in KEYS {
            paused.tell(&format!("{command} {command}")).await?;
        }
        paused.resume()?;
        notices(&mut paused).await?;

        for (key, token) in KEYS.into_iter().zip(new) {
            assert_eq!(successor.ask(&format!("held {key}")).await?, "true", "{key}");
            assert_eq!(successor.ask(&format!("renew {key}")).await?, "ok", "{key}");
            let record = record(&locks, key).await?;
            assert_eq!((record.token, record.holders.len()), (token, 1), "{key}");
        }
        let refused = paused.ask(&format!("try {} 2000", KEYS[0])).await?;
        assert!(token(&refused).is_err(), "{refused}");
    }
}
