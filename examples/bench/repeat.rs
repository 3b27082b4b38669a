//! An operation, so many times and by one thread, for `valgrind` to count what the client itself does: `instructions`,
//! beside this file, runs it.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use doclock::{
    AcquireOutcome, AcquireRequest, Backend, DynamoBackend, Key, LeaseId, LockClient, Mode,
    MongoBackend, Owner, RenewOutcome, RenewRequest, Ttl,
};
use serde::{Deserialize, Serialize};

use crate::memory::Yes;
use crate::raw::{Recorded, TTL, take_and_release};
use crate::server::{Driver, Site, TABLE};

const KEY: &str = "repeated";
const RESENT: &str = "resent";
/// Renewals that are sent together.
const LEASES: usize = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Operation {
    /// Acquire and release
    Acquire,
    /// Acquire without waiting, and release
    Try,
    /// The very requests of `Try`, sent again by the driver alone
    Resend,
    /// 1,000 leases at once
    Renew,
}

/// After a round to warm up. Without a site, there is no server at all.
pub(crate) async fn repeat(site: Option<&Site>, operation: Operation, rounds: usize) -> Result<()> {
    let Some(site) = site else {
        return work(Yes, operation, rounds).await;
    };
    let driver = site.driver(None).await?;
    if operation == Operation::Resend {
        return resend(site, &driver, rounds).await;
    }
    match driver {
        Driver::Mongo(database) => work(MongoBackend::new(database), operation, rounds).await,
        Driver::Dynamo(client) => work(DynamoBackend::new(client, TABLE), operation, rounds).await,
    }
}

async fn resend(site: &Site, driver: &Driver, rounds: usize) -> Result<()> {
    let locks = driver.locks();
    locks.setup().await?;
    // What is recorded are the requests of a record that is there.
    for key in [KEY, RESENT] {
        take_and_release(&locks, key).await?;
    }
    let recorded = Recorded::new(site, KEY).await?;
    for round in 0..=rounds {
        recorded.resend(driver, RESENT, round).await?;
    }
    Ok(())
}

async fn work(backend: impl Backend, operation: Operation, rounds: usize) -> Result<()> {
    backend.setup().await?;
    if operation == Operation::Renew {
        return renew(&backend, rounds).await;
    }
    let locks = LockClient::new(backend);
    for _ in 0..=rounds {
        match operation {
            Operation::Acquire => locks.lock(KEY).ttl(TTL).acquire().await?.release().await?,
            Operation::Try => take_and_release(&locks, KEY).await?,
            Operation::Resend | Operation::Renew => bail!("no server"),
        }
    }
    locks.shutdown().await;
    Ok(())
}

async fn renew(backend: &impl Backend, rounds: usize) -> Result<()> {
    let ttl = Ttl::new(Duration::from_hours(1))?;
    let mut requests = Vec::new();
    for number in 0..LEASES {
        let key = Key::new(format!("renewed-{number}-{}", LeaseId::random()))?;
        let request = AcquireRequest::new(&key, &Owner::random(), Mode::Exclusive, ttl);
        let AcquireOutcome::Granted(grant) = backend.acquire(&request).await? else {
            bail!("not granted");
        };
        requests.push(RenewRequest::new(&request, grant.token, 1));
    }
    for _ in 0..=rounds {
        for request in &mut requests {
            request.seq += 1;
        }
        for batch in requests.chunks(backend.renewals_at_once()) {
            for outcome in backend.renew_many(batch).await {
                ensure!(matches!(outcome?, RenewOutcome::Renewed(_)), "lost");
            }
        }
    }
    Ok(())
}
