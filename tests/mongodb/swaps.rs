//! Records that are written as a whole, and what happens to them just before.

use anyhow::Result;
use doclock::{
    AcquireRequest, Backend, ErrorKind, Mode, Reason, ReleaseOutcome, ReleaseRequest, RenewOutcome,
    RenewRequest,
};
use mongodb::bson::{Document, doc};

use super::fixture::{Fixture, free, past, request, secs, soon};
use super::queue::{ending, fair};

/// A take-over of one's own lock: the second request is a swap.
async fn takeover(locks: &Fixture) -> Result<AcquireRequest> {
    let mine = request("k", Mode::Exclusive);
    locks.granted(&mine).await?;
    Ok(AcquireRequest::new(
        &mine.key,
        &mine.owner,
        Mode::Exclusive,
        secs(30),
    ))
}

/// Lets this document stand under the key just before the swap is sent.
fn before_the_swap(locks: &Fixture, document: Option<Document>) {
    locks.commands.before(2, locks.interfere("k", document));
}

#[tokio::test]
async fn a_swap_leaves_no_empty_shell() -> Result<()> {
    let locks = Fixture::new().await?;
    let again = takeover(&locks).await?;
    before_the_swap(&locks, None);
    let grant = locks.granted(&again).await?;
    assert_eq!(locks.commands.take().len(), 3);
    let record = locks.backend.inspect(&again.key).await?.unwrap();
    assert_eq!(record.holder(&again.id).unwrap().token, Some(grant.token));
    assert_eq!(record.rev, 1, "a new record");
    Ok(())
}

/// Between the refusal and the place in the queue.
#[tokio::test]
async fn a_place_in_the_queue_is_none_in_what_took_the_records_place() -> Result<()> {
    let locks = Fixture::new().await?;
    let holder = request("k", Mode::Exclusive);
    locks.granted(&holder).await?;
    before_the_swap(&locks, None);
    let mut waiter = fair("k", Mode::Exclusive);
    locks.granted(&waiter).await?;
    assert_eq!(locks.commands.take().len(), 3);
    assert_eq!(locks.record(&waiter).await?.rev, 1, "a new record");

    before_the_swap(&locks, Some(free()));
    waiter = fair("k", Mode::Exclusive);
    locks.granted(&waiter).await?;
    assert_eq!(locks.commands.take().len(), 3, "its turn at once");
    let record = locks.record(&waiter).await?;
    assert!(record.queue.is_empty() && record.holders.len() == 1);

    before_the_swap(&locks, Some(doc! { "name": "bob" }));
    let error = locks.backend.acquire(&fair("k", Mode::Exclusive)).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::CorruptRecord);
    let bob = Some(doc! { "_id": "k", "name": "bob" });
    assert_eq!(locks.document("k").await?, bob);
    Ok(())
}

/// Whoever was first to fill the queue up, or ended this acquisition, was first.
#[tokio::test]
async fn who_comes_too_late_does_not_join() -> Result<()> {
    let locks = Fixture::new().await?;
    locks.granted(&request("k", Mode::Exclusive)).await?;
    let mut waiter = fair("k", Mode::Exclusive);
    locks.queued(&mut waiter).await?;
    let long = doc! { "queue.0.expiresAt": soon(60_000), "queue.0.ttlMs": 60_000_i64 };
    locks.set("k", long).await?;
    let stands = locks.document("k").await?.unwrap();
    let one = stands.get_array("queue")?[0].as_document().unwrap();
    let crowd = (0..256).map(|index| {
        let mut one = one.clone();
        one.extend(doc! { "owner": format!("{index}"), "id": format!("{index}") });
        one
    });
    let mut full = stands.clone();
    full.insert("queue", crowd.collect::<Vec<_>>());
    let mut closed = stands.clone();
    let late = fair("k", Mode::Exclusive);
    closed.insert("closed", late.id.as_str());
    for (next, reason) in [(full, Reason::Queue), (closed, Reason::Closed)] {
        locks.put("k", &stands).await?;
        before_the_swap(&locks, Some(next.clone()));
        let refused = locks.refused(&late).await?;
        assert_eq!(refused.reason, reason);
        assert_eq!(locks.document("k").await?, Some(next));
    }
    Ok(())
}

/// A waiter of its own: another acquisition of the owner came between.
#[tokio::test]
async fn one_owner_has_one_place_in_the_queue() -> Result<()> {
    let locks = Fixture::new().await?;
    locks.granted(&request("k", Mode::Exclusive)).await?;
    let mut first = fair("k", Mode::Exclusive);
    locks.queued(&mut first).await?;
    let stands = locks.document("k").await?.unwrap();
    let mut leave = ending(&first);
    leave.queued = true;
    locks.backend.release(&leave).await?;

    before_the_swap(&locks, Some(stands));
    let mut second = fair("k", Mode::Exclusive);
    second.owner = first.owner.clone();
    locks.queued(&mut second).await?;
    let queue = locks.record(&second).await?.queue;
    let ids: Vec<_> = queue.iter().map(|waiter| &waiter.claimant.id).collect();
    assert_eq!(ids, [&second.id]);
    let refused = locks.refused(&first).await?;
    assert_eq!(refused.reason, Reason::Replaced);
    Ok(())
}

#[tokio::test]
async fn renewing_or_releasing_what_vanishes_leaves_no_empty_shell() -> Result<()> {
    let locks = Fixture::new().await?;
    let mine = request("k", Mode::Exclusive);
    for renews in [true, false] {
        let grant = locks.granted(&mine).await?;
        // Not as this crate writes it: the third request is a swap.
        locks.set("k", doc! { "rev": 7 }).await?;
        locks.commands.before(3, locks.interfere("k", None));
        if renews {
            let renewal = RenewRequest::new(&mine, grant.token, 2);
            assert_eq!(locks.backend.renew(&renewal).await?, RenewOutcome::Lost);
        } else {
            let release = ReleaseRequest::new(&mine.key, &mine.owner, &mine.id);
            let outcome = locks.backend.release(&release).await?;
            assert_eq!(outcome, ReleaseOutcome::NotHeld);
        }
        assert_eq!(locks.commands.take().len(), 3);
        assert_eq!(locks.document("k").await?, None);
    }
    Ok(())
}

#[tokio::test]
async fn a_swap_spares_what_took_the_records_place() -> Result<()> {
    let locks = Fixture::new().await?;
    let again = takeover(&locks).await?;
    before_the_swap(&locks, Some(doc! { "name": "bob" }));
    let error = locks.backend.acquire(&again).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CorruptRecord, "{error}");
    assert_eq!(
        locks.document("k").await?,
        Some(doc! { "_id": "k", "name": "bob" })
    );

    // The same revision of another life of the record.
    locks.raw.delete_many(doc! {}).await?;
    let again = takeover(&locks).await?;
    let mut reborn = locks.document("k").await?.unwrap();
    let token = reborn.get_i64("token")? + 1;
    reborn.insert("token", token);
    reborn.insert("state", "\"theirs\"");
    before_the_swap(&locks, Some(reborn));
    let grant = locks.granted(&again).await?;
    assert!(grant.token > u64::try_from(token)?);
    let after = locks.document("k").await?.unwrap();
    assert_eq!(after.get_str("state")?, "\"theirs\"");
    Ok(())
}

#[tokio::test]
async fn foreign_fields_stay() -> Result<()> {
    let locks = Fixture::new().await?;
    let again = takeover(&locks).await?;
    let note = doc! { "by": "ops", "when": past() };
    locks.set("k", doc! { "note": &note }).await?;
    let grant = locks.granted(&again).await?;
    locks
        .backend
        .renew(&RenewRequest::new(&again, grant.token, 2))
        .await?;
    let release = ReleaseRequest::new(&again.key, &again.owner, &again.id);
    locks.backend.release(&release).await?;
    locks.granted(&request("k", Mode::Exclusive)).await?;
    assert_eq!(
        locks.document("k").await?.unwrap().get_document("note")?,
        &note
    );
    Ok(())
}

/// A record of a hand or a tool that writes 32-bit integers.
#[tokio::test]
async fn a_record_with_small_integers_works() -> Result<()> {
    let locks = Fixture::new().await?;
    let mut mine = request("k", Mode::Exclusive);
    let mut record = free();
    record.extend(doc! { "rev": 7, "token": 41, "limit": 3 });
    locks.put("k", &record).await?;
    let grant = locks.granted(&mine).await?;
    assert!(grant.token > 41);
    locks
        .set(
            "k",
            doc! { "rev": 7, "limit": 0, "holders.0.seq": 1, "holders.0.ttlMs": 1000 },
        )
        .await?;
    let renewed = locks
        .backend
        .renew(&RenewRequest::new(&mine, grant.token, 2))
        .await?;
    assert!(matches!(renewed, RenewOutcome::Renewed(validity) if validity.seq == 2));
    locks.set("k", doc! { "rev": 8 }).await?;
    let release = ReleaseRequest::new(&mine.key, &mine.owner, &mine.id);
    assert_eq!(
        locks.backend.release(&release).await?,
        ReleaseOutcome::Released
    );
    mine = request("k", Mode::Shared);
    locks.granted(&mine).await?;
    Ok(())
}
