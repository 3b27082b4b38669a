//! How many requests each call is, and what it leaves of the document.

use anyhow::{Context, Result};
use doclock::{ErrorKind, Lock};

use super::bank::{Bank, START, open};
use super::kind;
use crate::processes::site::{Site, on_every_server};

on_every_server! {
    async fn lock_and_read_write_and_unlock_are_two(site: Site) {
        let bank = open(site).await?;
        bank.create("a").await?;
        bank.create("b").await?;
        // On DynamoDB, the map must be there before a path can lead into it.
        let first = if site == Site::MongoDb { 1 } else { 2 };
        for id in ["a", "b"] {
            bank.sent();
            let account = bank.acquire(id, |lock| lock).await?;
            assert_eq!((bank.sent(), account.balance()), (first, START), "the first lock of {id}");
            account.add_and_unlock(-30).await?;
            assert_eq!(bank.sent(), 1, "write and unlock {id}");
            let again = bank.acquire(id, |lock| lock).await?;
            assert_eq!((bank.sent(), again.balance()), (1, START - 30), "lock {id}");
            again.unlock().await?;
            assert_eq!(bank.sent(), 1, "unlock {id}");
        }
    }

    async fn a_write_that_keeps_the_lock_is_one(site: Site) {
        let bank = open(site).await?;
        bank.create("a").await?;
        let mut account = bank.acquire("a", |lock| lock).await?;
        bank.sent();
        for balance in [START + 1, START + 2] {
            account.add(1).await?;
            assert_eq!((bank.sent(), account.balance()), (1, balance));
        }
        account.lease().renew().await?;
        assert_eq!(bank.sent(), 1, "a renewal");
        assert!(bank.try_acquire("a").await?.is_none());
        assert_eq!(bank.sent(), 1, "a refusal");
        account.add_and_unlock(1).await?;
        assert_eq!(bank.sent(), 1);
        let account = bank.try_acquire("a").await?.context("is free")?;
        assert_eq!(account.balance(), START + 3);
    }

    async fn nothing_but_the_lock_is_touched(site: Site) {
        let bank = open(site).await?;
        bank.create("a").await?;
        let before = bank.rest("a").await?;
        let mut account = bank.acquire("a", |lock| lock.fair().label("me").data(&"x")).await?;
        assert_eq!(bank.rest("a").await?, before, "the lock");
        account.lease().renew().await?;
        account.add(5).await?;
        account.add(-5).await?;
        assert_eq!(bank.rest("a").await?, before, "writes that come to nothing");
        bank.expire("a").await?;
        let heir = bank.another().await?.acquire("a", |lock| lock).await?;
        assert_eq!(bank.rest("a").await?, before, "a take-over");
        heir.add_and_unlock(0).await?;
        assert_eq!(bank.rest("a").await?, before, "the unlock");
        bank.acquire("a", |lock| lock).await?.unlock().await?;
        assert_eq!(bank.rest("a").await?, before, "another lock");
    }

    /// The document is nobody's to collect.
    async fn there_is_no_time_to_purge(site: Site) {
        let bank = open(site).await?;
        bank.create("a").await?;
        let account = bank.acquire("a", |lock| lock).await?;
        kept_for_ever(&*bank).await?;
        account.lease().renew().await?;
        kept_for_ever(&*bank).await?;
        account.add_and_unlock(1).await?;
        kept_for_ever(&*bank).await?;
        let account = bank.acquire("a", |lock| lock.owner("me")).await?;
        let other = bank.another().await?;
        let heir = other.acquire("a", |lock| lock.owner("me")).await?;
        kept_for_ever(&*bank).await?;
        drop(account);
        heir.unlock().await?;
        kept_for_ever(&*bank).await?;
    }

    async fn a_refused_attempt_leaves_the_document_as_it_is(site: Site) {
        let bank = open(site).await?;
        bank.create("a").await?;
        let account = bank.acquire("a", Lock::manual_renewal).await?;
        let before = bank.image("a").await?;
        assert!(bank.try_acquire("a").await?.is_none());
        assert!(bank.another().await?.try_acquire("a").await?.is_none());
        assert_eq!(bank.image("a").await?, before);
        account.unlock().await?;
    }

    /// What a release by the rules leaves, and the mark of the write.
    async fn an_unlock_with_a_write_is_a_release(site: Site) {
        let bank = open(site).await?;
        bank.create("a").await?;
        let account = bank.acquire("a", |lock| lock).await?;
        let id = account.lease().id().clone();
        let held = bank.inspect("a").await?.context("no record")?;
        account.add_and_unlock(1).await?;
        let after = bank.inspect("a").await?.context("no record")?;
        assert_eq!((after.rev, after.token), (held.rev + 1, held.token));
        assert_eq!((after.holders.len(), after.closed), (0, Some(id)));
        assert_eq!((held.free_at, after.free_at.is_some()), (None, true));
        assert!(bank.fields("a").await?.contains(&"written".to_owned()));
    }

    async fn a_document_that_is_not_there_is_not_made(site: Site) {
        let bank = open(site).await?;
        bank.create("a").await?;
        for _ in 0..2 {
            let missing = bank.acquire("b", |lock| lock).await;
            assert_eq!(kind(missing), Some(ErrorKind::NotFound));
            assert_eq!(kind(bank.try_acquire("b").await), Some(ErrorKind::NotFound));
            assert_eq!(bank.inspect("b").await?, None);
            assert!(bank.image("b").await.is_err());
        }
        assert_eq!(bank.inspect("a").await?, None);
    }

    async fn what_would_change_the_lock_is_refused_before_any_request(site: Site) {
        let bank = open(site).await?;
        bank.create("a").await?;
        let mut account = bank.acquire("a", Lock::manual_renewal).await?;
        let before = bank.image("a").await?;
        bank.sent();
        let outcomes = account.meddle().await;
        assert!(outcomes.len() > 5);
        for (update, outcome) in outcomes {
            assert_eq!(kind(outcome), Some(ErrorKind::InvalidInput), "{update}");
        }
        assert_eq!(bank.sent(), 0);
        assert_eq!(bank.image("a").await?, before);
        account.add_and_unlock(1).await?;
    }

    async fn a_minimum_hold_is_refused_before_any_request(site: Site) {
        let bank = open(site).await?;
        bank.create("a").await?;
        bank.sent();
        let hold = |lock: Lock| lock.min_hold(std::time::Duration::from_secs(1));
        assert_eq!(kind(bank.acquire("a", hold).await), Some(ErrorKind::InvalidInput));
        assert_eq!(bank.sent(), 0);
    }
}

async fn kept_for_ever(bank: &dyn Bank) -> Result<()> {
    let fields = bank.fields("a").await?;
    let purges = fields.iter().any(|field| field.contains("purge"));
    assert!(!purges && fields.len() > 6, "{fields:?}");
    Ok(())
}
