//! Scheduled runs and minimum holds.

use doclock::{Backend, LeaseId, Linger, Reason, ReleaseOutcome, Slot, SlotStart, Timestamp};

use super::*;

const DAY: Duration = Duration::from_hours(24);

/// For the run of a slot that began `ago`.
fn run(key: &str, ago: Duration) -> Result<AcquireRequest> {
    let mut run = request(key, Mode::Exclusive)?;
    let now = Timestamp::from(std::time::SystemTime::now());
    run.slot = Some(Slot::new(SlotStart::At(now.saturating_sub(ago))));
    Ok(run)
}

on_both! {
    /// A read and a write; skipped, a read. On a cold start too: the read tells the time.
    async fn a_run_is_two_and_none_is_one(server: Server) {
        let (_, table) = server.backend().await?;
        let first = run("key", DAY)?;
        let start = match first.slot.map(|slot| slot.start) {
            Some(SlotStart::At(start)) => start,
            other => bail!("{other:?}"),
        };
        // An absent key, and then one that is there.
        for (next, ago) in [(first.clone(), DAY), (run("key", DAY / 2)?, DAY / 2)] {
            let backend = server.cold(&table);
            let (sent, grant) = server.count(granted(&backend, &next)).await;
            let grant = grant?;
            assert_eq!(sent, 2);
            assert!(!grant.validity.refresh && grant.slot >= Some(start), "{grant:?} {ago:?}");
            let (sent, contention) = server.count(held(&backend, &run("key", ago / 2)?)).await;
            assert_eq!((sent, contention?.reason), (1, Reason::Busy));
            backend.release(&ending(&next)).await?;
            let mut again = next.clone();
            again.id = LeaseId::random();
            again.owner = Owner::random();
            again.waiting = true;
            let (sent, skipped) = server.count(backend.acquire(&again)).await;
            assert_eq!((sent, skipped?), (1, AcquireOutcome::Skipped(None)));
            let after = record(&backend, &next.key).await?;
            assert_eq!((after.slot_started, after.slot_done), (grant.slot, None));
            assert_eq!(after.pinned, after.purge_at);
        }
        let backend = server.cold(&table);
        let (sent, skipped) = server.count(backend.acquire(&first)).await;
        assert_eq!((sent, skipped?), (1, AcquireOutcome::Skipped(None)));
    }

    /// Not before its time, and not at a border.
    async fn a_slot_is_waited_for_by_one(server: Server) {
        let (backend, table) = server.backend().await?;
        let mut early = run("key", Duration::ZERO)?;
        let now = Timestamp::from(std::time::SystemTime::now());
        early.slot = Some(Slot::new(SlotStart::At(now.saturating_add(DAY))));
        for _ in 0..2 {
            let (sent, contention) = server.count(held(&backend, &early)).await;
            let contention = contention?;
            assert_eq!((sent, contention.reason), (1, Reason::Border));
            assert!(contention.free_in > DAY / 2, "{contention:?}");
            assert_eq!(server.item(&table, "key").await?, None);
        }
    }

    /// Granted again until a run succeeded, which its release says.
    async fn a_release_tells_that_a_run_succeeded(server: Server) {
        let (backend, table) = server.backend().await?;
        let mut run = run("key", DAY)?;
        run.slot = run.slot.map(|mut slot| {
            slot.until_done = true;
            slot
        });
        for succeeds in [false, true] {
            run.id = LeaseId::random();
            let grant = granted(&backend, &run).await?;
            let mut release = ending(&run);
            release.slot_done = grant.slot.filter(|_| succeeds);
            let (sent, released) = server.count(backend.release(&release)).await;
            assert_eq!((sent, released?), (1, ReleaseOutcome::Released));
            assert_eq!(record(&backend, &run.key).await?.slot_done, release.slot_done);
        }
        run.id = LeaseId::random();
        assert_eq!(backend.acquire(&run).await?, AcquireOutcome::Skipped(None));

        // One that is done already stays done.
        let done = record(&backend, &run.key).await?.slot_done;
        let other = request("key", Mode::Exclusive)?;
        granted(&backend, &other).await?;
        let mut release = ending(&other);
        release.slot_done = done.map(|done| done.saturating_sub(DAY));
        let (sent, released) = server.count(backend.release(&release)).await;
        assert_eq!((sent, released?), (2, ReleaseOutcome::Released));
        let mut item = server.item(&table, "key").await?.context("no item")?;
        assert_eq!(item.remove("slot_done"), done.map(|done| number(done.as_millis())));
    }

    async fn a_release_that_lingers_is_one(server: Server) {
        let (backend, table) = server.backend().await?;
        let mode = Mode::Permit { limit: 3 };
        let mut mine = request("key", mode)?;
        granted(&backend, &mine).await?;
        granted(&backend, &request("key", mode)?).await?;
        let ttl = secs(60);
        // Two of one millisecond are two.
        for nth in 1..=2 {
            let mut release = ending(&mine);
            release.linger = Some(Linger { ttl, left: Duration::from_secs(50) });
            let (sent, released) = server.count(backend.release(&release)).await;
            assert_eq!((sent, released?), (1, ReleaseOutcome::Released));
            let after = record(&backend, &mine.key).await?;
            let rests: Vec<_> = after.holders.iter().filter(|holder| holder.claimant.is_none()).collect();
            assert_eq!(rests.len(), nth);
            for rest in rests {
                assert_eq!((rest.ttl, rest.seq), (ttl, 0));
                assert_eq!(rest.expires_at, rest.acquired_at.saturating_add(Duration::from_secs(50)));
            }
            let (sent, released) = server.count(backend.release(&release)).await;
            assert_eq!((sent, released?), (1, ReleaseOutcome::Released));
            if nth == 1 {
                mine.id = LeaseId::random();
                granted(&backend, &mine).await?;
            }
        }
        // Nobody walks in, not even who left it.
        mine.id = LeaseId::random();
        let before = server.item(&table, "key").await?;
        let (sent, contention) = server.count(held(&backend, &mine)).await;
        let contention = contention?;
        assert_eq!((sent, contention.occupants.len()), (1, 3));
        assert!(contention.occupants.iter().any(|occupant| occupant.claimant.is_none()));
        assert_eq!(server.item(&table, "key").await?, before);
    }
}
