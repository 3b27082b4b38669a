//! What happens while an answer is on its way, or after it came too late.

use std::time::{Duration, SystemTime};

use doclock::{ErrorKind, Lease, Upgrade};

use crate::faulty::{Acquire, Fault, Release, Renew};
use crate::{LOST_AFTER, TTL, World, pass, secs};

const MOMENT: Duration = Duration::from_millis(1);

impl World {
    async fn is_free(&self) -> bool {
        let lease = self.other().try_acquire().await.unwrap();
        if let Some(lease) = lease {
            lease.release().await.unwrap();
            return true;
        }
        false
    }
}

/// Somebody was in between: what was read under the one lease must not be written under the other.
#[tokio::test(start_paused = true)]
async fn a_lease_that_is_gone_is_not_changed() {
    for forced in [false, true] {
        let world = World::new();
        let writer = world.lock().manual_renewal().acquire().await.unwrap();
        let reader = world.ours.shared("r").ttl(TTL).acquire().await.unwrap();
        if forced {
            world.theirs.force_release("k").await.unwrap();
            world.theirs.force_release("r").await.unwrap();
        } else {
            pass(LOST_AFTER).await;
        }
        let (writer, reader) = (writer.downgrade().await, reader.try_upgrade().await);
        assert_eq!(writer.unwrap_err().kind(), ErrorKind::LeaseLost);
        match reader {
            Err(error) => assert_eq!((error.kind(), forced), (ErrorKind::LeaseLost, true)),
            Ok(upgrade) => assert!(matches!(upgrade, Upgrade::Exclusive(_)) && !forced),
        }
        pass(TTL / 10).await;
        assert!(world.is_free().await);
    }
}

/// The restarted process with the same owner holds by now.
#[tokio::test(start_paused = true)]
async fn a_zombie_does_not_throw_its_successor_out() {
    let world = World::new();
    let zombie = world.ours.shared("k").owner("o").acquire().await.unwrap();
    let successor = world.theirs.shared("k").owner("o").acquire().await;
    let successor = successor.unwrap();
    let error = zombie.try_upgrade().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error}");
    pass(3 * TTL).await;
    assert!(successor.is_held());
}

#[tokio::test(start_paused = true)]
async fn a_slow_process_does_not_throw_its_successor_out() {
    let world = World::new();
    world.faults.once(Acquire, Fault::LateReply(secs(20)));
    let waiting = tokio::spawn(world.lock().owner("o").wait(secs(60)).acquire());
    pass(secs(5)).await;
    let successor = world.other().owner("o").acquire().await.unwrap();
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error}");
    pass(3 * TTL).await;
    assert!(successor.is_held());
}

/// What was given up is still on its way, and would take over what its owner was granted since.
#[tokio::test(start_paused = true)]
async fn what_was_given_up_does_not_take_over_what_came_after_it() {
    let world = World::new();
    world.faults.once(Acquire, Fault::Late(secs(4)));
    let mine = |wait| world.lock().owner("o").wait(secs(wait)).acquire();
    assert_eq!(mine(1).await.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    let lease = mine(10).await.unwrap();
    pass(secs(5)).await;
    lease.renew().await.unwrap();
    assert!(!world.is_free().await);
}

#[tokio::test(start_paused = true)]
async fn who_guards_its_work_by_a_lease_learns_that_its_change_failed() {
    let world = World::new();
    let reader = world.ours.shared("k").ttl(TTL).acquire().await.unwrap();
    let lost = reader.lost();
    world.faults.once(Acquire, Fault::RequestLost);
    let error = reader.try_upgrade().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    let why = lost.await;
    assert!(why.to_string().contains("given back"), "{why}");
    pass(MOMENT).await;
    assert!(world.is_free().await);
}

/// Whatever was granted to whoever waits is released before the shutdown is over.
#[tokio::test(start_paused = true)]
async fn shutdown_leaves_nothing_behind() {
    let fault = Fault::LateReply(secs(2));
    let lock = |world: &World| world.lock().wait(secs(60));
    let world = World::new();
    world.faults.once(Acquire, fault);
    let waiting = tokio::spawn(lock(&world).acquire());
    pass(secs(1)).await;
    world.ours.shutdown().await;
    assert!(world.is_free().await, "an attempt under way");
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);

    let world = World::new();
    world.faults.once(Acquire, Fault::ReplyLost);
    world
        .faults
        .always(Acquire, Fault::Refused(ErrorKind::Unavailable));
    let waiting = tokio::spawn(lock(&world).acquire());
    pass(secs(8)).await;
    world.ours.shutdown().await;
    assert!(world.is_free().await, "one whose answer was lost");
    waiting.await.unwrap().unwrap_err();

    let world = World::new();
    let writer = world.lock().acquire().await.unwrap();
    world.faults.once(Acquire, fault);
    let changing = tokio::spawn(writer.downgrade());
    pass(secs(1)).await;
    world.ours.shutdown().await;
    assert!(world.is_free().await, "a lease that was being changed");
    assert!(changing.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_hangs_makes_no_other_late() {
    let world = World::new();
    let hangs = world.lock().acquire().await.unwrap();
    let lease = world.ours.lock("other").ttl(TTL).acquire().await.unwrap();
    // Both are due at a third.
    world.faults.once(Renew, Fault::Hang);
    pass(secs(11)).await;
    assert_eq!(world.faults.sent(Renew), 2);
    let mut left = [hangs.remaining(), lease.remaining()];
    left.sort();
    assert!(left[0] < secs(17) && left[1] > secs(25), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_lost_leaves_time_for_another() {
    let world = World::new();
    let lease = world.lock().ttl(secs(2)).acquire().await.unwrap();
    world.faults.once(Renew, Fault::RequestLost);
    pass(secs(10)).await;
    assert!(lease.is_held());
}

#[tokio::test(start_paused = true)]
async fn everybody_who_waits_for_a_renewal_learns_of_its_failure() {
    let world = World::new();
    let lease = world.lock().acquire().await.unwrap();
    world.faults.once(Renew, Fault::RequestLost);
    let (one, two) = tokio::join!(lease.renew(), lease.renew());
    for renewed in [one, two] {
        assert_eq!(renewed.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    }
    assert_eq!(world.faults.sent(Renew), 1);
}

/// Held until then by its record, whatever became of the lease.
#[tokio::test(start_paused = true)]
async fn a_minimum_hold_outlasts_what_goes_wrong() {
    type End = fn(&World, Lease) -> std::pin::Pin<Box<dyn Future<Output = ()> + '_>>;
    let lost: End = |_, lease| {
        Box::pin(async move {
            pass(LOST_AFTER + secs(1)).await;
            assert!(!lease.is_held());
        })
    };
    let changed: End = |world, lease| {
        Box::pin(async move {
            world.faults.once(Acquire, Fault::RequestLost);
            lease.downgrade().await.unwrap_err();
        })
    };
    let dropped: End = |world, lease| {
        Box::pin(async move {
            world.faults.once(Acquire, Fault::RequestLost);
            let change = tokio::time::timeout(secs(1), lease.downgrade());
            assert!(change.await.is_err());
        })
    };
    for end in [lost, changed, dropped] {
        let world = World::new();
        let start = tokio::time::Instant::now();
        let lock = world.lock().min_hold(TTL).manual_renewal();
        let lease = lock.acquire().await.unwrap();
        end(&world, lease).await;
        tokio::time::sleep_until(start + TTL - secs(1)).await;
        assert!(!world.is_free().await);
        pass(secs(2)).await;
        assert!(world.is_free().await);
    }
}

/// The answer to a renewal and the end of the lease come at the same time: whichever is seen first, it is released.
#[tokio::test(start_paused = true)]
async fn a_maximum_hold_releases_whatever_is_under_way() {
    for _ in 0..20 {
        let world = World::new();
        let lock = world.lock().ttl(secs(120)).max_hold(secs(60));
        let lease = lock.acquire().await.unwrap();
        // Just before the client's task looks at its clocks.
        let reply = Fault::LateReply(Duration::from_millis(1500));
        world.faults.once(Renew, reply);
        pass(Duration::from_millis(41_200)).await;
        assert_eq!(world.faults.sent(Renew), 1);
        tokio::time::advance(secs(30)).await;
        lease.lost().await;
        pass(MOMENT).await;
        assert_eq!(world.faults.sent(Release), 1);
        assert!(world.is_free().await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_a_deadline_ends_says_who_holds() {
    let world = World::new();
    let held = world.other().acquire().await.unwrap();
    let deadline = SystemTime::now() + secs(10);
    let lock = world.lock().deadline(deadline).wait(secs(60));
    let error = lock.fair().acquire().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WaitTimeout, "{error}");
    assert!(held.is_held());
}

#[tokio::test(start_paused = true)]
async fn a_set_rides_out_a_failure() {
    let world = World::new();
    let fault = Fault::Refused(ErrorKind::Unavailable);
    world.faults.always(Acquire, fault);
    let set = world.ours.all(["a", "b"]).wait(secs(60));
    let waiting = tokio::spawn(set.acquire());
    pass(secs(10)).await;
    world.faults.heal();
    assert!(waiting.await.unwrap().unwrap().is_held());
}

#[tokio::test(start_paused = true)]
async fn a_set_waits_no_longer_than_it_was_told() {
    let world = World::new();
    world.faults.once(Acquire, Fault::Hang);
    let start = tokio::time::Instant::now();
    let set = world.ours.all(["a", "b"]).wait(secs(1));
    let error = set.acquire().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    assert_eq!(start.elapsed().as_secs(), 1);
    pass(MOMENT).await;
    let b = world.theirs.lock("b").try_acquire().await.unwrap();
    assert!(b.is_some(), "given back");
}

#[tokio::test(start_paused = true)]
async fn a_set_is_looked_at_before_it_is_handed_out() {
    let world = World::new();
    world.faults.once(Acquire, Fault::LateReply(secs(2)));
    let set = world.ours.all(["a", "b"]).max_hold(secs(1));
    let error = set.acquire().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error}");
}
