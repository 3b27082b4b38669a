//! Queueing: requests counted at the wire, and the order that is kept.

use doclock::{Backend, Mode, Queueing, Reason, ReleaseOutcome};
use futures_util::future::join_all;

use super::*;

on_both! {
    /// Joins by two requests, polls by a read, and takes its turn by one write more.
    async fn a_fair_waiter(server: Server) {
        let (backend, table) = server.backend().await?;
        let holder = request("key", Mode::Exclusive)?;
        granted(&backend, &holder).await?;

        let waiter = fair("key", Mode::Exclusive)?;
        let (sent, contention) = server.count(queued(&backend, &waiter)).await;
        assert_eq!((sent, contention?.ahead), (2, 0));
        let joined = server.item(&table, "key").await?;
        let next = poll(&waiter);
        let (sent, contention) = server.count(queued(&backend, &next)).await;
        assert_eq!((sent, contention?.reason), (1, Reason::Busy));
        assert_eq!(server.item(&table, "key").await?, joined, "a poll wrote");

        age(&server, &table, &waiter).await?;
        let old = record(&backend, &waiter.key).await?;
        let next = poll(&next);
        let (sent, contention) = server.count(queued(&backend, &next)).await;
        contention?;
        assert_eq!(sent, 2);
        let refreshed = record(&backend, &waiter.key).await?;
        assert!(refreshed.queue[0].expires_at > old.queue[0].expires_at);
        assert_eq!((refreshed.queue[0].seq, refreshed.rev), (next.seq, old.rev));

        let (sent, released) = server.count(backend.release(&ending(&holder))).await;
        assert_eq!((sent, released?), (1, ReleaseOutcome::Released));
        let next = poll(&next);
        let (sent, grant) = server.count(granted(&backend, &next)).await;
        let grant = grant?;
        assert_eq!((sent, grant.token, grant.validity.seq), (2, refreshed.token + 1, next.seq));
        assert!(!grant.validity.refresh && grant.validity.valid_for > Duration::from_secs(9), "{grant:?}");
        let after = record(&backend, &waiter.key).await?;
        assert_eq!((after.holders[0].id(), after.queue.len()), (Some(&waiter.id), 0));
    }

    async fn leaving_is_one(server: Server) {
        let (backend, table) = server.backend().await?;
        let holder = request("key", Mode::Exclusive)?;
        granted(&backend, &holder).await?;
        let mut before = server.item(&table, "key").await?.context("no item")?;
        let waiter = fair("key", Mode::Shared)?;
        queued(&backend, &waiter).await?;
        let mut leave = ending(&waiter);
        leave.queued = true;
        for (expected, outcome) in [(1, ReleaseOutcome::Released), (1, ReleaseOutcome::NotHeld)] {
            let (sent, left) = server.count(backend.release(&leave)).await;
            assert_eq!((sent, left?), (expected, outcome));
        }
        before.insert("rev".into(), number(3));
        assert_eq!(server.item(&table, "key").await?.as_ref(), Some(&before));

        // The hint is no more than that.
        queued(&backend, &waiter).await?;
        let (sent, left) = server.count(backend.release(&ending(&waiter))).await;
        assert_eq!((sent, left?), (2, ReleaseOutcome::Released));
        let mut release = ending(&holder);
        release.queued = true;
        let (sent, released) = server.count(backend.release(&release)).await;
        assert_eq!((sent, released?), (2, ReleaseOutcome::Released));
        let after = record(&backend, &holder.key).await?;
        assert_eq!((after.holders.len(), after.queue.len(), after.closed), (0, 0, Some(holder.id)));
    }

    /// A newcomer stands behind those who queue, or is refused.
    async fn a_newcomer_joins_by_two(server: Server) {
        let (backend, _) = server.backend().await?;
        let holder = request("key", Mode::Shared)?;
        granted(&backend, &holder).await?;
        // Nobody queues yet: it starts a queue, or a stream of sharers would keep it out.
        for (ahead, mode) in [(0, Mode::Exclusive), (1, Mode::Shared), (1, Mode::Shared)] {
            let mut newcomer = request("key", mode)?;
            newcomer.queueing = Queueing::WhenNeeded;
            let (sent, contention) = server.count(queued(&backend, &newcomer)).await;
            let contention = contention?;
            assert_eq!((sent, contention.ahead), (2, ahead), "{contention:?}");
        }
        let (sent, contention) = server.count(held(&backend, &request("key", Mode::Shared)?)).await;
        assert_eq!((sent, contention?.reason), (1, Reason::Queue));
    }

    /// Who may stand beside all of them does not queue.
    async fn a_newcomer_beside_those_who_queue_is_two(server: Server) {
        for mode in [Mode::Shared, Mode::Permit { limit: 2 }] {
            let (backend, _) = server.backend().await?;
            let holder = request("key", Mode::Exclusive)?;
            granted(&backend, &holder).await?;
            queued(&backend, &fair("key", mode)?).await?;
            backend.release(&ending(&holder)).await?;
            let before = record(&backend, &holder.key).await?;
            let newcomer = request("key", mode)?;
            let (sent, _) = server.count(granted(&backend, &newcomer)).await;
            assert_eq!(sent, 2, "{mode:?}");
            let after = record(&backend, &holder.key).await?;
            assert_eq!((after.holders.len(), after.queue), (1, before.queue));
        }
    }

    /// Who waits already joins by a read and a write.
    async fn a_waiter_joins_a_queue_that_it_meets(server: Server) {
        let (backend, _) = server.backend().await?;
        granted(&backend, &request("key", Mode::Exclusive)?).await?;
        let mut waiter = request("key", Mode::Exclusive)?;
        (waiter.queueing, waiter.waiting) = (Queueing::WhenNeeded, true);
        let (sent, contention) = server.count(held(&backend, &waiter)).await;
        assert_eq!((sent, contention?.reason), (1, Reason::Busy));
        queued(&backend, &fair("key", Mode::Exclusive)?).await?;
        let (sent, contention) = server.count(queued(&backend, &waiter)).await;
        assert_eq!((sent, contention?.ahead), (2, 1));
    }

    /// Each takes its turn by a read and a write, whatever mode was held before and whoever came in meanwhile.
    async fn those_who_share_take_their_turns_together(server: Server) {
        for mode in [Mode::Shared, Mode::Permit { limit: 3 }] {
            let (backend, _) = server.backend().await?;
            let holder = request("key", Mode::Exclusive)?;
            let token = granted(&backend, &holder).await?.token;
            let mut waiters = Vec::new();
            for _ in 0..3 {
                let waiter = fair("key", mode)?;
                queued(&backend, &waiter).await?;
                waiters.push(poll(&waiter));
            }
            let last = fair("key", Mode::Exclusive)?;
            assert_eq!(queued(&backend, &last).await?.ahead, 3);
            backend.release(&ending(&holder)).await?;
            for (nth, waiter) in (1..).zip(waiters.iter().rev()) {
                let (sent, grant) = server.count(granted(&backend, waiter)).await;
                assert_eq!((sent, grant?.token), (2, token + nth), "{mode:?}");
            }
            let (sent, contention) = server.count(queued(&backend, &poll(&last))).await;
            assert_eq!((sent, contention?.ahead), (1, 0));
            let after = record(&backend, &holder.key).await?;
            assert_eq!((after.mode, after.holders.len(), after.queue.len()), (mode, 3, 1));
        }
    }

    async fn a_permit_is_handed_on(server: Server) {
        let (backend, _) = server.backend().await?;
        let mode = Mode::Permit { limit: 2 };
        let holders = [request("key", mode)?, request("key", mode)?];
        for holder in &holders {
            granted(&backend, holder).await?;
        }
        let waiters = [fair("key", mode)?, fair("key", mode)?];
        for (ahead, waiter) in waiters.iter().enumerate() {
            let (sent, contention) = server.count(queued(&backend, waiter)).await;
            assert_eq!((sent, contention?.ahead), (2, ahead));
        }
        backend.release(&ending(&holders[0])).await?;
        let (sent, contention) = server.count(queued(&backend, &poll(&waiters[1]))).await;
        assert_eq!((sent, contention?.ahead), (1, 1));
        let (sent, grant) = server.count(granted(&backend, &poll(&waiters[0]))).await;
        grant?;
        assert_eq!(sent, 2);
        let (sent, contention) = server.count(queued(&backend, &poll(&waiters[1]))).await;
        assert_eq!((sent, contention?.ahead), (1, 0));
    }

    /// None of them is refused, none gets in the way of another.
    async fn twenty_at_once_all_get_in(server: Server) {
        let (backend, table) = server.backend().await?;
        granted(&backend, &request("key", Mode::Exclusive)?).await?;
        let waiters: Vec<_> = (0..20).map(|_| fair("key", Mode::Exclusive)).collect::<Result<_>>()?;
        let (sent, joined) = server.count(join_all(waiters.iter().map(|waiter| queued(&backend, waiter)))).await;
        joined.into_iter().collect::<Result<Vec<_>>>()?;
        assert_eq!(sent, 40);

        let mut item = server.item(&table, "key").await?.context("no item")?;
        let mut tickets: Vec<_> = entries(&mut item, "tickets").values().cloned().collect();
        tickets.sort_by_key(|ticket| ticket.as_n().unwrap().parse::<u64>().unwrap());
        tickets.dedup();
        assert_eq!((tickets.len(), entries(&mut item, "queue").len()), (20, 20));
        let order = line(&backend, &waiters[0].key).await?;
        let last = fair("key", Mode::Exclusive)?;
        queued(&backend, &last).await?;
        let all = line(&backend, &last.key).await?;
        assert_eq!(all.split_last(), Some((&last.id, &order[..])));
        assert!(waiters.iter().all(|waiter| order.contains(&waiter.id)));
    }

    /// A swap numbers the tickets anew: who comes later stands behind all the same.
    async fn the_order_outlives_a_swap(server: Server) {
        let (backend, _) = server.backend().await?;
        granted(&backend, &request("key", Mode::Exclusive)?).await?;
        let mut expected = Vec::new();
        for round in 0..4 {
            let first = fair("key", Mode::Exclusive)?;
            queued(&backend, &first).await?;
            let second = fair("key", Mode::Exclusive)?;
            queued(&backend, &second).await?;
            // A new acquisition takes the place of its owner's older one, on the whole record.
            let mut heir = fair("key", Mode::Exclusive)?;
            heir.owner = first.owner.clone();
            let (sent, contention) = server.count(queued(&backend, &heir)).await;
            assert_eq!((sent, contention?.ahead), (2, 2 * round));
            let replaced = held(&backend, &poll(&first)).await?;
            assert_eq!(replaced.reason, Reason::Replaced);
            expected.extend([heir.id, second.id]);
            assert_eq!(line(&backend, &first.key).await?, expected);
        }
    }
}

/// As if it had been refreshed three seconds earlier.
async fn age(server: &Server, table: &str, waiter: &AcquireRequest) -> Result<()> {
    let mut item = server.item(table, "key").await?.context("no item")?;
    let queue = entries(&mut item, "queue");
    let entry = entries(queue, &entry_key(&waiter.owner));
    let ends: i64 = entry["expires_at"].as_n().unwrap().parse()?;
    entry.insert("expires_at".into(), number(ends - 3000));
    server.put(table, item).await
}

/// Who queues, the first in line first.
async fn line(backend: &DynamoBackend, key: &Key) -> Result<Vec<doclock::LeaseId>> {
    let queue = record(backend, key).await?.queue;
    Ok(queue.into_iter().map(|waiter| waiter.claimant.id).collect())
}
