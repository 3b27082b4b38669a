//! A holder with a deadline is stopped for good: by when everybody knows that its lock is free.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use doclock::{LockClient, LockRecord, Timestamp};

use super::site::{Site, on_every_server};
use super::workers::Worker;
use crate::support::poll;

const TTL: Duration = Duration::from_secs(3);
/// Long enough that a lease lives on renewals.
const LEFT: Duration = Duration::from_secs(8);
const KEY: &str = "invocation";

/// How long after the deadline the lock may stay taken, as docs/serverless.md says; on MongoDB with the way of a request.
fn late(site: Site) -> Duration {
    match site {
        Site::MongoDb => Duration::from_secs(1),
        Site::Dynoxide | Site::DynamoDbLocal => Duration::from_millis(4500),
    }
}

async fn record(locks: &LockClient) -> Result<LockRecord> {
    locks.inspect(KEY).await?.context("no record")
}

on_every_server! {
    /// Renewed for a whole ttl as late as this, the record would outlive the deadline by a third of it.
    async fn a_stopped_holders_record_ends_with_its_deadline(site: Site) {
        let _alone = site.alone().await;
        let url = site.fresh().await?;
        let locks = doclock::connect(&url).await?;
        let mut holder = Worker::start(&url).await?;
        let begun = SystemTime::now();
        let [ttl, left] = [TTL, LEFT].map(|time| time.as_millis());
        let token = holder.granted(&format!("until {KEY} {ttl} {left}")).await?;
        // Later than the worker's own, by the way of its answer.
        let deadline = Timestamp::from(SystemTime::now() + LEFT);
        let nearly = Timestamp::from(begun + LEFT - TTL / 3);
        poll::until("the deadline is near", 2 * LEFT, || async {
            Timestamp::from(SystemTime::now()) > nearly
        })
        .await?;
        holder.pause()?;
        let record = record(&locks).await?;
        let last = record.holders.first().context("it was stopped too late")?;
        let free = last.expires_at.saturating_add(site.uncertainty());
        let after = free.saturating_since(deadline);
        assert!(after <= late(site), "free {after:?} after the deadline");

        let wait = (2 * site.takeover(LEFT)).as_millis();
        let mut next = Worker::start(&url).await?;
        let newer = next.granted(&format!("acquire {KEY} {ttl} {wait}")).await?;
        assert!(newer > token, "token {newer} after {token}");
    }
}
