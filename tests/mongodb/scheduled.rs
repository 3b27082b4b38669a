//! Runs of scheduled jobs.

use std::time::Duration;

use anyhow::{Context, Result};
use doclock::{AcquireOutcome, AcquireRequest, Backend, Mode, Reason, Slot, SlotStart, Timestamp};
use mongodb::bson::{DateTime, doc};

use super::fixture::{Fixture, past, request, soon};
use super::queue::{ending, fair};

const ONE: [&str; 1] = ["findAndModify"];
/// The year 9999.
const NEVER: i64 = 253_402_300_799_000;
/// So long that no test meets its end.
const PERIOD: Duration = Duration::from_hours(52 * 365 * 24);

fn run(key: &str, slot: Slot) -> AcquireRequest {
    let mut request = request(key, Mode::Exclusive);
    request.slot = Some(slot);
    request
}

fn every() -> Slot {
    Slot::new(SlotStart::Every(PERIOD))
}

fn at(ms: i64) -> Slot {
    let start = DateTime::now().timestamp_millis() + ms;
    Slot::new(SlotStart::At(Timestamp::from_millis(start)))
}

impl Fixture {
    async fn skipped(&self, request: &AcquireRequest) -> Result<()> {
        let outcome = self.backend.acquire(request).await?;
        anyhow::ensure!(outcome == AcquireOutcome::Skipped(None), "{outcome:?}");
        Ok(())
    }

    async fn ended(&self, request: &AcquireRequest, done: Option<Timestamp>) -> Result<()> {
        let mut release = ending(request);
        release.slot_done = done;
        self.backend.release(&release).await?;
        assert_eq!(self.commands.take(), ["update"]);
        Ok(())
    }
}

#[tokio::test]
async fn a_run_is_one_request_granted_or_skipped() -> Result<()> {
    let locks = Fixture::new().await?;
    let first = run("k", every());
    let grant = locks.granted(&first).await?;
    // Nothing tells the time where there is no record, and a refusal must leave none.
    let sent = locks.commands.take();
    assert_eq!(sent, ["findAndModify", "hello", "findAndModify"], "absent");
    let period = i64::try_from(PERIOD.as_millis())?;
    let now = DateTime::now().timestamp_millis();
    let slot = Timestamp::from_millis(now - now % period);
    assert_eq!(grant.slot, Some(slot));
    let record = locks.record(&first).await?;
    assert_eq!(record.slot_started, Some(slot));
    let never = Some(Timestamp::from_millis(NEVER));
    assert_eq!((record.pinned, record.purge_at), (never, never));

    locks.ended(&first, Some(slot)).await?;
    let (before, entries) = (locks.bytes("k").await?, locks.oplog().await?);
    locks.skipped(&run("k", every())).await?;
    assert_eq!(locks.commands.take(), ONE, "skipped");
    assert_eq!(locks.bytes("k").await?, before);
    assert_eq!(locks.oplog().await?, entries);

    // The next one.
    let earlier = DateTime::from_millis(slot.as_millis() - period);
    locks
        .set("k", doc! { "slotStarted": earlier, "slotDone": earlier })
        .await?;
    let second = run("k", every());
    let grant = locks.granted(&second).await?;
    assert_eq!(locks.commands.take(), ONE, "granted");
    assert_eq!(grant.slot, Some(slot));
    let record = locks.record(&second).await?;
    assert_eq!(
        (
            record.slot_started,
            record.slot_done.map(Timestamp::as_millis)
        ),
        (Some(slot), Some(earlier.timestamp_millis()))
    );

    // It is not over yet. Then it has happened, whatever became of it.
    locks.skipped(&run("k", every())).await?;
    let mut later = every();
    later.until_done = true;
    locks.refused(&run("k", later)).await?;
    locks.commands.take();
    locks.ended(&second, None).await?;
    locks.skipped(&run("k", every())).await?;
    let third = run("k", later);
    locks.commands.take();
    locks.granted(&third).await?;
    assert_eq!(locks.commands.take(), ONE, "until it is done");
    locks.ended(&third, Some(slot)).await?;
    locks.skipped(&run("k", later)).await?;
    Ok(())
}

#[tokio::test]
async fn a_slot_of_the_callers_begins_when_it_begins() -> Result<()> {
    let locks = Fixture::new().await?;
    let early = locks.refused(&run("k", at(60_000))).await?;
    assert_eq!(locks.commands.take(), ["findAndModify", "hello"]);
    assert_eq!(early.reason, Reason::Border);
    assert!((50..=60).contains(&early.free_in.as_secs()), "{early:?}");
    assert_eq!(locks.document("k").await?, None, "not even an empty one");

    let slot = at(-60_000);
    let first = run("k", slot);
    let grant = locks.granted(&first).await?;
    assert_eq!(
        locks.commands.take(),
        ["findAndModify", "hello", "findAndModify"]
    );
    assert_eq!(grant.slot.map(SlotStart::At), Some(slot.start));
    locks.ended(&first, grant.slot).await?;

    for (slot, reason) in [(at(60_000), Some(Reason::Border)), (slot, None)] {
        let before = locks.bytes("k").await?;
        match locks.backend.acquire(&run("k", slot)).await? {
            AcquireOutcome::Held(contention) => assert_eq!(Some(contention.reason), reason),
            outcome => assert_eq!((outcome, reason), (AcquireOutcome::Skipped(None), None)),
        }
        assert_eq!(locks.commands.take(), ONE);
        assert_eq!(locks.bytes("k").await?, before);
    }
    locks.granted(&run("k", at(-1000))).await?;
    assert_eq!(locks.commands.take(), ONE);
    Ok(())
}

/// Nobody knows in which slot the server's time is that is known so badly.
#[tokio::test]
async fn a_border_is_waited_for() -> Result<()> {
    let mut locks = Fixture::new().await?;
    let mut exact = locks.backend.clone();
    locks.backend = exact.clone().clock_skew(Duration::from_mins(10));
    let minute = Slot::new(SlotStart::Every(Duration::from_mins(1)));
    // The first of all as well, and it leaves nothing.
    locks.refused(&run("k", minute)).await?;
    assert_eq!(locks.commands.take(), ["findAndModify", "hello"]);
    let first = run("k", every());
    std::mem::swap(&mut locks.backend, &mut exact);
    locks.granted(&first).await?;
    locks.commands.take();
    locks.ended(&first, None).await?;
    std::mem::swap(&mut locks.backend, &mut exact);
    locks.set("k", doc! { "slotStarted": past() }).await?;
    locks.commands.take();
    let before = locks.bytes("k").await?;
    let contention = locks.refused(&run("k", minute)).await?;
    assert_eq!(locks.commands.take(), ONE);
    assert_eq!(contention.reason, Reason::Border);
    assert!(
        contention.free_in > Duration::from_mins(18),
        "{contention:?}"
    );
    assert_eq!(locks.bytes("k").await?, before);

    locks.backend = exact;
    locks.granted(&run("k", every())).await?;
    Ok(())
}

#[tokio::test]
async fn a_run_in_the_queue_is_judged_by_its_slot_too() -> Result<()> {
    let locks = Fixture::new().await?;
    let holder = request("k", Mode::Exclusive);
    locks.granted(&holder).await?;
    locks.commands.take();
    let mut waiter = fair("k", Mode::Exclusive);
    waiter.slot = Some(every());
    locks.queued(&mut waiter).await?;
    assert_eq!(locks.commands.take().len(), 2);

    // Its place is due, but its run has happened.
    let slot = locks.record(&waiter).await?.slot_started;
    assert_eq!(slot, None);
    let done = doc! { "slotStarted": soon(0), "queue.0.expiresAt": soon(3000) };
    locks.set("k", done).await?;
    let before = locks.bytes("k").await?;
    locks.skipped(&waiter).await?;
    assert_eq!(locks.commands.take(), ONE);
    assert_eq!(locks.bytes("k").await?, before);

    locks.set("k", doc! { "slotStarted": past() }).await?;
    locks.queued(&mut waiter).await?;
    assert_eq!(locks.commands.take(), ONE);
    let record = locks.record(&waiter).await?;
    assert_eq!(record.queue[0].seq, 2, "refreshed");
    locks.ended(&holder, None).await?;
    let grant = locks.granted(&waiter).await?;
    assert_eq!(locks.commands.take(), ONE);
    let record = locks.record(&waiter).await?;
    assert_eq!(grant.slot, record.slot_started);
    let started = record.slot_started.context("no slot")?;
    assert!(started.as_millis() > 0 && record.pinned.is_some());
    assert!(record.queue.is_empty());
    Ok(())
}
