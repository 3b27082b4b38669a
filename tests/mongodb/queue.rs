//! What a place in the queue costs, and what it writes.

use anyhow::{Context, Result};
use doclock::{
    AcquireOutcome, AcquireRequest, Backend, Contention, LockRecord, Mode, Owner, Queueing, Reason,
    ReleaseOutcome, ReleaseRequest,
};
use mongodb::bson::doc;

use super::fixture::{Fixture, past, request, soon};

const MODES: [Mode; 3] = [Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 2 }];
const ONE: [&str; 1] = ["findAndModify"];
const TWO: [&str; 2] = ["findAndModify", "findAndModify"];

pub fn fair(key: &str, mode: Mode) -> AcquireRequest {
    let mut request = request(key, mode);
    request.queueing = Queueing::Fair;
    request
}

pub fn ending(request: &AcquireRequest) -> ReleaseRequest {
    ReleaseRequest::new(&request.key, &request.owner, &request.id)
}

impl Fixture {
    /// Joins the queue, or stays in it.
    pub async fn queued(&self, request: &mut AcquireRequest) -> Result<Contention> {
        match self.backend.acquire(request).await? {
            AcquireOutcome::Queued(contention) => {
                request.queued = true;
                request.seq += 1;
                Ok(contention)
            }
            other => anyhow::bail!("not queued: {other:?}"),
        }
    }

    pub async fn refused(&self, request: &AcquireRequest) -> Result<Contention> {
        match self.backend.acquire(request).await? {
            AcquireOutcome::Held(contention) => Ok(contention),
            other => anyhow::bail!("not refused: {other:?}"),
        }
    }

    async fn released(&self, request: &ReleaseRequest) -> Result<()> {
        let outcome = self.backend.release(request).await?;
        anyhow::ensure!(outcome == ReleaseOutcome::Released, "not released");
        Ok(())
    }

    pub async fn record(&self, request: &AcquireRequest) -> Result<LockRecord> {
        let record = self.backend.inspect(&request.key).await?;
        self.commands.take();
        record.context("no record")
    }
}

#[tokio::test]
async fn a_fair_waiter_polls_refreshes_and_takes_its_turn_in_one_request_each() -> Result<()> {
    let locks = Fixture::new().await?;
    for mode in MODES {
        let key = mode.name();
        let holder = request(key, Mode::Exclusive);
        locks.granted(&holder).await?;
        let mut waiter = fair(key, mode);
        locks.commands.take();
        let contention = locks.queued(&mut waiter).await?;
        assert_eq!(locks.commands.take(), TWO, "enqueue, {mode:?}");
        assert_eq!((contention.reason, contention.ahead), (Reason::Busy, 0));

        let (before, entries) = (locks.bytes(key).await?, locks.oplog().await?);
        locks.queued(&mut waiter).await?;
        assert_eq!(locks.commands.take(), ONE, "poll, {mode:?}");
        assert_eq!(locks.bytes(key).await?, before, "a poll writes nothing");
        assert_eq!(locks.oplog().await?, entries, "a poll is no write");

        locks
            .set(key, doc! { "queue.0.expiresAt": soon(3000) })
            .await?;
        let entries = locks.oplog().await?;
        let before = locks.record(&waiter).await?;
        locks.queued(&mut waiter).await?;
        assert_eq!(locks.commands.take(), ONE, "refresh, {mode:?}");
        assert_eq!(locks.oplog().await?, entries + 1);
        let after = locks.record(&waiter).await?;
        let (old, new) = (&before.queue[0], &after.queue[0]);
        assert!(new.expires_at > old.expires_at && new.seq == 3, "{after:?}");
        assert_eq!((new.enqueued_at, after.rev), (old.enqueued_at, before.rev));

        locks.released(&ending(&holder)).await?;
        assert_eq!(locks.commands.take(), ["update"], "release, {mode:?}");
        locks.granted(&waiter).await?;
        assert_eq!(locks.commands.take(), ONE, "turn, {mode:?}");
        let record = locks.record(&waiter).await?;
        assert!(record.queue.is_empty() && record.holders.len() == 1);
    }
    Ok(())
}

#[tokio::test]
async fn who_may_stand_beside_those_who_queue_needs_two_requests() -> Result<()> {
    let locks = Fixture::new().await?;
    for mode in &MODES[1..] {
        let key = mode.name();
        let holder = request(key, Mode::Exclusive);
        locks.granted(&holder).await?;
        let mut waiter = fair(key, *mode);
        locks.queued(&mut waiter).await?;
        locks.released(&ending(&holder)).await?;
        let before = locks.record(&waiter).await?;
        locks.granted(&request(key, *mode)).await?;
        assert_eq!(locks.commands.take(), TWO, "{mode:?}");
        let after = locks.record(&waiter).await?;
        assert_eq!((after.holders.len(), after.queue), (1, before.queue));
    }
    Ok(())
}

#[tokio::test]
async fn leaving_the_queue_is_one_request() -> Result<()> {
    let locks = Fixture::new().await?;
    locks.granted(&request("k", Mode::Exclusive)).await?;
    let mut first = fair("k", Mode::Exclusive);
    let mut second = fair("k", Mode::Shared);
    locks.queued(&mut first).await?;
    locks.queued(&mut second).await?;
    let before = locks.record(&first).await?;

    let mut leave = ending(&first);
    leave.queued = true;
    locks.released(&leave).await?;
    assert_eq!(locks.commands.take(), ["update"]);
    let after = locks.record(&first).await?;
    assert_eq!(after.queue, before.queue[1..]);
    assert_eq!((after.rev, &after.closed), (before.rev + 1, &None));
    assert_eq!(after.holders, before.holders);

    // Without the hint, it is found by the rules.
    locks.released(&ending(&second)).await?;
    let sent = locks.commands.take();
    assert_eq!(sent, ["update", "findAndModify", "findAndModify"]);
    assert!(locks.record(&first).await?.queue.is_empty());

    // With a wrong one, a lease is released all the same.
    let holder = before.holders[0].claimant.clone().context("a lease")?;
    let mut release = ReleaseRequest::new(&first.key, &holder.owner, &holder.id);
    release.queued = true;
    locks.released(&release).await?;
    assert_eq!(locks.commands.take(), ["update"]);
    assert!(locks.record(&first).await?.holders.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_newcomer_joins_a_queue_or_is_refused_by_it() -> Result<()> {
    let locks = Fixture::new().await?;
    for mode in [Mode::Shared, Mode::Permit { limit: 2 }] {
        let key = mode.name();
        locks.granted(&request(key, mode)).await?;
        locks.queued(&mut fair(key, Mode::Exclusive)).await?;
        locks.commands.take();

        let never = locks.refused(&request(key, mode)).await?;
        assert_eq!(locks.commands.take(), ONE, "refused, {mode:?}");
        assert_eq!(never.reason, Reason::Queue);
        let mut joins = request(key, mode);
        joins.queueing = Queueing::WhenNeeded;
        let behind = locks.queued(&mut joins).await?;
        assert_eq!(locks.commands.take(), TWO, "joined, {mode:?}");
        assert_eq!((behind.reason, behind.ahead), (Reason::Queue, 1));
        locks.queued(&mut joins).await?;
        assert_eq!(locks.commands.take(), ONE, "poll, {mode:?}");
    }
    Ok(())
}

/// Where the one ahead only waits for the holder, others of the holder's mode find room beside it at once.
#[tokio::test]
async fn a_turn_beside_others_is_one_request() -> Result<()> {
    let locks = Fixture::new().await?;
    for (mode, ahead) in [(Mode::Shared, 0), (Mode::Permit { limit: 3 }, 0)] {
        let key = mode.name();
        let holder = request(key, Mode::Exclusive);
        locks.granted(&holder).await?;
        let mut crowd = [fair(key, mode), fair(key, mode), fair(key, mode)];
        for waiter in &mut crowd {
            let contention = locks.queued(waiter).await?;
            assert_eq!(contention.ahead, ahead, "{mode:?}");
        }
        locks.released(&ending(&holder)).await?;
        locks.commands.take();
        // In any order: nobody is in another's way.
        for waiter in crowd.iter().rev() {
            locks.granted(waiter).await?;
            assert_eq!(locks.commands.take(), ONE, "{mode:?}");
        }
        let record = locks.record(&holder).await?;
        assert_eq!((record.holders.len(), record.queue.len()), (3, 0));
    }
    Ok(())
}

#[tokio::test]
async fn a_permit_that_becomes_free_is_for_the_first_in_line() -> Result<()> {
    let locks = Fixture::new().await?;
    let mode = Mode::Permit { limit: 2 };
    let holders = [request("k", mode), request("k", mode)];
    for holder in &holders {
        locks.granted(holder).await?;
    }
    let mut first = fair("k", mode);
    let mut second = fair("k", mode);
    locks.queued(&mut first).await?;
    locks.queued(&mut second).await?;
    locks.released(&ending(&holders[0])).await?;
    locks.commands.take();
    let contention = locks.queued(&mut second).await?;
    assert_eq!(locks.commands.take(), ONE);
    assert_eq!((contention.reason, contention.ahead), (Reason::Queue, 1));
    locks.granted(&first).await?;
    assert_eq!(locks.commands.take(), ONE);
    locks.released(&ending(&holders[1])).await?;
    locks.granted(&second).await?;
    Ok(())
}

#[tokio::test]
async fn a_turn_evicts_the_dead_of_both_kinds() -> Result<()> {
    let locks = Fixture::new().await?;
    locks.granted(&request("k", Mode::Exclusive)).await?;
    for _ in 0..3 {
        locks.queued(&mut fair("k", Mode::Exclusive)).await?;
    }
    let mut waiter = fair("k", Mode::Exclusive);
    let contention = locks.queued(&mut waiter).await?;
    assert_eq!(contention.ahead, 3);
    let dead = doc! {
        "holders.0.expiresAt": past(), "queue.0.expiresAt": past(), "queue.1.expiresAt": past(),
        "queue.2.expiresAt": past(),
    };
    locks.set("k", dead).await?;
    locks.commands.take();
    locks.granted(&waiter).await?;
    assert_eq!(locks.commands.take(), ONE);
    let record = locks.record(&waiter).await?;
    assert!(record.queue.is_empty() && record.holders.len() == 1);
    Ok(())
}

/// The head is alive, and does not come.
#[tokio::test]
async fn passing_one_who_does_not_claim_its_turn_is_two_requests() -> Result<()> {
    let locks = Fixture::new().await?;
    let holder = request("k", Mode::Exclusive);
    locks.granted(&holder).await?;
    let mut idle = fair("k", Mode::Exclusive);
    let mut waiter = fair("k", Mode::Exclusive);
    locks.queued(&mut idle).await?;
    locks.queued(&mut waiter).await?;
    locks.released(&ending(&holder)).await?;
    let contention = locks.queued(&mut waiter).await?;
    assert_eq!((contention.reason, contention.ahead), (Reason::Queue, 1));

    let long_ago = doc! {
        "freeAt": past(), "queue.0.enqueuedAt": past(), "queue.0.expiresAt": soon(60_000), "queue.0.ttlMs": 60_000_i64,
    };
    locks.set("k", long_ago).await?;
    locks.commands.take();
    locks.granted(&waiter).await?;
    assert_eq!(locks.commands.take(), TWO);
    assert!(locks.record(&waiter).await?.queue.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_full_queue_takes_nobody_until_somebody_dies() -> Result<()> {
    let locks = Fixture::new().await?;
    locks.granted(&request("k", Mode::Exclusive)).await?;
    locks.queued(&mut fair("k", Mode::Exclusive)).await?;
    let one = locks.document("k").await?.context("no document")?;
    let one = one.get_array("queue")?[0]
        .as_document()
        .context("no waiter")?
        .clone();
    let crowd = (0..256).map(|index| {
        let mut waiter = one.clone();
        waiter.extend(doc! {
            "owner": format!("{index}"), "id": format!("{index}"), "expiresAt": soon(60_000), "ttlMs": 60_000_i64,
        });
        waiter
    });
    locks
        .set("k", doc! { "queue": crowd.collect::<Vec<_>>() })
        .await?;
    let before = locks.bytes("k").await?;
    locks.commands.take();
    let mut late = fair("k", Mode::Exclusive);
    let contention = locks.refused(&late).await?;
    assert_eq!(locks.commands.take(), ONE);
    assert_eq!((contention.reason, contention.ahead), (Reason::Queue, 256));
    assert_eq!(locks.bytes("k").await?, before);

    locks
        .set(
            "k",
            doc! { "queue.3.expiresAt": past(), "queue.9.expiresAt": past() },
        )
        .await?;
    let contention = locks.queued(&mut late).await?;
    assert_eq!(locks.commands.take(), TWO);
    assert_eq!(contention.ahead, 254);
    assert_eq!(locks.record(&late).await?.queue.len(), 255);
    Ok(())
}

#[tokio::test]
async fn an_upgrade_and_a_downgrade_are_two_requests_each() -> Result<()> {
    let locks = Fixture::new().await?;
    let shared = request("k", Mode::Shared);
    let first = locks.granted(&shared).await?;
    let mut tokens = vec![first.token];
    let mut held = shared;
    for mode in [Mode::Exclusive, Mode::Shared] {
        let mut converted = request("k", mode);
        converted.owner = held.owner;
        converted.replaces = Some(held.id);
        locks.commands.take();
        tokens.push(locks.granted(&converted).await?.token);
        assert_eq!(locks.commands.take(), TWO, "{mode:?}");
        let record = locks.record(&converted).await?;
        assert_eq!((record.mode, record.holders.len()), (mode, 1));
        held = converted;
    }
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");

    // Not beside another sharer.
    let last = request("k", Mode::Shared);
    locks.granted(&last).await?;
    let mut upgrade = request("k", Mode::Exclusive);
    upgrade.owner = last.owner;
    upgrade.replaces = Some(last.id);
    locks.commands.take();
    locks.refused(&upgrade).await?;
    assert_eq!(locks.commands.take(), ONE);
    Ok(())
}

#[tokio::test]
async fn what_is_left_of_a_minimum_hold_is_nobodys() -> Result<()> {
    let locks = Fixture::new().await?;
    let mine = request("k", Mode::Exclusive);
    locks.granted(&mine).await?;
    locks.commands.take();
    let mut release = ending(&mine);
    release.linger = Some(linger(60_000, 20_000));
    locks.released(&release).await?;
    assert_eq!(locks.commands.take(), ["update"]);
    let record = locks.record(&mine).await?;
    let left = &record.holders[0];
    assert_eq!(record.holders.len(), 1);
    assert_eq!((&left.claimant, left.token, left.seq), (&None, None, 0));
    assert_eq!(left.ttl.as_millis(), 60_000);
    assert_eq!(
        left.expires_at.saturating_since(left.acquired_at).as_secs(),
        20
    );
    let document = locks.document("k").await?.context("no document")?;
    let left = document.get_array("holders")?[0]
        .as_document()
        .context("no holder")?
        .clone();
    let fields: Vec<_> = left.keys().collect();
    assert_eq!(fields, ["acquiredAt", "expiresAt", "ttlMs", "seq"]);

    // Not even by the same owner.
    let mut again = request("k", Mode::Exclusive);
    again.owner = mine.owner.clone();
    locks.refused(&again).await?;
    assert_eq!(locks.commands.take(), ONE);
    locks
        .set("k", doc! { "holders.0.expiresAt": past() })
        .await?;
    locks.granted(&again).await?;
    assert_eq!(locks.commands.take(), ONE);
    Ok(())
}

#[tokio::test]
async fn a_name_in_the_queue_is_only_a_name() -> Result<()> {
    let locks = Fixture::new().await?;
    for name in super::strings::NAMES {
        let holder = request(name, Mode::Exclusive);
        locks.granted(&holder).await?;
        for turn in [true, false] {
            let mut waiter = fair(name, Mode::Shared);
            waiter.owner = Owner::new(name)?;
            locks.queued(&mut waiter).await?;
            let queue = locks.record(&waiter).await?.queue;
            assert_eq!(queue[0].claimant.owner, waiter.owner);
            locks
                .set(name, doc! { "queue.0.expiresAt": soon(3000) })
                .await?;
            locks.queued(&mut waiter).await?;
            let record = locks.record(&waiter).await?;
            assert_eq!(record.waiter(&waiter.id).map(|waiter| waiter.seq), Some(2));

            if turn {
                let mut stranger = fair(name, Mode::Shared);
                locks.queued(&mut stranger).await?;
                let mut leave = ending(&waiter);
                leave.queued = true;
                locks.released(&leave).await?;
                let record = locks.record(&waiter).await?;
                let left: Vec<_> = record
                    .queue
                    .iter()
                    .map(|waiter| &waiter.claimant.id)
                    .collect();
                assert_eq!(left, [&stranger.id]);
                leave = ending(&stranger);
                leave.queued = true;
                locks.released(&leave).await?;
            } else {
                locks.released(&ending(&holder)).await?;
                locks.granted(&waiter).await?;
                let record = locks.record(&waiter).await?;
                assert_eq!(record.holders[0].owner(), Some(&waiter.owner));
                assert!(record.queue.is_empty());
            }
        }
    }
    Ok(())
}

/// A record of a hand or a tool that writes 32-bit integers: decided by the rules, and written as a whole.
#[tokio::test]
async fn a_queue_with_small_integers_works() -> Result<()> {
    let locks = Fixture::new().await?;
    let holder = request("k", Mode::Exclusive);
    locks.granted(&holder).await?;
    locks.set("k", doc! { "rev": 7 }).await?;
    locks.commands.take();
    let mut waiter = fair("k", Mode::Exclusive);
    locks.queued(&mut waiter).await?;
    assert_eq!(locks.commands.take().len(), 3);

    let small = doc! { "queue.0.seq": 1, "queue.0.expiresAt": soon(3000) };
    locks.set("k", small).await?;
    locks.queued(&mut waiter).await?;
    assert_eq!(locks.commands.take(), TWO);
    let record = locks.record(&waiter).await?;
    assert_eq!(record.queue[0].seq, 2);

    locks.released(&ending(&holder)).await?;
    locks.set("k", doc! { "queue.0.ttlMs": 6000 }).await?;
    locks.commands.take();
    locks.granted(&waiter).await?;
    assert_eq!(locks.commands.take().len(), 3);
    Ok(())
}

fn linger(ttl: u64, left: u64) -> doclock::Linger {
    let ms = std::time::Duration::from_millis;
    doclock::Linger {
        ttl: doclock::Ttl::new(ms(ttl)).unwrap(),
        left: ms(left),
    }
}
