use std::time::Duration;

use doclock::{ErrorKind, LockClient, MemoryBackend};
use tokio::time::Instant;

use crate::faulty::{Acquire, Fault, Release, Renew};
use crate::{LOST_AFTER, TTL, World, pass, secs};

#[tokio::test(start_paused = true)]
async fn one_request_to_acquire_one_to_release_none_else() {
    let world = World::new();
    assert_eq!(world.faults.requests(), 0, "making a client sends nothing");
    let lease = world.lock().acquire().await.unwrap();
    assert_eq!(world.faults.requests(), 1);
    lease.release().await.unwrap();
    assert_eq!(world.faults.requests(), 2);
    world.ours.shutdown().await;
    assert_eq!(
        world.faults.requests(),
        2,
        "a released lease costs nothing more"
    );
}

#[tokio::test(start_paused = true)]
async fn a_held_lock_is_none_to_try_and_a_timeout_to_wait() {
    let world = World::new();
    let held = world
        .other()
        .owner("them")
        .label("importing")
        .acquire()
        .await
        .unwrap();
    assert!(world.lock().try_acquire().await.unwrap().is_none());
    assert_eq!(world.faults.requests(), 1);

    let start = Instant::now();
    let error = world.lock().wait(secs(5)).acquire().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WaitTimeout);
    assert!(start.elapsed() <= secs(5) + Duration::from_millis(1));
    for part in ["acquire `k`", "`them`", "importing"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(held.is_held());
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_zero_asks_once() {
    let world = World::new();
    let _held = world.other().acquire().await.unwrap();
    let error = world
        .lock()
        .wait(Duration::ZERO)
        .acquire()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WaitTimeout);
    assert_eq!(world.faults.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_is_granted_after_the_release_with_a_greater_token() {
    let world = World::new();
    let held = world.other().acquire().await.unwrap();
    let first = held.token();
    let waiting = tokio::spawn(world.lock().wait(secs(60)).acquire());
    pass(secs(20)).await;
    assert!(!waiting.is_finished());
    held.release().await.unwrap();
    let lease = waiting.await.unwrap().unwrap();
    assert!(lease.token() > first);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_is_granted_at_the_expiry_of_a_dead_holder() {
    let world = World::new();
    let dead = world.other().manual_renewal().acquire().await.unwrap();
    let start = Instant::now();
    let lease = world.lock().wait(secs(60)).acquire().await.unwrap();
    assert!(start.elapsed() >= TTL - Duration::from_millis(1));
    assert!(
        start.elapsed() <= TTL + Duration::from_millis(20),
        "{:?}",
        start.elapsed()
    );
    assert!(!dead.is_held());
    assert!(lease.is_held());
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_no_contention() {
    for fault in [Fault::RequestLost, Fault::ReplyLost] {
        let world = World::new();
        world.faults.once(Acquire, fault);
        let lease = world.lock().acquire().await.unwrap();
        let record = world.ours.inspect("k").await.unwrap().unwrap();
        assert_eq!(record.holders.len(), 1, "{fault:?}");
        assert_eq!(record.token, lease.token());

        world.faults.once(Release, fault);
        lease.release().await.unwrap();
        assert!(
            world.other().try_acquire().await.unwrap().is_some(),
            "{fault:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_counts_from_the_attempt_that_was_granted() {
    let world = World::new();
    // The request timeout: so much later the answer is asked for again.
    let lost = secs(5);
    world.faults.once(Acquire, Fault::ReplyLost);
    let lease = world.lock().manual_renewal().acquire().await.unwrap();
    assert!(lease.remaining() <= LOST_AFTER - lost);
    assert!(lease.remaining() > LOST_AFTER - lost - Duration::from_millis(20));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_when_little_is_left_is_renewed_first() {
    let world = World::new();
    let client = LockClient::builder(world.faults.clone())
        .request_timeout(secs(60))
        .build();
    world.faults.once(Acquire, Fault::LateReply(secs(20)));
    let lock = client.lock("k").ttl(TTL).wait(secs(90)).manual_renewal();
    let lease = lock.acquire().await.unwrap();
    assert_eq!(world.faults.sent(Renew), 1);
    assert!(lease.remaining() > secs(26));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_before_the_lease_is_handed_out_takes_no_longer_than_the_wait() {
    let world = World::new();
    let client = LockClient::builder(world.faults.clone())
        .request_timeout(secs(60))
        .build();
    world.faults.once(Acquire, Fault::LateReply(secs(20)));
    world.faults.once(Renew, Fault::Hang);
    let lock = client.lock("k").ttl(TTL).wait(secs(25)).manual_renewal();
    let in_time = tokio::time::timeout(secs(26), lock.acquire());
    let lease = in_time.await.expect("no later than its wait").unwrap();
    assert_eq!(lease.remaining(), secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_grant_whose_time_is_over_is_not_handed_out() {
    let world = World::new();
    let client = LockClient::builder(world.faults.clone())
        .request_timeout(secs(60))
        .build();
    world.faults.once(Acquire, Fault::LateReply(secs(40)));
    world
        .faults
        .once(Renew, Fault::Refused(ErrorKind::Unavailable));
    let lease = client
        .lock("k")
        .ttl(TTL)
        .wait(secs(90))
        .acquire()
        .await
        .unwrap();
    assert!(lease.remaining() > secs(26), "it is a fresh one");
    assert_eq!(world.faults.sent(Acquire), 2);
    let record = world.ours.inspect("k").await.unwrap().unwrap();
    assert_eq!(record.holders.len(), 1, "nothing is left of the spent one");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_acquisition_is_released_when_it_lands() {
    let world = World::new();
    world.faults.once(Acquire, Fault::Late(secs(2)));
    let acquiring = tokio::time::timeout(secs(1), world.lock().acquire());
    assert!(acquiring.await.is_err());
    assert_eq!(world.faults.sent(Release), 0, "a release would overtake it");
    pass(secs(2)).await;
    let record = world.ours.inspect("k").await.unwrap().unwrap();
    assert_ne!(record.token, 0, "it landed");
    assert!(record.holders.is_empty(), "and was released");
}

#[tokio::test(start_paused = true)]
async fn an_acquisition_dropped_at_any_time_leaves_nothing_behind() {
    // Each answer takes 10 ms; the future is dropped after each millisecond of what it does.
    for after in 0..40 {
        let world = World::new();
        let held = world.other().acquire().await.unwrap();
        world
            .faults
            .always(Acquire, Fault::LateReply(Duration::from_millis(10)));
        let acquiring = tokio::spawn(world.lock().acquire());
        pass(Duration::from_millis(5)).await;
        held.release().await.unwrap();
        pass(Duration::from_millis(after)).await;
        acquiring.abort();
        drop(acquiring.await);
        pass(Duration::from_millis(100)).await;
        let record = world.theirs.inspect("k").await.unwrap().unwrap();
        assert!(record.holders.is_empty(), "dropped after {after} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_database_that_hangs_ends_the_wait_in_time() {
    let world = World::new();
    world.faults.always(Acquire, Fault::Hang);
    let start = Instant::now();
    let error = world.lock().wait(secs(12)).acquire().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    assert!(start.elapsed() <= secs(12) + Duration::from_millis(2));
}

#[tokio::test(start_paused = true)]
async fn transient_errors_are_tried_again_and_others_are_not() {
    for (kind, attempts) in [
        (ErrorKind::Throttled, 2),
        (ErrorKind::Unavailable, 2),
        (ErrorKind::PermissionDenied, 1),
        (ErrorKind::CorruptRecord, 1),
        (ErrorKind::NotSetUp, 1),
    ] {
        let world = World::new();
        world.faults.once(Acquire, Fault::Refused(kind));
        let result = world.lock().try_acquire().await;
        assert_eq!(world.faults.sent(Acquire), attempts, "{kind:?}");
        match result {
            Ok(lease) => assert!(lease.is_some(), "{kind:?}"),
            Err(error) => {
                assert_eq!(error.kind(), kind);
                assert_eq!(error.operation(), Some("acquire"));
                assert_eq!(error.key().unwrap().as_str(), "k");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn throttling_for_ever_is_told_at_the_end_of_the_wait() {
    let world = World::new();
    world
        .faults
        .always(Acquire, Fault::Refused(ErrorKind::Throttled));
    let error = world.lock().wait(secs(3)).acquire().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled);
    assert!(world.faults.sent(Acquire) > 3);
}

#[tokio::test(start_paused = true)]
async fn an_owner_takes_its_own_lock_over_from_a_dead_predecessor() {
    let world = World::new();
    let zombie = world.other().owner("lambda-1").acquire().await.unwrap();
    let lease = world
        .lock()
        .owner("lambda-1")
        .try_acquire()
        .await
        .unwrap()
        .unwrap();
    assert!(lease.token() > zombie.token());
    zombie.lost().await;
    let error = zombie.release().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    assert!(
        lease.renew().await.is_ok(),
        "the zombie's release freed nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn tasks_of_one_client_with_one_owner_wait_for_each_other() {
    let world = World::new();
    let first = world.lock().owner("me").acquire().await.unwrap();
    assert!(
        world
            .lock()
            .owner("me")
            .try_acquire()
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(world.faults.requests(), 1, "the second asked nobody");
    let waiting = tokio::spawn(world.lock().owner("me").wait(secs(60)).acquire());
    pass(secs(1)).await;
    assert!(!waiting.is_finished() && first.is_held());
    first.release().await.unwrap();
    assert!(waiting.await.unwrap().unwrap().is_held());
}

#[test]
fn a_client_outlives_a_runtime() {
    let client = LockClient::new(MemoryBackend::new());
    for _ in 0..2 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let lease = client.lock("k").acquire().await.unwrap();
            lease.release().await.unwrap();
        });
    }
}

#[test]
fn without_a_runtime_there_is_an_error() {
    let client = LockClient::new(MemoryBackend::new());
    let outcome = futures_util::FutureExt::now_or_never(client.lock("k").try_acquire());
    let error = outcome.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_the_wait_cut_short_hides_nothing() {
    let world = World::new();
    let _held = world.other().acquire().await.unwrap();
    let waiting = tokio::spawn(world.lock().wait(secs(4)).acquire());
    pass(secs(1)).await;
    world.faults.always(Acquire, Fault::Hang);
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WaitTimeout, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_nobody_heard_of_is_given_back() {
    let world = World::new();
    world.faults.once(Acquire, Fault::ReplyLost);
    world
        .faults
        .always(Acquire, Fault::Refused(ErrorKind::Throttled));
    let error = world.lock().wait(secs(8)).acquire().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled);
    pass(secs(1)).await;
    assert!(world.other().try_acquire().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_acquisition_gives_back_what_nobody_heard_of() {
    let world = World::new();
    world.faults.once(Acquire, Fault::ReplyLost);
    world
        .faults
        .always(Acquire, Fault::Refused(ErrorKind::Throttled));
    let acquiring = tokio::time::timeout(secs(6), world.lock().acquire());
    assert!(acquiring.await.is_err());
    pass(secs(1)).await;
    assert!(world.other().try_acquire().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn what_a_short_wait_abandons_is_given_back_with_patience() {
    let world = World::new();
    let wait = Duration::from_millis(50);
    world.faults.once(Acquire, Fault::Late(wait * 2));
    world
        .faults
        .always(Release, Fault::Refused(ErrorKind::Throttled));
    let error = world.lock().wait(wait).acquire().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    pass(secs(1)).await;
    world.faults.heal();
    pass(secs(2)).await;
    assert!(world.other().try_acquire().await.unwrap().is_some());
}
