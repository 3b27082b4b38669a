//! Leases that are lost, and what a late write does then: nothing.

use std::time::Duration;

use anyhow::{Context, Result};
use doclock::{ErrorKind, Lock};

use super::bank::{Account, Bank, START, abandon, open};
use super::kind;
use crate::processes::site::on_every_server;
use crate::support::poll;

on_every_server! {
    /// As after a SIGKILL: nobody renews, nobody releases.
    async fn a_dead_holders_document_is_taken_over(site: Site) {
        let bank = open(site).await?;
        bank.create("a").await?;
        let ttl = Duration::from_secs(3);
        let dead = bank.acquire("a", |lock| lock.ttl(Duration::from_secs(3)).manual_renewal()).await?;
        let token = dead.lease().token();
        abandon(dead);
        let other = bank.another().await?;
        assert!(other.try_acquire("a").await?.is_none());
        let heir = tokio::time::timeout(site.takeover(ttl) + Duration::from_secs(30), other.acquire("a", |lock| {
            lock.wait(Duration::MAX)
        }));
        let heir = heir.await??;
        assert!(heir.lease().token() > token);
        assert_eq!(heir.balance(), START);
        heir.add_and_unlock(1).await?;
    }

    async fn a_write_after_a_take_over_writes_nothing(site: Site) {
        for ends in [false, true] {
            let bank = open(site).await?;
            bank.create("a").await?;
            let stale = bank.acquire("a", Lock::manual_renewal).await?;
            bank.expire("a").await?;
            let other = bank.another().await?;
            let heir = other.acquire("a", |lock| lock).await?;
            assert!(heir.lease().token() > stale.lease().token());
            writes_nothing(&*bank, stale, ends).await?;
            heir.add_and_unlock(7).await?;
            assert_eq!(balance(&*bank).await?, START + 7);
        }
    }

    async fn a_write_after_a_release_by_force_writes_nothing(site: Site) {
        for ends in [false, true] {
            let bank = open(site).await?;
            bank.create("a").await?;
            let mine = |lock: Lock| lock.manual_renewal().owner("me");
            let stale = bank.acquire("a", mine).await?;
            // Its owner's next acquisition closes the older one as a release would.
            let heir = bank.another().await?.acquire("a", mine).await?;
            writes_nothing(&*bank, stale, ends).await?;
            heir.unlock().await?;
            assert_eq!(balance(&*bank).await?, START);
        }
    }

    async fn no_request_is_sent_once_the_lease_is_lost(site: Site) {
        let bank = open(site).await?;
        bank.create("a").await?;
        for ends in [false, true] {
            let ttl = |lock: Lock| lock.ttl(Duration::from_secs(1)).manual_renewal();
            let mut account = bank.acquire("a", ttl).await?;
            account.lease().lost().await;
            bank.sent();
            if ends {
                let before = bank.rest("a").await?;
                assert_eq!(kind(account.add_and_unlock(1).await), Some(ErrorKind::LeaseLost));
                assert_eq!(bank.rest("a").await?, before);
            } else {
                assert_eq!(kind(account.add(1).await), Some(ErrorKind::LeaseLost));
                assert_eq!(bank.sent(), 0);
            }
        }
    }

    /// Whoever replaces the document takes its lock out: the next one begins anew.
    async fn a_replaced_document_begins_a_new_record(site: Site) {
        for ends in [false, true] {
            let bank = open(site).await?;
            bank.create("a").await?;
            bank.acquire("a", |lock| lock).await?.unlock().await?;
            let stale = bank.acquire("a", Lock::manual_renewal).await?;
            let token = stale.lease().token();
            bank.replace("a", 500).await?;
            writes_nothing(&*bank, stale, ends).await?;
            until_past(token).await?;
            let next = bank.another().await?.acquire("a", |lock| lock).await?;
            assert!(next.lease().token() > token, "{} after {token}", next.lease().token());
            assert_eq!(next.balance(), 500);
            next.unlock().await?;
        }
    }

    async fn a_deleted_document_is_not_made_again(site: Site) {
        let bank = open(site).await?;
        bank.create("a").await?;
        let mut account = bank.acquire("a", Lock::manual_renewal).await?;
        bank.delete("a").await?;
        assert_eq!(kind(account.add(1).await), Some(ErrorKind::LeaseLost));
        assert_eq!(kind(account.add_and_unlock(1).await), Some(ErrorKind::LeaseLost));
        bank.shutdown().await;
        assert!(bank.image("a").await.is_err());
    }

    async fn a_dropped_document_is_unlocked(site: Site) {
        let bank = open(site).await?;
        bank.create("a").await?;
        drop(bank.acquire("a", |lock| lock).await?);
        bank.shutdown().await;
        let record = bank.inspect("a").await?.context("no record")?;
        assert_eq!(record.holders, []);
    }

    async fn tokens_grow(site: Site) {
        let bank = open(site).await?;
        bank.create("a").await?;
        let mut tokens = Vec::new();
        for _ in 0..3 {
            let account = bank.acquire("a", |lock| lock).await?;
            tokens.push(account.lease().token());
            account.unlock().await?;
            let account = bank.another().await?.acquire("a", |lock| lock).await?;
            tokens.push(account.lease().token());
            account.add_and_unlock(1).await?;
        }
        assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
    }
}

/// The write of one who does not hold any more, and does not know it.
async fn writes_nothing(bank: &dyn Bank, mut stale: Box<dyn Account>, ends: bool) -> Result<()> {
    assert!(stale.lease().is_held());
    let before = bank.image("a").await?;
    let outcome = if ends {
        let outcome = stale.add_and_unlock(1000).await;
        bank.shutdown().await;
        outcome
    } else {
        let outcome = stale.add(1000).await;
        assert!(!stale.lease().is_held());
        outcome
    };
    assert_eq!(kind(outcome), Some(ErrorKind::LeaseLost));
    assert_eq!(bank.image("a").await?, before, "it was written");
    Ok(())
}

async fn balance(bank: &dyn Bank) -> Result<i64> {
    Ok(bank
        .another()
        .await?
        .acquire("a", |lock| lock)
        .await?
        .balance())
}

/// A record's first token is what the time was at most when it was created.
async fn until_past(token: u64) -> Result<()> {
    poll::until(
        "a later time than the token",
        Duration::from_mins(1),
        || async {
            let now = std::time::UNIX_EPOCH.elapsed();
            now.is_ok_and(|now| now.as_micros() > u128::from(token))
        },
    )
    .await
}
