use std::time::{Duration, SystemTime};

use doclock::{ErrorKind, Exclusive, Lease, Mode, Permit, Run, Shared, Upgrade};

use crate::faulty::{Acquire, Fault, Release, Renew};
use crate::{TTL, World, pass, secs};

#[tokio::test(start_paused = true)]
async fn a_writer_becomes_a_reader_with_nobody_in_between() {
    let world = World::new();
    let writer = world.lock().acquire().await.unwrap();
    let (id, token) = (writer.id().clone(), writer.token());
    let waiting = tokio::spawn(world.other().wait(secs(600)).acquire());
    pass(secs(1)).await;
    let reader = writer.downgrade().await.unwrap();
    assert_eq!(reader.mode(), Mode::Shared);
    assert!(reader.token() > token);
    assert_ne!(*reader.id(), id);
    pass(3 * TTL).await;
    assert!(reader.is_held(), "it goes on to renew itself");
    assert!(!waiting.is_finished());
    reader.release().await.unwrap();
    drop(waiting.await.unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_waited_in_the_queue_becomes_a_reader() {
    let world = World::new();
    let reader = world.theirs.shared("k").acquire().await.unwrap();
    let waiting = tokio::spawn(world.lock().wait(secs(60)).acquire());
    pass(secs(1)).await;
    let record = world.theirs.inspect("k").await.unwrap().unwrap();
    assert_eq!(record.queue.len(), 1, "it waits in the queue");
    reader.release().await.unwrap();
    let writer = waiting.await.unwrap().unwrap();
    let reader = writer.downgrade().await.unwrap();
    assert_eq!(reader.mode(), Mode::Shared);
}

#[tokio::test(start_paused = true)]
async fn two_upgraders_do_not_wait_for_each_other() {
    let world = World::new();
    let ours = world.ours.shared("k").ttl(TTL).acquire().await.unwrap();
    let theirs = world.theirs.shared("k").ttl(TTL).acquire().await.unwrap();
    let lost = ours.lost();
    let Upgrade::Held(ours) = ours.try_upgrade().await.unwrap() else {
        panic!("two share it");
    };
    pass(3 * TTL).await;
    assert!(ours.is_held(), "it goes on to renew itself");
    theirs.release().await.unwrap();
    let Upgrade::Exclusive(writer) = ours.try_upgrade().await.unwrap() else {
        panic!("it is alone");
    };
    assert_eq!(writer.mode(), Mode::Exclusive);
    assert!(world.other().try_acquire().await.unwrap().is_none());
    pass(3 * TTL).await;
    assert!(writer.is_held());
    assert!(
        tokio::time::timeout(secs(1), lost).await.is_err(),
        "the lease that was replaced is not lost"
    );
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_with_a_lost_answer_is_an_upgrade() {
    let world = World::new();
    let reader = world.ours.shared("k").ttl(TTL).acquire().await.unwrap();
    world.faults.once(Acquire, Fault::ReplyLost);
    // The request's timeout is as long as the whole try: nobody knows, so everything is given back.
    let error = reader.try_upgrade().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    pass(Duration::from_millis(1)).await;
    assert!(world.other().try_acquire().await.unwrap().is_some());
}

/// The mode may be known at run time only, and is the same.
#[tokio::test(start_paused = true)]
async fn a_lease_whose_mode_was_erased_is_known_again() {
    let world = World::new();
    let writer = world.lock().acquire().await.unwrap().erase();
    let Err(writer) = Lease::<Shared>::try_from(writer) else {
        panic!("it is exclusive");
    };
    let writer = Lease::<Exclusive>::try_from(writer).unwrap();
    let reader = writer.downgrade().await.unwrap();
    let mode = Mode::Permit { limit: 2 };
    let permit = world.ours.lock_as("s", mode).acquire().await.unwrap();
    assert_eq!((reader.mode(), permit.mode()), (Mode::Shared, mode));
    assert!(permit.is_held(), "what is erased is not dropped");
    assert!(Lease::<Permit>::try_from(permit).is_ok());
}

/// The turn of an explicit owner moves to the new lease, and back if there is none.
#[tokio::test(start_paused = true)]
async fn a_changed_lease_keeps_its_owners_turn() {
    let world = World::new();
    let shared = || world.ours.shared("k").owner("o");
    let writer = world.ours.lock("k").owner("o").acquire().await.unwrap();
    let reader = writer.downgrade().await.unwrap();
    assert!(shared().try_acquire().await.unwrap().is_none());
    let beside = world.theirs.shared("k").acquire().await.unwrap();
    let Upgrade::Held(reader) = reader.try_upgrade().await.unwrap() else {
        panic!("two share it");
    };
    assert!(shared().try_acquire().await.unwrap().is_none());
    reader.release().await.unwrap();
    assert!(shared().try_acquire().await.unwrap().is_some());
    drop(beside);
}

#[tokio::test(start_paused = true)]
async fn the_newest_limit_rules() {
    let world = World::new();
    let permit = |limit| world.ours.semaphore("k", limit).try_acquire();
    let first = permit(1).await.unwrap().unwrap();
    assert!(permit(1).await.unwrap().is_none());
    let second = permit(2).await.unwrap().expect("the limit was raised");
    assert!(permit(1).await.unwrap().is_none(), "lowered, and busy");
    first.release().await.unwrap();
    assert!(permit(1).await.unwrap().is_none(), "still one");
    second.release().await.unwrap();
    assert!(permit(1).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_left_to_expire_stays_for_its_ttl_without_a_request() {
    let world = World::new();
    let permit = || world.ours.semaphore("k", 1).ttl(secs(10));
    let lease = permit().acquire().await.unwrap();
    let requests = world.faults.requests();
    lease.let_expire();
    pass(secs(9)).await;
    assert_eq!(world.faults.requests(), requests, "no renewal, no release");
    assert!(permit().try_acquire().await.unwrap().is_none());
    pass(secs(1)).await;
    assert!(permit().try_acquire().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_minimum_hold_keeps_everybody_out_until_it_is_over() {
    let world = World::new();
    let job = || world.lock().min_hold(secs(60)).owner("o");
    job().run(async |_| pass(secs(1)).await).await.unwrap();
    pass(secs(58)).await;
    assert!(
        job().try_acquire().await.unwrap().is_none(),
        "its owner too"
    );
    let error = job().wait(Duration::ZERO).acquire().await.unwrap_err();
    assert!(error.to_string().contains("minimum hold"), "{error}");
    pass(secs(1)).await;
    assert!(world.other().try_acquire().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_job_that_outlasts_its_minimum_hold_leaves_nothing() {
    let world = World::new();
    let lease = world.lock().min_hold(secs(60)).acquire().await.unwrap();
    pass(secs(61)).await;
    lease.release().await.unwrap();
    assert!(world.other().try_acquire().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_crash_does_not_cut_a_minimum_hold_short() {
    let world = World::new();
    world.faults.always(Renew, Fault::Hang);
    world.faults.always(Release, Fault::Hang);
    let lease = world.lock().min_hold(secs(300)).acquire().await.unwrap();
    std::mem::forget(lease);
    pass(secs(299)).await;
    assert!(world.other().try_acquire().await.unwrap().is_none());
    pass(secs(1)).await;
    assert!(world.other().try_acquire().await.unwrap().is_some());
}

type Outcome = Run<u8, &'static str>;

#[tokio::test(start_paused = true)]
async fn a_slot_runs_once_whatever_becomes_of_it() {
    let world = World::new();
    let hourly = || world.lock().once_per(secs(3600));
    let failed: Outcome = hourly().try_run(async |_| Err("no")).await.unwrap();
    assert_eq!(failed, Run::Failed("no"));
    let skipped: Outcome = hourly().run(async |_| Ok(1)).await.unwrap();
    assert_eq!(skipped, Run::Skipped);
    pass(secs(3600)).await;
    let mut slot = None;
    let next: Outcome = hourly()
        .try_run(async |lease| {
            slot = lease.slot();
            Ok(2)
        })
        .await
        .unwrap();
    assert_eq!(next, Run::Succeeded(2));
    let since = slot.unwrap().duration_since(SystemTime::UNIX_EPOCH);
    assert_eq!(since.unwrap().as_millis() % 3_600_000, 0);
}

#[tokio::test(start_paused = true)]
async fn a_slot_is_repeated_until_it_succeeds_if_so_wanted() {
    let world = World::new();
    let hourly = || world.lock().once_per(secs(3600)).at_least_once();
    let failed: Outcome = hourly().try_run(async |_| Err("no")).await.unwrap();
    assert_eq!(failed, Run::Failed("no"));
    let busy = tokio::spawn(hourly().try_run(async |_| {
        pass(secs(100)).await;
        Ok::<u8, &str>(1)
    }));
    pass(secs(1)).await;
    let second: Outcome = hourly().try_run(async |_| Ok(2)).await.unwrap();
    assert_eq!(second, Run::Busy);
    assert_eq!(busy.await.unwrap().unwrap(), Run::Succeeded(1));
    let third: Outcome = hourly().try_run(async |_| Ok(3)).await.unwrap();
    assert_eq!(third, Run::Skipped);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_dropped_did_not_succeed() {
    let world = World::new();
    let hourly = || world.lock().once_per(secs(3600)).at_least_once();
    let dropped = hourly().try_run(async |_| {
        pass(secs(100)).await;
        Ok::<u8, &str>(1)
    });
    assert!(tokio::time::timeout(secs(1), dropped).await.is_err());
    pass(secs(1)).await;
    let again: Outcome = hourly().try_run(async |_| Ok(2)).await.unwrap();
    assert_eq!(again, Run::Succeeded(2));
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_to_come_is_waited_for() {
    let world = World::new();
    let now = SystemTime::now();
    let run = |ahead| world.lock().wait(secs(60)).once_per_slot(now + secs(ahead));
    let early: Outcome = run(600).run(async |_| Ok(1)).await.unwrap();
    assert_eq!(early, Run::Busy, "longer than it waits");
    let start = tokio::time::Instant::now();
    let waited: Outcome = run(30).run(async |_| Ok(1)).await.unwrap();
    assert_eq!(waited, Run::Succeeded(1));
    assert!(start.elapsed() >= secs(29), "{:?}", start.elapsed());
    let older: Outcome = run(29).run(async |_| Ok(1)).await.unwrap();
    assert_eq!(older, Run::Skipped, "a later one has begun");
}

#[tokio::test(start_paused = true)]
async fn a_set_takes_all_its_keys_at_once_and_gives_all_back() {
    let world = World::new();
    let set = world.ours.all(["b", "a", "b"]).ttl(TTL);
    let set = set.acquire().await.unwrap();
    assert_eq!(world.faults.requests(), 2, "each key once");
    let keys: Vec<_> = set
        .leases()
        .iter()
        .map(|lease| lease.key().as_str())
        .collect();
    assert_eq!(keys, ["a", "b"]);
    assert_eq!(set.leases()[0].owner(), set.leases()[1].owner());
    assert!(set.token("a").is_some() && set.token("c").is_none());
    pass(3 * TTL).await;
    assert!(set.is_held());
    assert!(
        world
            .theirs
            .lock("a")
            .try_acquire()
            .await
            .unwrap()
            .is_none()
    );
    set.release().await.unwrap();
    for key in ["a", "b"] {
        assert!(
            world
                .theirs
                .lock(key)
                .try_acquire()
                .await
                .unwrap()
                .is_some()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_with_a_taken_key_holds_none_of_them() {
    let world = World::new();
    let b = world.theirs.lock("b").acquire().await.unwrap();
    let set = || world.ours.all(["a", "b", "c"]);
    assert!(set().try_acquire().await.unwrap().is_none());
    for key in ["a", "c"] {
        assert!(
            world
                .theirs
                .lock(key)
                .try_acquire()
                .await
                .unwrap()
                .is_some()
        );
    }
    for wait in [Duration::ZERO, secs(2)] {
        // However slow the answers are, what is told is who has it.
        world.faults.always(Acquire, Fault::LateReply(secs(1)));
        let error = set().wait(wait).acquire().await.unwrap_err();
        world.faults.heal();
        assert_eq!(error.kind(), ErrorKind::WaitTimeout, "{error}");
        assert!(error.to_string().contains("`b`"), "{error}");
    }
    pass(Duration::from_millis(1)).await;
    assert!(
        world
            .theirs
            .lock("a")
            .try_acquire()
            .await
            .unwrap()
            .is_some()
    );

    let waiting = tokio::spawn(set().wait(secs(60)).acquire());
    pass(secs(2)).await;
    assert!(
        world
            .theirs
            .lock("a")
            .try_acquire()
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        world
            .theirs
            .lock("c")
            .try_acquire()
            .await
            .unwrap()
            .is_some(),
        "in their order: not before the one that is waited for"
    );
    b.release().await.unwrap();
    let set = waiting.await.unwrap().unwrap();
    assert!(set.is_held());
}

#[tokio::test(start_paused = true)]
async fn a_set_is_lost_with_its_first_key() {
    let world = World::new();
    let set = world.ours.all(["a", "b"]).ttl(TTL).acquire().await.unwrap();
    let lost = set.lost();
    world.theirs.force_release("b").await.unwrap();
    let why = lost.await;
    assert_eq!(why.kind(), ErrorKind::LeaseLost);
    assert!(why.to_string().contains("`b`"), "{why}");
    assert!(!set.is_held());
    assert!(set.release().await.is_err());
    assert!(
        world
            .theirs
            .lock("a")
            .try_acquire()
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test(start_paused = true)]
async fn a_set_that_fails_in_the_middle_gives_back_what_it_got() {
    let world = World::new();
    let refused = Fault::Refused(ErrorKind::PermissionDenied);
    world.faults.once(Acquire, refused);
    let error = world.ours.all(["a", "b", "c"]).acquire().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    for key in ["a", "b", "c"] {
        assert!(
            world
                .theirs
                .lock(key)
                .try_acquire()
                .await
                .unwrap()
                .is_some()
        );
    }
}
