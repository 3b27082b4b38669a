//! Answers that come late: a lease's time runs from its request, not from its answer.

use std::time::Duration;

use anyhow::{Context, Result};
use doclock::LockRecord;

use super::link::{Link, assert_ends_in_time, now};
use crate::processes::site::{Site, on_every_server};
use crate::support::poll;

const KEY: &str = "k";
/// A lease of two seconds that is not lost by then never is.
const HANGS: Duration = Duration::from_secs(20);

/// A ttl, and how late its answer is: later than what the margin and the record's padding may hide, and early enough
/// that the lease is handed out as it is.
fn times(site: Site) -> (Duration, Duration) {
    match site {
        Site::MongoDb => (Duration::from_secs(4), Duration::from_millis(1200)),
        Site::Dynoxide | Site::DynamoDbLocal => (Duration::from_secs(10), Duration::from_secs(3)),
    }
}

/// The client sees a second end and the next begin, so that it writes no expiry much later than it must.
async fn knows_the_time(link: &Link) -> Result<()> {
    let end = now().saturating_add(Duration::from_millis(1200));
    poll::until("a second has passed", Duration::from_secs(20), || async {
        link.through.inspect(KEY).await.is_ok() && now() > end
    })
    .await
}

/// Closes the way back, and opens it again once this time has passed since the record got into this state.
async fn delay(link: &Link, late: Duration, arrived: impl Fn(&LockRecord) -> bool) -> Result<()> {
    let landed = poll::until_some(
        "the request has landed",
        Duration::from_secs(20),
        || async {
            let record = link.direct.inspect(KEY).await.ok().flatten()?;
            arrived(&record).then(now)
        },
    )
    .await?;
    poll::until("the answer is late", Duration::from_secs(20), || async {
        now() > landed.saturating_add(late)
    })
    .await?;
    link.proxy.black_hole_replies(false);
    Ok(())
}

on_every_server! {
    async fn a_late_answer_does_not_stretch_the_lease(site: Site) {
        let link = Link::to(site).await?;
        knows_the_time(&link).await?;
        let (ttl, late) = times(site);
        let margin = Duration::from_millis(100);
        let lock = link.through.lock(KEY).ttl(ttl).margin(margin).manual_renewal();
        link.proxy.black_hole_replies(true);
        let (lease, delayed) = tokio::join!(
            lock.acquire(),
            delay(&link, late, |record| !record.holders.is_empty())
        );
        let lease = lease?;
        delayed?;
        assert_ends_in_time(&link.record(KEY).await?, &lease)?;

        let seq = link.record(KEY).await?.holders[0].seq;
        link.proxy.black_hole_replies(true);
        let (renewed, delayed) = tokio::join!(
            lease.renew(),
            delay(&link, late, |record| record.holders[0].seq > seq)
        );
        renewed?;
        delayed?;
        assert_ends_in_time(&link.record(KEY).await?, &lease)?;
        lease.release().await?;
    }

    /// The renewal hangs for ever: the lease is lost on time, not when the call gives up.
    async fn a_hanging_renewal_does_not_keep_the_lease(site: Site) {
        let link = Link::to(site).await?;
        let lease = link.through.lock(KEY).ttl(Duration::from_secs(2)).acquire().await?;
        link.proxy.black_hole(true);
        tokio::time::timeout(HANGS, lease.lost()).await.context("nobody told it")?;
        let lost = now();
        assert!(!lease.is_held());
        let record = link.record(KEY).await?;
        let holder = record.holder(lease.id()).context("no holder")?;
        assert!(lost < holder.expires_at, "lost {lost}, the record {}", holder.expires_at);
    }
}
