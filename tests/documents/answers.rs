//! Answers that get lost: what was written is written once.

use std::time::Duration;

use anyhow::Result;
use doclock::{ErrorKind, Lock};

use super::bank::{Bank, START, through};
use super::kind;
use crate::processes::site::{Site, on_every_server};
use crate::support::proxy::Proxy;
use crate::support::servers;
use crate::support::wire::Wire;

/// Accounts behind a proxy, and the way past it.
struct Link {
    proxy: Proxy,
    through: Box<dyn Bank>,
    direct: Box<dyn Bank>,
    writes: &'static str,
}

impl Link {
    async fn to(site: Site) -> Result<Self> {
        let name = format!("accounts-{}", doclock::LeaseId::random());
        let (proxy, url, server, writes) = match site {
            Site::MongoDb => {
                let proxy = Proxy::start(servers::mongodb_primary().await?, Wire::Mongo).await?;
                // With it, the server would know a second request from the first, and the tests were of MongoDB.
                let url = format!("{}&retryWrites=false", proxy.mongodb_url());
                (proxy, url, servers::mongodb_url(), "findAndModify")
            }
            Site::Dynoxide | Site::DynamoDbLocal => {
                let server = match site {
                    Site::Dynoxide => servers::dynoxide_url(),
                    _ => servers::dynamodb_local_url(),
                };
                let proxy = Proxy::start(servers::addr_of(server)?, Wire::Http).await?;
                let url = proxy.http_url();
                (proxy, url, server, "UpdateItem")
            }
        };
        let direct = match site {
            Site::MongoDb => through(site, server, &name).await?,
            Site::Dynoxide | Site::DynamoDbLocal => open_at(site, server, &name).await?,
        };
        direct.create("a").await?;
        let through = through(site, &url, &name).await?;
        // The map is there, and the client knows the time.
        through.acquire("a", |lock| lock).await?.unlock().await?;
        Ok(Self {
            proxy,
            through,
            direct,
            writes,
        })
    }

    async fn balance(&self) -> Result<i64> {
        let account = self.direct.acquire("a", |lock| lock).await?;
        let balance = account.balance();
        account.unlock().await?;
        Ok(balance)
    }
}

async fn open_at(site: Site, server: &str, name: &str) -> Result<Box<dyn Bank>> {
    super::bank::table(server, name).await?;
    through(site, server, name).await
}

on_every_server! {
    async fn a_lock_whose_answer_is_lost_is_had_with_its_document(site: Site) {
        let link = Link::to(site).await?;
        link.proxy.drop_replies_of(link.writes, 1);
        let account = link.through.acquire("a", |lock| lock).await?;
        assert_eq!((link.proxy.faults_left(), account.balance()), (0, START));
        account.add_and_unlock(1).await?;
        assert_eq!(link.balance().await?, START + 1);
    }

    async fn a_last_write_is_applied_once_whatever_is_lost(site: Site) {
        let link = Link::to(site).await?;
        let mut expected = START;
        for lost in 0..4 {
            let account = link.through.acquire("a", Lock::manual_renewal).await?;
            match lost {
                0 => link.proxy.drop_requests_of(link.writes, 1),
                1 => link.proxy.drop_replies_of(link.writes, 1),
                2 => link.proxy.cut_replies_of(link.writes, 1),
                _ => {
                    link.proxy.drop_requests_of(link.writes, 2);
                    link.proxy.drop_replies_of(link.writes, 1);
                }
            }
            account.add_and_unlock(10).await?;
            expected += 10;
            assert_eq!(link.proxy.faults_left(), 0, "nothing was lost");
            assert_eq!(link.balance().await?, expected, "{lost}");
        }
    }

    /// The request is lost, and before it is repeated somebody else has taken the lock over: it says what it knows.
    async fn a_last_write_that_never_arrived_is_no_success(site: Site) {
        let link = Link::to(site).await?;
        let mine = |lock: Lock| lock.owner("me").manual_renewal();
        let account = link.through.acquire("a", mine).await?;
        // Closes the acquisition as an unlock would.
        let heir = link.direct.another().await?.acquire("a", mine).await?;
        link.proxy.drop_requests_of(link.writes, 1);
        let outcome = kind(account.add_and_unlock(10).await);
        assert_eq!(outcome, Some(ErrorKind::OutcomeUnknown));
        assert_eq!(heir.balance(), START);
        heir.unlock().await?;
        assert_eq!(link.balance().await?, START);
    }

    async fn a_forced_release_is_not_taken_for_the_write(site: Site) {
        let link = Link::to(site).await?;
        let account = link.through.acquire("a", Lock::manual_renewal).await?;
        link.direct.force("a").await?;
        link.proxy.drop_requests_of(link.writes, 1);
        assert_eq!(kind(account.add_and_unlock(10).await), Some(ErrorKind::LeaseLost));
        assert_eq!(link.proxy.faults_left(), 0);
        assert_eq!(link.balance().await?, START);
    }

    /// It could count twice: whoever sent it decides.
    async fn a_write_that_keeps_the_lock_is_not_repeated(site: Site) {
        let link = Link::to(site).await?;
        let mut account = link.through.acquire("a", Lock::manual_renewal).await?;
        link.proxy.drop_replies_of(link.writes, 1);
        assert_eq!(kind(account.add(10).await), Some(ErrorKind::OutcomeUnknown));
        assert!(account.lease().is_held());
        account.add_and_unlock(1).await?;
        assert_eq!(link.balance().await?, START + 11);
    }

    /// No answer comes, and no error either: as when a firewall has forgotten the connection.
    async fn a_write_is_given_up_with_its_lease(site: Site) {
        for ends in [false, true] {
            let link = Link::to(site).await?;
            let ttl = |lock: Lock| lock.ttl(Duration::from_secs(4)).manual_renewal();
            let mut account = link.through.acquire("a", ttl).await?;
            link.proxy.answer_instead(link.writes, usize::MAX, Vec::new());
            let write = async {
                if ends {
                    account.add_and_unlock(1).await
                } else {
                    account.add(1).await
                }
            };
            let outcome = tokio::time::timeout(Duration::from_mins(1), write).await?;
            assert_eq!(kind(outcome), Some(ErrorKind::OutcomeUnknown));
        }
    }
}
