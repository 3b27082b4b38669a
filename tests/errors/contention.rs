//! Errors about locks: held, lost, gone.

use std::time::Duration;

use doclock::ErrorKind;

use super::{SECRETS, assert_error};
use crate::messages::link::{Link, TTL};
use crate::processes::site::on_every_server;

on_every_server! {
    async fn held_by_others(site: Site) {
        let link = Link::to(site).await?;
        let lock = link.direct.lock("k").ttl(TTL).owner("worker-7").label("nightly import");
        let lease = lock.data(&SECRETS[1]).acquire().await?;
        let wait = Duration::from_millis(300);
        let error = link.direct.lock("k").wait(wait).acquire().await.unwrap_err();
        assert_error(
            &error,
            ErrorKind::WaitTimeout,
            &["acquire `k`", "`worker-7`", "nightly import", "expires in", "wait longer"],
        );
        lease.release().await?;
    }

    /// The wait ends while an attempt is on its way: it is the lock that was held, not the database that was away.
    async fn held_by_others_behind_a_slow_link(site: Site) {
        let link = Link::to(site).await?;
        let lease = link.direct.lock("k").ttl(TTL).acquire().await?;
        link.proxy.delay(Duration::from_millis(50));
        for wait in [400, 450, 500, 550] {
            let lock = link.through.lock("k").wait(Duration::from_millis(wait));
            let error = lock.acquire().await.unwrap_err();
            assert_error(&error, ErrorKind::WaitTimeout, &["acquire `k`", "wait longer"]);
        }
        lease.release().await?;
    }

    async fn taken_away(site: Site) {
        let link = Link::to(site).await?;
        let lease = link.through.lock("k").ttl(TTL).manual_renewal().acquire().await?;
        assert_eq!(link.direct.force_release("k").await?.len(), 1);
        assert!(lease.is_held(), "nobody told it yet");
        let error = lease.renew().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LeaseLost);
        assert!(error.to_string().contains("stop what it protected"), "{error}");
        let error = lease.lost().await;
        assert_eq!(error.kind(), ErrorKind::LeaseLost);
        assert!(!lease.is_held());
        let error = lease.release().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LeaseLost);
    }

    async fn closed(site: Site) {
        let link = Link::to(site).await?;
        let lease = link.through.lock("k").ttl(TTL).acquire().await?;
        link.through.shutdown().await;
        assert_eq!(link.record("k").await?.holders, []);
        assert!(!lease.is_held());
        let error = link.through.lock("k").acquire().await.unwrap_err();
        assert_error(&error, ErrorKind::Closed, &["acquire `k`"]);
    }
}
