use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use doclock::{ErrorKind, EventKind, LockClient, Loss, Upgrade, WhyNot};

use super::capture::Capture;
use super::{LOST_AFTER, TTL, Told, World, everything, pass, secs, took, world};
use crate::faulty::{Acquire, Fault, Release, Renew};

fn plain() -> (World, Told) {
    world(|builder| builder)
}

#[tokio::test(start_paused = true)]
async fn a_free_lock_tells_its_grant_and_its_end() {
    let (world, told) = plain();
    let lease = world.lock().acquire().await.unwrap();
    let (owner, granted) = (lease.owner().clone(), lease.token());
    pass(secs(5)).await;
    lease.release().await.unwrap();
    let events = told.events();
    let [acquired, released] = &events[..] else {
        panic!("{events:?}");
    };
    for event in [acquired, released] {
        assert_eq!((event.key.as_str(), &event.owner), ("k", &owner));
        assert_eq!(event.mode, doclock::Mode::Exclusive);
    }
    assert_eq!(took(&acquired.kind), (Duration::ZERO, Duration::ZERO, 1, 0));
    match acquired.kind {
        EventKind::Acquired {
            token,
            ref took_over,
            ..
        } => assert_eq!((token, took_over), (granted, &None)),
        ref kind => panic!("{kind:?}"),
    }
    match released.kind {
        EventKind::Released { token, held, .. } => assert_eq!((token, held), (granted, secs(5))),
        ref kind => panic!("{kind:?}"),
    }
}

/// Half of a second after each request.
#[tokio::test(start_paused = true)]
async fn a_wait_is_told_apart_from_the_last_request() {
    let (world, told) = plain();
    let slow = Fault::LateReply(Duration::from_millis(500));
    let other = world.other().acquire().await.unwrap();
    world.faults.always(Acquire, slow);
    let waiting = tokio::spawn(world.lock().acquire());
    pass(secs(5)).await;
    other.release().await.unwrap();
    waiting.await.unwrap().unwrap().release().await.unwrap();
    let events = told.events();
    let (all, waited, attempts, refusals) = took(&events[0].kind);
    assert_eq!(all - waited, Duration::from_millis(500));
    assert!(waited > secs(4) && waited < secs(7), "{waited:?}");
    assert_eq!(attempts, refusals + 1);
    assert_eq!(world.faults.sent(Acquire), attempts as usize);
    assert!(refusals > 1, "{refusals}");
    match &events[0].kind {
        EventKind::Acquired { took_over, .. } => assert_eq!(*took_over, None, "it was released"),
        kind => panic!("{kind:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn whom_it_took_over_from_is_told() {
    let (world, told) = plain();
    let crashed = world.other().manual_renewal().acquire().await.unwrap();
    let lease = world.lock().wait(2 * TTL).acquire().await.unwrap();
    assert!(!crashed.is_held() && lease.is_held());
    match &told.events()[0].kind {
        EventKind::Acquired { took_over, .. } => {
            assert_eq!(took_over.as_ref(), Some(crashed.owner()));
        }
        kind => panic!("{kind:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_acquisition_that_fails_tells_why() {
    let (world, told) = plain();
    let other = world.other().acquire().await.unwrap();
    assert!(world.lock().try_acquire().await.unwrap().is_none());
    world.lock().wait(secs(3)).acquire().await.unwrap_err();
    let dropped = tokio::time::timeout(secs(2), world.lock().acquire()).await;
    assert!(dropped.is_err());
    other.release().await.unwrap();
    let denied = Fault::Refused(ErrorKind::PermissionDenied);
    world.faults.once(Acquire, denied);
    world.lock().acquire().await.unwrap_err();
    for _ in 0..2 {
        let once = world.ours.once("o").run(async |_| Ok::<_, String>(7));
        let _ = once.await.unwrap();
    }
    world.ours.shutdown().await;
    world.lock().acquire().await.unwrap_err();
    // Nothing is told of what can never be.
    world.ours.lock("").acquire().await.unwrap_err();

    let events = told.events();
    let ends = events.iter().filter_map(|event| match event.kind {
        EventKind::NotAcquired { why, .. } => Some((why, took(&event.kind).0)),
        _ => None,
    });
    let (zero, closed) = (Duration::ZERO, ErrorKind::Closed);
    let expected = [
        (WhyNot::Busy, zero),
        (WhyNot::TimedOut, secs(3)),
        (WhyNot::Cancelled, secs(2)),
        (WhyNot::Failed(ErrorKind::PermissionDenied), zero),
        (WhyNot::Skipped, zero),
        (WhyNot::Failed(closed), zero),
    ];
    assert_eq!(ends.collect::<Vec<_>>(), expected);
}

/// Behind a task of the same client, with and without an owner of its own: the database is not asked.
#[tokio::test(start_paused = true)]
async fn a_wait_behind_ones_own_tasks_is_one() {
    for owner in [None, Some("o")] {
        let (world, told) = plain();
        let lock = || match owner {
            Some(owner) => world.lock().owner(owner),
            None => world.lock(),
        };
        let first = lock().acquire().await.unwrap();
        lock().wait(secs(2)).acquire().await.unwrap_err();
        let second = tokio::spawn(lock().acquire());
        pass(secs(3)).await;
        first.release().await.unwrap();
        let second = second.await.unwrap().unwrap();
        let events = told.events();
        let efforts = events
            .iter()
            .filter(|event| !matches!(event.kind, EventKind::Released { .. }));
        let efforts: Vec<_> = efforts.map(|event| took(&event.kind)).collect();
        assert_eq!(
            efforts[1..],
            [(secs(2), secs(2), 0, 0), (secs(3), secs(3), 1, 0)],
            "{owner:?}"
        );
        assert_eq!(&events.last().unwrap().owner, second.owner());
    }
}

#[tokio::test(start_paused = true)]
async fn failed_renewals_are_told_and_one_loss() {
    let (world, told) = plain();
    let lease = world.lock().acquire().await.unwrap();
    let gone = Fault::Refused(ErrorKind::Unavailable);
    world.faults.always(Renew, gone);
    lease.lost().await;
    assert!(!lease.is_held());
    drop(lease);
    pass(TTL).await;
    let events = told.events();
    let mut remaining = Vec::new();
    for event in &events {
        if let EventKind::RenewalFailed {
            error,
            remaining: left,
            ..
        } = event.kind
        {
            assert_eq!(error, ErrorKind::Unavailable);
            remaining.push(left);
        }
    }
    assert_eq!(remaining.len(), world.faults.sent(Renew));
    assert!(remaining[0] > secs(16) && remaining[0] < secs(18));
    assert!(remaining.is_sorted_by(|earlier, later| earlier > later));
    // One end, and no failed release of what is lost.
    let [end] = &events[1 + remaining.len()..] else {
        panic!("{events:?}");
    };
    match end.kind {
        EventKind::Lost { why, held, .. } => {
            assert_eq!((why, held), (Loss::Expired, LOST_AFTER));
        }
        ref kind => panic!("{kind:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn each_lease_ends_once() {
    let (world, told) = plain();
    let released = world.lock().acquire().await.unwrap();
    released.release().await.unwrap();
    drop(world.lock().acquire().await.unwrap());
    pass(secs(1)).await;
    assert_eq!(
        told.take(),
        ["exclusive acquired", "exclusive released"].repeat(2)
    );

    let evicted = world.lock().acquire().await.unwrap();
    assert_eq!(world.theirs.force_release("k").await.unwrap().len(), 1);
    let other = world.other().try_acquire().await.unwrap().unwrap();
    other.release().await.unwrap();
    evicted.renew().await.unwrap_err();
    evicted.release().await.unwrap_err();
    assert_eq!(
        told.take(),
        ["exclusive acquired", "exclusive lost: Evicted"]
    );

    world.lock().acquire().await.unwrap().let_expire();
    pass(TTL).await;
    assert_eq!(told.take(), ["exclusive acquired", "exclusive released"]);

    let _lease = world.lock().acquire().await.unwrap();
    world.ours.shutdown().await;
    assert_eq!(
        told.take(),
        ["exclusive acquired", "exclusive lost: Shutdown"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_release_that_is_not_confirmed_is_told() {
    let (world, told) = plain();
    let lease = world.lock().acquire().await.unwrap();
    world
        .faults
        .once(Release, Fault::Refused(ErrorKind::PermissionDenied));
    lease.release().await.unwrap_err();
    pass(TTL).await;
    let denied = "exclusive release failed: PermissionDenied";
    assert_eq!(
        told.take(),
        ["exclusive acquired", "exclusive released", denied]
    );

    let lease = world.lock().acquire().await.unwrap();
    assert_eq!(world.theirs.force_release("k").await.unwrap().len(), 1);
    let other = world.other().try_acquire().await.unwrap().unwrap();
    other.release().await.unwrap();
    drop(lease);
    pass(secs(1)).await;
    let gone = "exclusive release failed: LeaseLost";
    assert_eq!(
        told.take(),
        ["exclusive acquired", "exclusive released", gone]
    );

    let _lease = world.lock().acquire().await.unwrap();
    world
        .faults
        .once(Release, Fault::Refused(ErrorKind::PermissionDenied));
    world.ours.shutdown().await;
    assert_eq!(
        told.take(),
        ["exclusive acquired", "exclusive lost: Shutdown", denied]
    );
}

#[tokio::test(start_paused = true)]
async fn a_change_of_mode_is_an_acquisition() {
    let (world, told) = plain();
    let lease = world.ours.shared("k").ttl(TTL).acquire().await.unwrap();
    let other = world.theirs.shared("k").ttl(TTL).acquire().await.unwrap();
    let Upgrade::Held(lease) = lease.try_upgrade().await.unwrap() else {
        panic!("it is shared");
    };
    other.release().await.unwrap();
    let Upgrade::Exclusive(lease) = lease.try_upgrade().await.unwrap() else {
        panic!("nobody shares it");
    };
    lease.release().await.unwrap();
    let expected = [
        "shared acquired",
        "exclusive not acquired: Busy",
        "exclusive acquired",
        "shared released",
        "exclusive released",
    ];
    assert_eq!(told.take(), expected);
}

/// In the caller's task, in the client's, and in that of a release.
#[tokio::test(start_paused = true)]
async fn a_hook_that_panics_breaks_nothing() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let mut world = World::new();
    let builder = LockClient::builder(world.faults.clone()).on_event(move |event| {
        counted.fetch_add(1, SeqCst);
        panic!("{:?}", event.kind);
    });
    world.ours = builder.build();
    let capture = Capture::default();
    let listening = capture.listen();
    let lease = world.lock().acquire().await.unwrap();
    world
        .faults
        .once(Renew, Fault::Refused(ErrorKind::Throttled));
    pass(TTL * 3).await;
    assert!(lease.is_held());
    world
        .faults
        .once(Release, Fault::Refused(ErrorKind::PermissionDenied));
    lease.release().await.unwrap_err();
    drop(listening);
    assert_eq!(calls.load(SeqCst), 4);
    let lines = capture.lines();
    let told = lines
        .iter()
        .filter(|line| line.what == "the hook for events panicked");
    assert_eq!(told.filter(|line| line.level == "ERROR").count(), 4);
}

/// What the other tests of this kind rely on.
#[tokio::test(start_paused = true)]
async fn everything_is_everything() {
    let (world, told) = plain();
    everything(&world).await;
    let events = told.take().join(", ");
    for part in [
        "acquired",
        "Busy",
        "TimedOut",
        "Cancelled",
        "Skipped",
        "Failed",
        "renewal failed",
        "Expired",
        "Shutdown",
        "released",
        "release failed",
    ] {
        assert!(events.contains(part), "{part} is not in {events}");
    }
}
