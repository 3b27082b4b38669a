use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doclock::{Clock, ErrorKind, LockClient, MemoryBackend, Moment, SystemClock, Timestamp};
use tokio::time::Instant;

use crate::faulty::{Acquire, Fault, Renew};
use crate::{LOST_AFTER, TTL, World, pass, secs};

#[tokio::test(start_paused = true)]
async fn a_lease_renews_itself() {
    let world = World::new();
    let lease = world.lock().acquire().await.unwrap();
    pass(TTL * 20).await;
    assert!(lease.is_held());
    assert!(world.other().try_acquire().await.unwrap().is_none());
    let renewals = world.faults.sent(Renew);
    assert!(
        (59..=61).contains(&renewals),
        "at each third of the ttl: {renewals}"
    );
}

/// A renewal lets nobody in.
#[tokio::test(start_paused = true)]
async fn tasks_of_one_owner_wait_for_each_other_over_renewals() {
    let world = World::new();
    let first = world.lock().owner("o").acquire().await.unwrap();
    let second = world.lock().owner("o").wait(Duration::MAX).acquire();
    let second = tokio::spawn(second);
    pass(3 * TTL).await;
    assert!(first.is_held() && !second.is_finished());
    first.release().await.unwrap();
    assert!(second.await.unwrap().unwrap().is_held());
}

/// A clock that stands still.
#[derive(Debug)]
struct Stopped(Moment);

impl Clock for Stopped {
    fn now(&self) -> Moment {
        self.0
    }
}

#[tokio::test]
async fn a_lease_shows_what_it_is_and_no_payload() {
    let clock = Arc::new(Stopped(SystemClock.now()));
    let client = LockClient::builder(MemoryBackend::new()).clock(clock);
    let lock = client.build().lock("k").ttl(TTL).owner("o").data(&"secret");
    let lease = lock.acquire().await.unwrap();
    let shown = format!("{lease:?}");
    for part in ["Lease", "\"k\"", "\"o\"", "Exclusive", "remaining: 27s"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    assert!(shown.contains(&lease.token().to_string()) && !shown.contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_leases_renew_themselves() {
    let world = World::new();
    let mut leases = Vec::new();
    for n in 0..1000 {
        leases.push(
            world
                .ours
                .lock(format!("k{n}"))
                .ttl(TTL)
                .acquire()
                .await
                .unwrap(),
        );
    }
    pass(TTL * 5).await;
    assert!(leases.iter().all(doclock::Lease::is_held));
    let renewals = world.faults.sent(Renew);
    assert!((14_000..=15_000).contains(&renewals), "{renewals}");
}

#[tokio::test(start_paused = true)]
async fn without_renewal_a_lease_is_lost_at_its_deadline() {
    let world = World::new();
    let lease = world.lock().manual_renewal().acquire().await.unwrap();
    let start = Instant::now();
    let error = lease.lost().await;
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    let elapsed = start.elapsed();
    assert!(
        elapsed <= LOST_AFTER && elapsed > LOST_AFTER - secs(1),
        "{elapsed:?}"
    );
    assert!(!lease.is_held() && lease.remaining().is_zero());
    assert_eq!(world.faults.sent(Renew), 0);
}

#[tokio::test(start_paused = true)]
async fn a_manual_renewal_counts_from_its_send() {
    let world = World::new();
    let lease = world.lock().manual_renewal().acquire().await.unwrap();
    pass(secs(20)).await;
    world.faults.once(Renew, Fault::LateReply(secs(3)));
    lease.renew().await.unwrap();
    let left = lease.remaining();
    assert!(
        left <= LOST_AFTER - secs(3) && left > LOST_AFTER - secs(4),
        "{left:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_signal_fires_in_time_while_a_renewal_hangs() {
    let world = World::new();
    let lease = world.lock().acquire().await.unwrap();
    world.faults.always(Renew, Fault::Hang);
    let start = Instant::now();
    lease.lost().await;
    assert!(start.elapsed() <= LOST_AFTER);
    assert!(world.faults.sent(Renew) >= 1);
}

#[tokio::test(start_paused = true)]
async fn failed_renewals_are_tried_again_until_the_deadline() {
    let world = World::new();
    let lease = world.lock().acquire().await.unwrap();
    world
        .faults
        .always(Renew, Fault::Refused(ErrorKind::PermissionDenied));
    pass(secs(25)).await;
    let failed = world.faults.sent(Renew);
    assert!(failed > 5, "{failed}");
    assert!(lease.is_held());
    world.faults.heal();
    pass(TTL).await;
    assert!(lease.is_held(), "it recovered");

    world.faults.always(Renew, Fault::RequestLost);
    pass(TTL).await;
    assert!(!lease.is_held());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_whose_answer_is_lost_counts_nonetheless() {
    let world = World::new();
    let lease = world.lock().manual_renewal().acquire().await.unwrap();
    pass(secs(20)).await;
    world.faults.once(Renew, Fault::ReplyLost);
    assert_eq!(
        lease.renew().await.unwrap_err().kind(),
        ErrorKind::OutcomeUnknown
    );
    lease.renew().await.unwrap();
    assert!(lease.remaining() > secs(26));
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_never_comes_back() {
    let world = World::new();
    let lease = world.lock().manual_renewal().acquire().await.unwrap();
    pass(LOST_AFTER - secs(1)).await;
    // The record is still there, and so the renewal succeeds, but its answer comes after the deadline.
    world.faults.once(Renew, Fault::LateReply(secs(2)));
    let renewing = tokio::spawn({
        let lease = Arc::new(lease);
        let ours = Arc::clone(&lease);
        async move { (ours.renew().await, lease) }
    });
    let (renewed, lease) = renewing.await.unwrap();
    assert_eq!(renewed.unwrap_err().kind(), ErrorKind::LeaseLost);
    assert!(!lease.is_held());
    assert_eq!(
        lease.renew().await.unwrap_err().kind(),
        ErrorKind::LeaseLost
    );
}

#[tokio::test(start_paused = true)]
async fn an_evicted_lease_is_lost_at_its_next_renewal() {
    let world = World::new();
    let lease = world.lock().acquire().await.unwrap();
    let ended = world.theirs.force_release("k").await.unwrap();
    assert_eq!(ended[0].owner(), Some(lease.owner()));
    let next = world.other().try_acquire().await.unwrap().unwrap();
    let error = lease.lost().await;
    assert!(
        error.to_string().contains("gone from the database"),
        "{error}"
    );
    assert_eq!(
        lease.renew().await.unwrap_err().kind(),
        ErrorKind::LeaseLost
    );
    assert_eq!(
        lease.release().await.unwrap_err().kind(),
        ErrorKind::LeaseLost
    );
    assert!(next.renew().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_maximum_hold_ends_a_job_that_hangs() {
    let world = World::new();
    let lease = world.lock().max_hold(secs(100)).acquire().await.unwrap();
    let start = Instant::now();
    lease.lost().await;
    assert!(start.elapsed() <= secs(100) && start.elapsed() > secs(98));
    pass(secs(1)).await;
    assert!(
        world.other().try_acquire().await.unwrap().is_some(),
        "it was released"
    );
}

#[tokio::test(start_paused = true)]
async fn a_maximum_hold_counts_from_the_grant() {
    let world = World::new();
    let held = world.other().acquire().await.unwrap();
    let waiting = tokio::spawn(world.lock().wait(secs(500)).max_hold(secs(100)).acquire());
    pass(secs(90)).await;
    held.release().await.unwrap();
    let lease = waiting.await.unwrap().unwrap();
    pass(secs(95)).await;
    assert!(lease.is_held());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_lease_and_the_record_with_it() {
    let world = World::new();
    let deadline = std::time::SystemTime::now() + secs(100);
    let lease = world.lock().deadline(deadline).acquire().await.unwrap();
    pass(secs(90)).await;
    assert!(lease.is_held());
    // As if the function was killed: nobody releases.
    world.faults.always(crate::faulty::Release, Fault::Hang);
    pass(secs(9)).await;
    assert!(!lease.is_held() || lease.remaining() <= secs(1));
    pass(secs(2)).await;
    assert!(!lease.is_held());
    assert!(world.other().try_acquire().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_near_deadline_shortens_the_ttl() {
    let world = World::new();
    let deadline = std::time::SystemTime::now() + secs(3);
    let _lease = world.lock().deadline(deadline).acquire().await.unwrap();
    let record = world.ours.inspect("k").await.unwrap().unwrap();
    assert!(record.holders[0].ttl.as_duration() <= secs(3));

    let error = world
        .lock()
        .deadline(std::time::SystemTime::now())
        .try_acquire()
        .await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(world.faults.sent(Acquire), 1);
}

/// Clocks that a test can step and freeze.
#[derive(Debug, Default)]
struct Bent {
    wall_ahead: AtomicI64,
    frozen_for: Mutex<Duration>,
}

impl Clock for Bent {
    fn now(&self) -> Moment {
        let now = SystemClock.now();
        let wall = Timestamp::from_millis(
            i64::try_from(now.monotonic.as_millis()).unwrap() + self.wall_ahead.load(SeqCst),
        );
        Moment {
            monotonic: now
                .monotonic
                .saturating_sub(*self.frozen_for.lock().unwrap()),
            wall,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_thawed_process_knows_that_its_lease_is_over() {
    let clock = Arc::new(Bent::default());
    let memory = MemoryBackend::new();
    let client = LockClient::builder(memory).clock(clock.clone()).build();
    let lease = client.lock("k").ttl(TTL).acquire().await.unwrap();
    // Frozen for a minute: the monotonic clock stood still, the wall clock did not.
    clock.wall_ahead.store(60_000, SeqCst);
    assert!(!lease.is_held(), "at once, by the look of it");
    assert_eq!(
        lease.renew().await.unwrap_err().kind(),
        ErrorKind::LeaseLost
    );
}

#[tokio::test(start_paused = true)]
async fn a_thaw_fires_the_signal_within_a_second() {
    let clock = Arc::new(Bent::default());
    let client = LockClient::builder(MemoryBackend::new())
        .clock(clock.clone())
        .build();
    let lease = client
        .lock("k")
        .ttl(TTL)
        .manual_renewal()
        .acquire()
        .await
        .unwrap();
    let lost = tokio::spawn(lease.lost());
    pass(secs(1)).await;
    clock.wall_ahead.store(60_000, SeqCst);
    let start = Instant::now();
    lost.await.unwrap();
    assert!(start.elapsed() <= secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_steps_back_prolongs_nothing() {
    let clock = Arc::new(Bent::default());
    let client = LockClient::builder(MemoryBackend::new())
        .clock(clock.clone())
        .build();
    let lease = client
        .lock("k")
        .ttl(TTL)
        .manual_renewal()
        .acquire()
        .await
        .unwrap();
    clock.wall_ahead.store(-3_600_000, SeqCst);
    pass(LOST_AFTER).await;
    assert!(!lease.is_held());
}

#[tokio::test(start_paused = true)]
async fn label_and_data_are_there_for_others_to_read() {
    let world = World::new();
    let lock = world.lock().label("reindex").data(&("host-7", 4711));
    let lease = lock.acquire().await.unwrap();
    let record = world.theirs.inspect("k").await.unwrap().unwrap();
    let holder = &record.holders[0];
    assert_eq!(holder.owner(), Some(lease.owner()));
    assert_eq!(holder.label.as_ref().unwrap().as_str(), "reindex");
    let data: (String, u16) = holder.data.as_ref().unwrap().parse().unwrap();
    assert_eq!(data, ("host-7".to_owned(), 4711));
}
