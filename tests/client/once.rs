use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use doclock::{Error, ErrorKind, Lease, Once, Outcome, RETENTION, Status, Timestamp};

use crate::faulty::{Acquire, Fault, Release, Renew};
use crate::{TTL, World, pass, secs};

type Told = Outcome<u32, String>;

impl World {
    /// Where faults happen.
    fn once(&self) -> Once {
        self.ours.once("k").ttl(TTL)
    }

    fn same(&self) -> Once {
        self.theirs.once("k").ttl(TTL)
    }

    async fn status(&self) -> Option<Status<u32>> {
        self.same().status().await.unwrap()
    }
}

/// Work that succeeds.
async fn ok(once: Once, value: u32) -> Result<Told, Error> {
    once.run(async |_| Ok(value)).await
}

async fn fails(once: Once) -> Result<Told, Error> {
    once.run(async |_| Err("no money".to_owned())).await
}

#[tokio::test(start_paused = true)]
async fn it_runs_once_and_everybody_gets_the_result() {
    let world = World::new();
    assert_eq!(world.status().await, None);
    assert_eq!(ok(world.once(), 1).await.unwrap(), Outcome::Ran(1));
    assert_eq!(world.faults.requests(), 2, "acquired and released");
    assert_eq!(ok(world.once(), 2).await.unwrap(), Outcome::Repeated(1));
    assert_eq!(world.faults.requests(), 3, "asked");
    assert_eq!(ok(world.same(), 3).await.unwrap(), Outcome::Repeated(1));
    assert_eq!(world.status().await, Some(Status::Done(1)));
    let other = world.ours.once("another id");
    assert_eq!(ok(other, 4).await.unwrap(), Outcome::Ran(4));
}

#[tokio::test(start_paused = true)]
async fn those_who_come_meanwhile_wait_for_the_result() {
    let world = World::new();
    let runs = Arc::new(AtomicUsize::new(0));
    let calls: Vec<_> = [world.once(), world.same(), world.once(), world.same()]
        .into_iter()
        .map(|once| {
            let runs = Arc::clone(&runs);
            tokio::spawn(async move {
                let work = async |_: &Lease| {
                    runs.fetch_add(1, Ordering::SeqCst);
                    // Longer than a ttl: it is renewed.
                    pass(secs(40)).await;
                    Ok::<_, String>(7)
                };
                once.wait(secs(60)).run(work).await.unwrap()
            })
        })
        .collect();
    let mut ran = 0;
    for call in calls {
        match call.await.unwrap() {
            Outcome::Ran(7) => ran += 1,
            told => assert_eq!(told, Outcome::Repeated(7)),
        }
    }
    assert_eq!((ran, runs.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_wait_is_told_that_it_runs() {
    let began = SystemTime::now();
    let world = World::new();
    let once = world.once().owner("me").label("a call");
    let running = tokio::spawn(once.run(async |_| {
        pass(secs(100)).await;
        Ok::<_, String>(1)
    }));
    pass(secs(1)).await;
    for wait in [Duration::ZERO, secs(5)] {
        let error = ok(world.same().wait(wait), 2).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WaitTimeout);
    }
    let Some(Status::Running {
        owner,
        label,
        since,
        until,
        ..
    }) = world.status().await
    else {
        panic!("it runs");
    };
    assert_eq!(owner.as_str(), "me");
    assert_eq!(label.unwrap().as_str(), "a call");
    assert!(since >= began - secs(1) && until > since);
    assert_eq!(running.await.unwrap().unwrap(), Outcome::Ran(1));
    assert_eq!(world.status().await, Some(Status::Done(1)));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_seen_and_the_next_call_tries_again() {
    let world = World::new();
    let failed = fails(world.once()).await.unwrap();
    assert_eq!(failed, Outcome::Failed("no money".to_owned()));
    assert_eq!(world.faults.requests(), 2);
    let seen = Some(Status::Failed("no money".to_owned()));
    assert_eq!(world.status().await, seen);
    let again = tokio::spawn(world.once().run(async |_| {
        pass(secs(10)).await;
        Ok::<_, String>(2)
    }));
    pass(secs(1)).await;
    assert!(matches!(world.status().await, Some(Status::Running { .. })));
    assert_eq!(again.await.unwrap().unwrap(), Outcome::Ran(2));
    assert_eq!(ok(world.same(), 3).await.unwrap(), Outcome::Repeated(2));
}

#[tokio::test(start_paused = true)]
async fn a_final_failure_is_told_to_everybody() {
    let world = World::new();
    let failed = fails(world.once().final_failures()).await.unwrap();
    assert_eq!(failed, Outcome::Failed("no money".to_owned()));
    let before = || Outcome::FailedBefore("no money".to_owned());
    // Whatever a later call thinks of failures.
    for once in [world.once().final_failures(), world.same()] {
        assert_eq!(ok(once, 1).await.unwrap(), before());
    }
    let seen = Some(Status::Failed("no money".to_owned()));
    assert_eq!(world.status().await, seen);
}

#[tokio::test(start_paused = true)]
async fn a_crashed_runner_is_taken_over_once_its_lease_has_expired() {
    let world = World::new();
    world.faults.always(Renew, Fault::Hang);
    world.faults.always(Release, Fault::Hang);
    let start = tokio::time::Instant::now();
    let crashed = world.once().run(async |_| {
        pass(secs(1000)).await;
        Ok::<_, String>(1)
    });
    assert!(tokio::time::timeout(secs(1), crashed).await.is_err());
    let next = ok(world.same().wait(secs(60)), 2).await.unwrap();
    assert_eq!(next, Outcome::Ran(2));
    let after = start.elapsed();
    assert!(after >= TTL && after <= TTL + secs(2), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_run_is_repeated_at_once() {
    let world = World::new();
    let dropped = world.once().run(async |_| {
        pass(secs(10)).await;
        Ok::<_, String>(1)
    });
    assert!(tokio::time::timeout(secs(1), dropped).await.is_err());
    pass(secs(1)).await;
    assert_eq!(world.status().await, None);
    assert_eq!(ok(world.same(), 2).await.unwrap(), Outcome::Ran(2));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_panics_is_repeated_at_once() {
    let world = World::new();
    let panics = tokio::spawn(world.once().run::<u32, String>(async |_| {
        pass(secs(10)).await;
        panic!("on purpose")
    }));
    pass(secs(1)).await;
    let next = ok(world.same().wait(secs(15)), 2).await;
    assert!(panics.await.unwrap_err().is_panic());
    assert_eq!(next.unwrap(), Outcome::Ran(2), "its lease is given back");
}

/// The first of those who wait is the next call.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_run_that_fails_tries_again() {
    let world = World::new();
    let fails = tokio::spawn(world.once().run(async |_| {
        pass(secs(10)).await;
        Err::<u32, _>("no money".to_owned())
    }));
    pass(secs(1)).await;
    let next = ok(world.same().wait(secs(15)), 2).await;
    let failed = fails.await.unwrap().unwrap();
    assert_eq!(failed, Outcome::Failed("no money".to_owned()));
    assert_eq!(next.unwrap(), Outcome::Ran(2));
}

/// Somebody else may have run meanwhile, or will.
#[tokio::test(start_paused = true)]
async fn a_result_that_could_not_be_written_is_an_error() {
    let world = World::new();
    world
        .faults
        .always(Release, Fault::Refused(ErrorKind::PermissionDenied));
    let error = ok(world.once(), 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert_eq!(
        (error.operation(), error.key().unwrap().as_str()),
        (Some("run"), "k")
    );
    assert!(error.to_string().contains("the work was done"), "{error}");
    let final_failure = world.ours.once("final").ttl(TTL).final_failures();
    let error = fails(final_failure).await.unwrap_err();
    assert!(error.to_string().contains("the work was done"), "{error}");
    // The next call tries again, as it would have anyway.
    let other = world.ours.once("other").ttl(TTL);
    let failed = fails(other).await.unwrap();
    assert_eq!(failed, Outcome::Failed("no money".to_owned()));
    let next = ok(world.same().wait(secs(60)), 2).await.unwrap();
    assert_eq!(next, Outcome::Ran(2));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_the_end_is_asked_for_again() {
    let world = World::new();
    world.faults.once(Acquire, Fault::ReplyLost);
    world.faults.once(Release, Fault::ReplyLost);
    assert_eq!(ok(world.once(), 1).await.unwrap(), Outcome::Ran(1));
    assert_eq!(world.faults.sent(Release), 2);
    world.faults.once(Acquire, Fault::ReplyLost);
    assert_eq!(ok(world.once(), 2).await.unwrap(), Outcome::Repeated(1));
}

#[tokio::test(start_paused = true)]
async fn without_any_answer_to_the_end_it_is_unknown() {
    let world = World::new();
    world.faults.always(Release, Fault::ReplyLost);
    let error = ok(world.once(), 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    // It was written after all.
    assert_eq!(ok(world.same(), 2).await.unwrap(), Outcome::Repeated(1));
}

/// A release of what was ended by force looks repeated, but for the state.
#[tokio::test(start_paused = true)]
async fn who_was_ended_by_force_does_not_believe_that_its_result_is_stored() {
    let world = World::new();
    let work = async |_: &Lease| {
        world.theirs.force_release("k").await.unwrap();
        Ok::<_, String>(1)
    };
    let error = world.once().run(work).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    assert_eq!(ok(world.same(), 2).await.unwrap(), Outcome::Ran(2));
}

/// Nor if an earlier run, which was no final one, left the same words.
#[tokio::test(start_paused = true)]
async fn who_was_ended_by_force_does_not_believe_that_its_failure_is_final() {
    let world = World::new();
    let _ = fails(world.once()).await.unwrap();
    let work = async |_: &Lease| {
        world.theirs.force_release("k").await.unwrap();
        Err::<u32, _>("no money".to_owned())
    };
    let error = world.once().final_failures().run(work).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    assert_eq!(ok(world.same(), 2).await.unwrap(), Outcome::Ran(2));
}

/// Its first attempt never arrived, another ran meanwhile, and the second finds nothing to end.
#[tokio::test(start_paused = true)]
async fn an_end_that_came_too_late_is_no_end() {
    let world = World::new();
    world.faults.once(Release, Fault::RequestLost);
    let late = tokio::spawn(ok(world.once(), 1));
    pass(secs(1)).await;
    world.theirs.force_release("k").await.unwrap();
    assert_eq!(ok(world.same(), 2).await.unwrap(), Outcome::Ran(2));
    let error = late.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    assert_eq!(ok(world.same(), 3).await.unwrap(), Outcome::Repeated(2));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_loses_its_lease_is_dropped() {
    let world = World::new();
    let ended = Cell::new(false);
    let work = async |_: &Lease| {
        pass(secs(100)).await;
        ended.set(true);
        Ok::<_, String>(1)
    };
    let error = world.once().max_hold(secs(10)).run(work).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    assert_eq!((error.operation(), ended.get()), (Some("run"), false));
    assert_eq!(ok(world.same(), 2).await.unwrap(), Outcome::Ran(2));
}

/// The effect has happened, and must not be repeated.
#[tokio::test(start_paused = true)]
async fn a_result_that_is_too_large_is_returned_and_not_repeated() {
    let world = World::new();
    let large = "x".repeat(5000);
    let work = async |_: &Lease| Ok::<_, String>(large.clone());
    let ran = world.once().run(work).await.unwrap();
    assert_eq!(ran, Outcome::Ran(large.clone()));
    let error = world.same().run(work).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("it is done"), "{error}");
    let error = world.same().status::<String>().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.operation(), Some("status"));
}

#[tokio::test(start_paused = true)]
async fn a_result_is_kept_as_long_as_it_says_and_no_shorter_than_two_days() {
    let world = World::new();
    let (days, hour) = (secs(24 * 3600), secs(3600));
    for wrong in [RETENTION - hour, 100 * 365 * days + hour, Duration::MAX] {
        let error = ok(world.once().keep(wrong), 1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{wrong:?}");
    }
    assert_eq!(world.faults.requests(), 0);
    let once = |id| world.ours.once(id);
    let _ = ok(once("plain"), 1).await.unwrap();
    let _ = ok(once("year").keep(365 * days), 1).await.unwrap();
    let _ = fails(once("failed").keep(30 * days)).await.unwrap();
    for (id, keep) in [
        ("plain", RETENTION),
        ("year", 365 * days),
        ("failed", 30 * days),
    ] {
        let record = world.ours.inspect(id).await.unwrap().unwrap();
        let kept = record
            .purge_at
            .unwrap()
            .saturating_since(record.free_at.unwrap());
        assert_eq!((kept, record.pinned), (keep, None), "{id}");
    }
    world.memory.purge(&doclock::Key::new("year").unwrap());
    assert_eq!(ok(once("year"), 2).await.unwrap(), Outcome::Ran(2));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_result_of_this_kind_is_named() {
    let world = World::new();
    let _ = ok(world.once(), 1).await.unwrap();
    let work = async |_: &Lease| Ok::<_, String>("a text".to_owned());
    let error = world.same().run(work).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CorruptRecord);
    assert!(error.to_string().contains("`state`"), "{error}");
    let error = world.same().status::<String>().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CorruptRecord);
    // A key that remembers a scheduled job's slots.
    let job = world.ours.lock("job").once_per(secs(3600));
    let ran = job.run(async |_| Ok::<_, String>(())).await.unwrap();
    assert_eq!(ran, doclock::Run::Succeeded(()));
    let error = ok(world.theirs.once("job"), 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CorruptRecord);
    assert!(error.to_string().contains("`state`"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_lease_and_its_settings_are_those_of_a_lock() {
    let world = World::new();
    let deadline = SystemTime::now() + secs(20);
    let once = world.once().owner("me").deadline(deadline);
    let mut seen = None;
    let work = async |lease: &Lease| {
        let record = world.theirs.inspect("k").await.unwrap().unwrap();
        let holder = record.holder(lease.id()).unwrap().clone();
        seen = Some((holder.ttl.as_duration(), lease.token(), lease.slot()));
        assert_eq!(lease.owner().as_str(), "me");
        Ok::<_, String>(1)
    };
    assert_eq!(once.run(work).await.unwrap(), Outcome::Ran(1));
    let (ttl, token, slot) = seen.unwrap();
    assert!(ttl <= secs(20), "{ttl:?}");
    assert!(token > 0);
    assert_eq!(slot.map(Timestamp::from), Some(Timestamp::from_millis(0)));
    let error = ok(world.ours.once(""), 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}
