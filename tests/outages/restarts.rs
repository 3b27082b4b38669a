//! All servers restart: what was granted before stays granted, and tokens go on growing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use doclock::{Lease, connect};
use futures_util::future::try_join_all;

use crate::processes::site::{dynamodb_url, mongodb_url};
use crate::support::dynamodb_local::DynamoDbLocal;
use crate::support::process::Server;
use crate::support::replica_set::ReplicaSet;
use crate::support::servers;

/// Two keys before the restart: one held, one released.
struct Before {
    held: Lease,
    released: u64,
}

impl Before {
    async fn at(url: &str) -> Result<Self> {
        let locks = connect(url).await?;
        locks.setup().await?;
        let ttl = Duration::from_mins(2);
        let released = locks.lock("released").ttl(ttl).acquire().await?;
        let token = released.token();
        released.release().await?;
        let held = locks.lock("held").ttl(ttl).acquire().await?;
        Ok(Self {
            held,
            released: token,
        })
    }

    /// A client that was there before, and one that is new.
    async fn holds_after(self, url: &str) -> Result<()> {
        let locks = connect(url).await?;
        ensure!(
            locks.lock("held").try_acquire().await?.is_none(),
            "granted twice"
        );
        ensure!(self.held.is_held());
        self.held.renew().await?;
        let next = locks.lock("released").acquire().await?;
        ensure!(
            self.released < next.token(),
            "{} after {}",
            next.token(),
            self.released
        );
        next.release().await?;
        let token = self.held.token();
        self.held.release().await?;
        let next = locks
            .lock("held")
            .try_acquire()
            .await?
            .context("not released")?;
        ensure!(token < next.token(), "{} after {token}", next.token());
        next.release().await?;
        Ok(())
    }
}

#[tokio::test]
async fn mongodb_keeps_locks_and_tokens() -> Result<()> {
    if servers::without("mongodb") {
        return Ok(());
    }
    let set = ReplicaSet::start(3).await?;
    let url = mongodb_url(&set.url(), "locks");
    let before = Before::at(&url).await?;
    for node in set.nodes() {
        node.kill().await?;
    }
    try_join_all(set.nodes().iter().map(Server::restart)).await?;
    set.healthy().await?;
    before.holds_after(&url).await
}

#[tokio::test]
async fn dynamodb_keeps_locks_and_tokens() -> Result<()> {
    if servers::without("dynamodb-local") {
        return Ok(());
    }
    let local = DynamoDbLocal::start_durable().await?;
    let url = dynamodb_url(&local.url(), "locks");
    let before = Before::at(&url).await?;
    // Terminated, not killed: the emulator answers before its SQLite has written, as DynamoDB does not.
    local.server().terminate().await?;
    local.server().restart().await?;
    before.holds_after(&url).await
}
