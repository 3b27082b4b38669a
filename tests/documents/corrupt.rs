//! What stands in the lock's place and is none.

use doclock::{ErrorKind, Lock};

use super::bank::open;
use super::kind;
use crate::processes::site::on_every_server;

on_every_server! {
    async fn what_is_no_lock_is_named_and_left_as_it_is(site: Site) {
        let bank = open(site).await?;
        // A task of the holder's own process would wait for the holder.
        let another = bank.another().await?;
        let mut nth = 0;
        loop {
            let id = format!("a{nth}");
            bank.create(&id).await?;
            let mut account = bank.acquire(&id, Lock::manual_renewal).await?;
            let Some(names) = bank.spoil(&id, nth).await? else {
                break;
            };
            let before = bank.image(&id).await?;
            let attempts = [
                another.acquire(&id, |lock| lock).await.err(),
                another.acquire(&id, Lock::fair).await.err(),
                another.try_acquire(&id).await.err(),
                bank.inspect(&id).await.err(),
                account.lease().renew().await.err(),
            ];
            for (attempt, error) in attempts.into_iter().enumerate() {
                let error = error.unwrap_or_else(|| panic!("{attempt} did not see it, {nth}"));
                assert_eq!(error.kind(), ErrorKind::CorruptRecord, "{error}");
                let text = error.to_string();
                assert!(text.contains("`lock`") && text.contains(names), "{text}");
            }
            // A write names no field that could be wrong: its own holder is not there.
            assert_eq!(kind(account.add(1).await), Some(ErrorKind::LeaseLost));
            assert_eq!(bank.image(&id).await?, before, "{nth}");
            nth += 1;
        }
        assert!(nth > 6);
    }
}
