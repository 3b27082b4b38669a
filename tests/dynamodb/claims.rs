//! Grants that evict: they name whom, and leave alone what others do meanwhile.

use std::sync::atomic::AtomicBool;

use doclock::{
    Backend, Claimant, LeaseId, Linger, Reason, RenewOutcome, RenewRequest, Timestamp, Watched,
};
use futures_util::future::join_all;

use super::*;

/// Somebody who holds or queues, alive or long expired.
struct Party {
    claimant: Claimant,
    mode: Mode,
    alive: bool,
}

fn parties(mode: Mode, alive: bool, number: usize) -> Vec<Party> {
    let party = |_| Party {
        claimant: Claimant {
            owner: Owner::random(),
            id: LeaseId::random(),
        },
        mode,
        alive,
    };
    (0..number).map(party).collect()
}

impl Party {
    fn of(request: &AcquireRequest) -> Self {
        Self {
            claimant: Claimant {
                owner: request.owner.clone(),
                id: request.id.clone(),
            },
            mode: request.mode,
            alive: true,
        }
    }

    fn entry(&self) -> (String, AttributeValue) {
        let now = Timestamp::from(std::time::SystemTime::now()).as_millis();
        let ends = if self.alive { now + 10_000 } else { 1 };
        let entry = [
            ("owner", text(self.claimant.owner.as_str())),
            ("id", text(self.claimant.id.as_str())),
            ("mode", text(self.mode.name())),
            ("limit", number(self.mode.limit())),
            ("acquired_at", number(now - 60_000)),
            ("enqueued_at", number(now - 60_000)),
            ("expires_at", number(ends)),
            ("ttl_ms", number(10_000)),
            ("seq", number(7)),
        ];
        let entry = entry.map(|(name, value)| (name.to_owned(), value));
        (
            entry_key(&self.claimant.owner),
            AttributeValue::M(entry.into()),
        )
    }
}

/// Puts an item under `key`.
async fn plant(
    server: &Server,
    table: &str,
    mode: Mode,
    holders: &[Party],
    queue: &[Party],
) -> Result<()> {
    let map = |parties: &[Party]| AttributeValue::M(parties.iter().map(Party::entry).collect());
    let ticket =
        |(place, party): (usize, &Party)| (entry_key(&party.claimant.owner), number(place));
    let item = [
        ("pk", text("key")),
        ("v", number(1)),
        ("rev", number(1000)),
        ("token", number(11)),
        ("mode", text(mode.name())),
        ("limit", number(mode.limit())),
        ("holders", map(holders)),
        ("queue", map(queue)),
        (
            "tickets",
            AttributeValue::M(queue.iter().enumerate().map(ticket).collect()),
        ),
    ];
    let item = item.map(|(name, value)| (name.to_owned(), value));
    server.put(table, item.into()).await
}

fn joined(one: Vec<Party>, other: Vec<Party>) -> Vec<Party> {
    one.into_iter().chain(other).collect()
}

on_both! {
    async fn a_full_semaphore_is_rid_of_its_dead_by_two(server: Server) {
        let (backend, table) = server.backend().await?;
        let mode = Mode::Permit { limit: 3 };
        for (live, dead) in [(0, 3), (2, 1)] {
            let holders = joined(parties(mode, true, live), parties(mode, false, dead));
            plant(&server, &table, mode, &holders, &[]).await?;
            let heir = request("key", mode)?;
            let (sent, grant) = server.count(granted(&backend, &heir)).await;
            assert_eq!((sent, grant?.token), (2, 12));
            let after = record(&backend, &heir.key).await?;
            assert_eq!((after.rev, after.holders.len()), (1001, live + 1));
            assert!(after.holder(&heir.id).is_some());
        }
    }

    /// Of any mode, by any other.
    async fn all_dead_give_way_by_two(server: Server) {
        let (backend, table) = server.backend().await?;
        let modes = [Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 2 }];
        for (was, wanted) in modes.iter().flat_map(|was| modes.map(|wanted| (*was, wanted))) {
            plant(&server, &table, was, &parties(was, false, was.capacity().min(2)), &[]).await?;
            let heir = request("key", wanted)?;
            let (sent, grant) = server.count(granted(&backend, &heir)).await;
            assert_eq!(grant?.token, 12);
            let after = record(&backend, &heir.key).await?;
            // A plain shared grant does not mind the dead.
            let minds = (was, wanted) != (Mode::Shared, Mode::Shared);
            assert_eq!((sent, after.holders.len()), if minds { (2, 1) } else { (1, 3) }, "{was:?} {wanted:?}");
            assert!(after.mode == wanted && after.holder(&heir.id).is_some(), "{after:?}");
        }
    }

    /// What one claim has no room for is left to the next one; with nobody alive beside, all go at once.
    async fn any_number_of_dead_is_two(server: Server) {
        let (backend, table) = server.backend().await?;
        let mode = Mode::Permit { limit: 50 };
        for (live, dead, wanted, left) in [
            (5, 45, mode, 31),
            (0, 50, mode, 1),
            (0, 50, Mode::Shared, 1),
            (0, 50, Mode::Exclusive, 1),
        ] {
            let holders = joined(parties(mode, true, live), parties(mode, false, dead));
            plant(&server, &table, mode, &holders, &[]).await?;
            let heir = request("key", wanted)?;
            let (sent, grant) = server.count(granted(&backend, &heir)).await;
            grant?;
            let after = record(&backend, &heir.key).await?;
            assert_eq!((sent, after.holders.len()), (2, left), "{live} {dead} {wanted:?}");
        }
    }

    /// As many as one claim takes: no server finds its expressions too long.
    async fn a_waiter_evicts_twenty_by_two(server: Server) {
        let (backend, table) = server.backend().await?;
        for wanted in [Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 12 }] {
            let mode = Mode::Permit { limit: 12 };
            for in_queue in [false, true] {
                let heir = fair("key", wanted)?;
                let mut queue = parties(Mode::Exclusive, false, 10);
                queue.extend(in_queue.then(|| Party::of(&heir)));
                plant(&server, &table, mode, &parties(mode, false, 10), &queue).await?;
                let (sent, grant) = server.count(granted(&backend, &poll(&heir))).await;
                grant?;
                let after = record(&backend, &heir.key).await?;
                assert_eq!((sent, after.holders.len(), after.queue.len()), (2, 1, 0), "{wanted:?}");
                let mut item = server.item(&table, "key").await?.context("no item")?;
                assert_eq!(entries(&mut item, "tickets").len(), 0);
            }
        }
    }

    /// Those behind stay, and the living ahead go first.
    async fn a_dead_head_is_passed_by_two(server: Server) {
        let (backend, table) = server.backend().await?;
        let heir = fair("key", Mode::Exclusive)?;
        for alive in [true, false] {
            let mut queue = parties(Mode::Exclusive, alive, 1);
            queue.push(Party::of(&heir));
            queue.extend(parties(Mode::Shared, true, 2));
            // So that its time to claim is not over.
            let holders = parties(Mode::Exclusive, true, usize::from(alive));
            plant(&server, &table, Mode::Exclusive, &holders, &queue).await?;
            if alive {
                let (sent, contention) = server.count(queued(&backend, &poll(&heir))).await;
                assert_eq!((sent, contention?.ahead), (1, 1));
                continue;
            }
            let (sent, grant) = server.count(granted(&backend, &poll(&heir))).await;
            grant?;
            let waiting: Vec<_> = record(&backend, &heir.key).await?.queue;
            let waiting: Vec<_> = waiting.into_iter().map(|waiter| waiter.claimant).collect();
            let expected: Vec<_> = queue[2..].iter().map(|party| party.claimant.clone()).collect();
            assert_eq!((sent, waiting), (2, expected));
        }
    }

    /// Of its owner's own watch: another attempt of the watched one, and it lives.
    async fn a_watched_holder_is_evicted_by_two(server: Server) {
        let (backend, table) = server.backend().await?;
        for mode in [Mode::Exclusive, Mode::Permit { limit: 1 }] {
            let holders = parties(mode, true, 1);
            plant(&server, &table, mode, &holders, &[]).await?;
            let mut heir = request("key", mode)?;
            let id = holders[0].claimant.id.clone();
            heir.watched = vec![Watched { id: id.clone(), seq: 6 }];
            held(&backend, &heir).await?;
            heir.watched = vec![Watched { id, seq: 7 }];
            let (sent, grant) = server.count(granted(&backend, &heir)).await;
            grant?;
            assert_eq!((sent, record(&backend, &heir.key).await?.holders.len()), (2, 1));
        }
    }

    /// What stays of a minimum hold goes like a holder: beside others, and with a mode of their own.
    async fn an_expired_minimum_hold_gives_way_by_two(server: Server) {
        let (backend, table) = server.backend().await?;
        for (mode, wanted) in [
            (Mode::Exclusive, Mode::Exclusive),
            (Mode::Exclusive, Mode::Shared),
            (Mode::Permit { limit: 3 }, Mode::Permit { limit: 3 }),
        ] {
            let holders = parties(mode, true, mode.capacity());
            plant(&server, &table, mode, &holders, &[]).await?;
            let key = Key::new("key")?;
            record(&backend, &key).await?;
            for holder in holders.iter().take(2) {
                let mut release = ReleaseRequest::new(&key, &holder.claimant.owner, &holder.claimant.id);
                release.linger = Some(Linger { ttl: secs(60), left: Duration::from_secs(30) });
                let (sent, released) = server.count(backend.release(&release)).await;
                assert_eq!((sent, released?), (1, doclock::ReleaseOutcome::Released));
            }
            let heir = request("key", wanted)?;
            assert_eq!(held(&backend, &heir).await?.occupants.len(), holders.len());
            let mut item = server.item(&table, "key").await?.context("no item")?;
            for entry in entries(&mut item, "holders").values_mut() {
                let AttributeValue::M(entry) = entry else { bail!("no entry: {entry:?}") };
                if !entry.contains_key("owner") {
                    entry.insert("expires_at".into(), number(1));
                }
            }
            server.put(&table, item).await?;
            let (sent, grant) = server.count(granted(&backend, &heir)).await;
            grant?;
            let after = record(&backend, &heir.key).await?;
            let live = holders.len().saturating_sub(2);
            assert_eq!((sent, after.holders.len()), (2, live + 1), "{after:?}");
        }
    }

    /// A swap would hardly ever find the record as it was.
    async fn a_crowd_that_renews_does_not_keep_a_waiter_out(server: Server) {
        let (backend, table) = server.backend().await?;
        let mode = Mode::Permit { limit: 31 };
        let crowd: Vec<_> = (0..30).map(|_| request("key", mode)).collect::<Result<_>>()?;
        let mut tokens = Vec::new();
        for holder in &crowd {
            tokens.push(granted(&backend, holder).await?.token);
        }
        let renewals = AtomicUsize::new(0);
        let is_over = AtomicBool::new(false);
        let renewing = join_all(crowd.iter().zip(tokens).map(async |(holder, token)| {
            let mut renewal = RenewRequest::new(holder, token, 1);
            renewal.timeout = Duration::from_mins(1);
            while !is_over.load(Ordering::SeqCst) {
                renewal.seq += 1;
                let renewed = backend.renew(&renewal).await?;
                anyhow::ensure!(matches!(renewed, RenewOutcome::Renewed(_)), "{renewed:?}");
                renewals.fetch_add(1, Ordering::SeqCst);
            }
            anyhow::Ok(())
        }));
        let own = Server::at(&format!("http://{}", server.address));
        let waiting = async {
            let sent = evict_one_after_another(&own, &table, mode, &renewals).await;
            is_over.store(true, Ordering::SeqCst);
            sent
        };
        let (renewed, sent) = tokio::join!(renewing, waiting);
        assert_eq!(sent?, [2; 3]);
        renewed.into_iter().collect::<Result<Vec<()>>>()?;
    }

    async fn upgrade_and_downgrade_are_two(server: Server) {
        let (backend, _) = server.backend().await?;
        let mut last = request("key", Mode::Exclusive)?;
        let mut token = granted(&backend, &last).await?.token;
        for mode in [Mode::Shared, Mode::Exclusive, Mode::Permit { limit: 2 }, Mode::Exclusive] {
            let mut next = request("key", mode)?;
            next.owner = last.owner.clone();
            next.replaces = Some(last.id.clone());
            let (sent, grant) = server.count(granted(&backend, &next)).await;
            let grant = grant?;
            assert_eq!((sent, grant.token), (2, token + 1));
            let after = record(&backend, &next.key).await?;
            assert_eq!((after.mode, after.holders.len(), after.closed), (mode, 1, Some(last.id)));
            (token, last) = (grant.token, next);
        }
        // Not past another who shares.
        let mut downgraded = request("key", Mode::Shared)?;
        downgraded.owner = last.owner.clone();
        downgraded.replaces = Some(last.id);
        granted(&backend, &downgraded).await?;
        granted(&backend, &request("key", Mode::Shared)?).await?;
        let mut upgrade = request("key", Mode::Exclusive)?;
        upgrade.owner = last.owner;
        upgrade.replaces = Some(downgraded.id);
        let (sent, contention) = server.count(held(&backend, &upgrade)).await;
        assert_eq!((sent, contention?.reason), (1, Reason::Busy));
    }
}

/// How many requests it takes to evict one who died and hold in its place, three times, while others renew.
async fn evict_one_after_another(
    server: &Server,
    table: &str,
    mode: Mode,
    renewals: &AtomicUsize,
) -> Result<Vec<usize>> {
    let backend = server.cold(table);
    let next = || -> Result<AcquireRequest> {
        let mut next = request("key", mode)?;
        next.timeout = Duration::from_mins(1);
        Ok(next)
    };
    let mut dead = next()?;
    granted(&backend, &dead).await?;
    let mut sent = Vec::new();
    for _ in 0..3 {
        server.kill(table, "holders", &dead).await?;
        let heir = next()?;
        let before = renewals.load(Ordering::SeqCst);
        let (requests, grant) = server.count(granted(&backend, &heir)).await;
        grant?;
        sent.push(requests);
        let renewed = renewals.load(Ordering::SeqCst) - before;
        anyhow::ensure!(renewed > 0, "nobody renewed meanwhile");
        dead = heir;
    }
    Ok(sent)
}
