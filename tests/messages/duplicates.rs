//! A network that delivers requests a second time, much later.

use anyhow::{Context, Result};
use doclock::{ErrorKind, Lease, LockClient};

use super::link::{Link, TTL, assert_sole};
use crate::processes::site::on_every_server;
use crate::support::proxy::Recorded;

/// The two owners.
const MINE: &str = "mine";
const OTHER: &str = "other";
const KEY: &str = "k";

async fn acquire(locks: &LockClient, owner: &str) -> Result<Lease> {
    let lock = locks.lock(KEY).owner(owner).ttl(TTL).manual_renewal();
    lock.try_acquire().await?.context("held")
}

impl Link {
    /// The server gets these again, and nothing in the record changes.
    async fn replay_changes_nothing(&self, when: &str, requests: &[Recorded]) -> Result<()> {
        let before = self.record(KEY).await?;
        for (n, request) in requests.iter().enumerate() {
            self.proxy.replay(request).await?;
            let after = self.record(KEY).await?;
            assert_eq!(before, after, "{when}: request {n}, {}", request.operation);
        }
        Ok(())
    }

    /// Does something that must reach the server, and takes its requests.
    async fn recorded<T>(
        &self,
        action: impl Future<Output = Result<T>>,
    ) -> Result<(T, Vec<Recorded>)> {
        self.writes();
        let result = action.await?;
        let requests = self.writes();
        assert!(!requests.is_empty());
        Ok((result, requests))
    }
}

on_every_server! {
    async fn late_duplicates_change_nothing(site: Site) {
        let link = Link::to(site).await?;
        let mut all = Vec::new();
        // Twice: on a key that nobody has had, and on a free one.
        for round in 0..2 {
            let (mine, acquisition) = link.recorded(acquire(&link.through, MINE)).await?;
            let ((), older) = link.recorded(async { Ok(mine.renew().await?) }).await?;
            let ((), newer) = link.recorded(async { Ok(mine.renew().await?) }).await?;
            link.replay_changes_nothing("after a newer renewal", &acquisition).await?;
            link.replay_changes_nothing("after a newer renewal", &older).await?;
            link.replay_changes_nothing("after itself", &newer).await?;
            let ((), release) = link.recorded(async { Ok(mine.release().await?) }).await?;
            let these = [acquisition, older, newer, release].concat();
            link.replay_changes_nothing("after the release", &these).await?;
            all.extend(these);

            let other = acquire(&link.direct, OTHER).await?;
            link.replay_changes_nothing("after the next grant", &all).await?;
            other.renew().await?;
            assert_sole(&link.record(KEY).await?, &other);
            other.release().await?;
            assert_eq!(link.record(KEY).await?.holders, [], "round {round}");
        }
    }

    async fn a_duplicate_from_before_a_take_over_changes_nothing(site: Site) {
        let link = Link::to(site).await?;
        let (old, first) = link.recorded(acquire(&link.through, MINE)).await?;
        let ((), renewal) = link.recorded(async { Ok(old.renew().await?) }).await?;
        let restarted = link.another().await?;
        let (new, second) = link.recorded(acquire(&restarted, MINE)).await?;
        assert!(old.token() < new.token());
        assert_sole(&link.record(KEY).await?, &new);
        link.replay_changes_nothing("after the take-over", &[first, renewal, second].concat()).await?;

        // The old process lives on after all.
        let before = link.record(KEY).await?;
        let lost = old.renew().await.unwrap_err();
        assert_eq!(lost.kind(), ErrorKind::LeaseLost);
        assert!(!old.is_held());
        let (lost, release) = link.recorded(async { Ok(old.release().await.unwrap_err()) }).await?;
        assert_eq!(lost.kind(), ErrorKind::LeaseLost);
        link.replay_changes_nothing("of the old release", &release).await?;
        assert_eq!(before, link.record(KEY).await?);
        new.renew().await?;
        new.release().await?;
    }

    /// What the rules leave open: once others have released, nothing tells a late acquisition from a new one. It
    /// gets a token of its own, and ends with its ttl.
    async fn a_very_late_acquisition_gets_a_token_of_its_own(site: Site) {
        let link = Link::to(site).await?;
        let (mine, acquisition) = link.recorded(acquire(&link.through, MINE)).await?;
        let id = mine.id().clone();
        mine.release().await?;
        let other = acquire(&link.direct, OTHER).await?;
        let token = other.token();
        other.release().await?;
        for request in &acquisition {
            link.proxy.replay(request).await?;
        }
        let record = link.record(KEY).await?;
        assert!(record.holders.len() <= 1);
        if let Some(holder) = record.holder(&id) {
            assert!(record.token > token);
            assert!(holder.ttl.as_duration() <= TTL);
        }
    }
}
