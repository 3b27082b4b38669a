//! A request or its answer gets lost: the client asks again, and does not meet itself.

use std::time::Duration;

use anyhow::{Context, Result};
use doclock::Lease;

use super::link::{Link, TTL, assert_ends_in_time, assert_sole};
use crate::processes::site::{Site, on_every_server};
use crate::support::poll;
use crate::support::raw::{http_reply, mongo_message};

#[derive(Clone, Copy, Debug)]
enum Loss {
    Request,
    Reply,
    HalfTheReply,
}

const LOSSES: [Loss; 3] = [Loss::Request, Loss::Reply, Loss::HalfTheReply];

impl Link {
    fn lose(&self, loss: Loss, operation: &str) {
        match loss {
            Loss::Request => self.proxy.drop_requests_of(operation, 1),
            Loss::Reply => self.proxy.drop_replies_of(operation, 1),
            Loss::HalfTheReply => self.proxy.cut_replies_of(operation, 1),
        }
    }

    async fn acquired(&self, key: &str) -> Result<Lease> {
        let lock = self.through.lock(key).ttl(TTL).manual_renewal();
        // Nobody else wants it.
        lock.try_acquire()
            .await?
            .context("held by another, it says")
    }

    /// However it gets lost, the lock is granted once.
    async fn acquires_once(&self, key: &str, loss: Loss) -> Result<Lease> {
        let before = self.record_or_none(key).await?;
        self.lose(loss, self.acquires());
        let lease = self
            .acquired(key)
            .await
            .with_context(|| format!("{loss:?} lost"))?;
        assert_eq!(self.proxy.faults_left(), 0, "nothing was lost");
        let after = self.record(key).await?;
        assert_sole(&after, &lease);
        assert_eq!(after.rev, before.rev + 1, "{loss:?} lost");
        assert!(before.token < after.token);
        Ok(lease)
    }

    async fn renews(&self, lease: &Lease, loss: Loss) -> Result<()> {
        let key = lease.key().as_str();
        let before = self.record(key).await?;
        self.lose(loss, self.changes());
        if let Err(error) = lease.renew().await {
            // It is the caller's to repeat, and the lease is as it was.
            assert!(error.is_retryable(), "{error:?}");
            assert!(lease.is_held());
            lease
                .renew()
                .await
                .with_context(|| format!("{loss:?} lost"))?;
        }
        assert_eq!(self.proxy.faults_left(), 0, "nothing was lost");
        let after = self.record(key).await?;
        assert_sole(&after, lease);
        assert!(before.holders[0].seq < after.holders[0].seq);
        assert_ends_in_time(&after, lease)
    }

    async fn releases(&self, lease: Lease, loss: Loss) -> Result<()> {
        let (key, id) = (lease.key().clone(), lease.id().clone());
        let before = self.record(key.as_str()).await?;
        self.lose(loss, self.changes());
        lease
            .release()
            .await
            .with_context(|| format!("{loss:?} lost"))?;
        assert_eq!(self.proxy.faults_left(), 0, "nothing was lost");
        let after = self.record(key.as_str()).await?;
        assert_eq!((after.holders.len(), after.closed), (0, Some(id)));
        assert_eq!(after.rev, before.rev + 1, "{loss:?} lost");
        Ok(())
    }

    /// Every further acquisition is refused before it changes anything.
    fn refuse_acquisitions(&self) {
        let reply = match self.site {
            Site::MongoDb => {
                let code = mongodb::bson::doc! { "ok": 0.0, "code": 112, "errmsg": "conflict" };
                mongo_message(&code).unwrap()
            }
            Site::Dynoxide | Site::DynamoDbLocal => http_reply(
                "400 Bad Request",
                &[],
                r#"{"__type":"x#ThrottlingException"}"#,
            ),
        };
        self.proxy.answer_instead(self.acquires(), 10_000, reply);
    }
}

on_every_server! {
    async fn every_operation_survives_a_loss(site: Site) {
        let link = Link::to(site).await?;
        for loss in LOSSES {
            let key = format!("{loss:?}");
            // A key that nobody has had yet, and one that was released.
            for _ in 0..2 {
                let lease = link.acquires_once(&key, loss).await?;
                link.renews(&lease, loss).await?;
                link.releases(lease, loss).await?;
            }
        }
    }

    async fn a_lease_renews_itself_over_losses(site: Site) {
        let link = Link::to(site).await?;
        // The MongoDB driver takes half a second to trust a server again.
        let lock = link.through.lock("k").ttl(Duration::from_secs(6));
        let lease = lock.acquire().await?;
        for renewals in [2, 4] {
            link.proxy.drop_replies_of(link.changes(), 1);
            link.proxy.drop_requests_of(link.changes(), 1);
            poll::until("the lease was renewed", Duration::from_mins(1), || async {
                let record = link.record("k").await;
                link.proxy.faults_left() == 0 && record.is_ok_and(|record| record.holders[0].seq > renewals)
            })
            .await?;
            assert!(lease.is_held());
        }
        lease.release().await?;
    }

    /// Granted, the answer lost, and then nothing but refusals: who gives up gives back what it may have been granted.
    async fn a_grant_that_nobody_heard_of_is_given_back(site: Site) {
        let link = Link::to(site).await?;
        link.proxy.drop_replies_of(link.acquires(), 1);
        link.refuse_acquisitions();
        let lock = link.through.lock("k").ttl(TTL).wait(Duration::from_millis(500));
        let error = lock.acquire().await.unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
        assert_eq!(link.record("k").await?.holders.len(), 1, "the lost answer was a grant");
        link.proxy.clear_faults();
        poll::until("the lock is free", TTL / 4, || async {
            link.record("k").await.is_ok_and(|record| record.holders.is_empty())
        })
        .await?;
    }

    /// The same, if the caller goes away while the next attempt is under way.
    async fn a_grant_that_nobody_heard_of_nor_waits_for_is_given_back(site: Site) {
        let link = Link::to(site).await?;
        let sent = link.proxy.requests(link.acquires());
        link.proxy.drop_replies_of(link.acquires(), 1);
        link.refuse_acquisitions();
        link.proxy.delay(Duration::from_millis(200));
        let acquires = link.through.lock("k").ttl(TTL).acquire();
        let second = poll::until("a second attempt is under way", TTL / 4, || async {
            link.proxy.requests(link.acquires()) == sent + 2
        });
        tokio::select! {
            ended = acquires => anyhow::bail!("{ended:?}"),
            sent = second => sent?,
        }
        assert_eq!(link.record("k").await?.holders.len(), 1, "the lost answer was a grant");
        link.proxy.delay(Duration::ZERO);
        link.proxy.clear_faults();
        poll::until("the lock is free", TTL / 4, || async {
            link.record("k").await.is_ok_and(|record| record.holders.is_empty())
        })
        .await?;
    }
}
