use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doclock::{ErrorKind, Lease};

use crate::faulty::{Acquire, Fault, Release, Renew};
use crate::{TTL, World, pass, secs};

#[tokio::test(start_paused = true)]
async fn a_dropped_lease_is_released() {
    let world = World::new();
    drop(world.lock().acquire().await.unwrap());
    let lease = world.other().wait(secs(1)).acquire().await.unwrap();
    assert!(lease.is_held());
    assert_eq!(world.faults.sent(Release), 1);
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_the_releases_under_way() {
    let world = World::new();
    world.faults.once(Release, Fault::Late(secs(2)));
    drop(world.lock().acquire().await.unwrap());
    world.ours.shutdown().await;
    assert!(world.other().try_acquire().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn shutdown_releases_what_is_held_and_closes_the_client() {
    let world = World::new();
    let lease = world.lock().acquire().await.unwrap();
    world.ours.clone().shutdown().await;
    assert!(!lease.is_held());
    assert!(lease.lost().await.to_string().contains("shut down"));
    assert!(world.other().try_acquire().await.unwrap().is_some());
    let error = world.lock().try_acquire().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    drop(lease);
    world.ours.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_release_is_tried_again_while_the_lease_would_live() {
    let world = World::new();
    let lease = world.lock().acquire().await.unwrap();
    world
        .faults
        .once(Release, Fault::Refused(ErrorKind::Throttled));
    world
        .faults
        .once(Release, Fault::Refused(ErrorKind::Unavailable));
    lease.release().await.unwrap();
    assert_eq!(world.faults.sent(Release), 3);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_fails_ends_the_lease_locally() {
    let world = World::new();
    let lease = world.lock().acquire().await.unwrap();
    world
        .faults
        .always(Release, Fault::Refused(ErrorKind::PermissionDenied));
    world.faults.always(Renew, Fault::Hang);
    let error = lease.release().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    pass(TTL * 2).await;
    assert_eq!(world.faults.sent(Renew), 0, "it is not renewed any more");
    assert!(world.other().try_acquire().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_release_that_nobody_answers_ends_with_the_lease() {
    let world = World::new();
    let lease = world.lock().acquire().await.unwrap();
    world.faults.always(Release, Fault::RequestLost);
    let start = tokio::time::Instant::now();
    let error = lease.release().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    assert!(start.elapsed() <= TTL + secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_release_that_its_caller_drops_goes_on() {
    let world = World::new();
    let lease = world.lock().acquire().await.unwrap();
    world.faults.once(Release, Fault::Late(secs(1)));
    let releasing = tokio::time::timeout(Duration::from_millis(1), lease.release());
    assert!(releasing.await.is_err());
    pass(secs(2)).await;
    assert!(world.other().try_acquire().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_in_flight_does_not_revive_a_released_lock() {
    let world = World::new();
    let lease = world.lock().acquire().await.unwrap();
    world.faults.once(Renew, Fault::Late(secs(1)));
    pass(secs(10) + Duration::from_millis(500)).await;
    assert_eq!(world.faults.sent(Renew), 1, "under way");
    lease.release().await.unwrap();
    pass(secs(1)).await;
    let record = world.ours.inspect("k").await.unwrap().unwrap();
    assert!(record.holders.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_release_of_a_lost_lease_frees_nobodys_lock() {
    let world = World::new();
    let lease = world.lock().manual_renewal().acquire().await.unwrap();
    let next = world.other().wait(TTL * 2).acquire().await.unwrap();
    assert_eq!(
        lease.release().await.unwrap_err().kind(),
        ErrorKind::LeaseLost
    );
    assert!(next.renew().await.is_ok());
    assert!(world.lock().try_acquire().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn run_gives_the_lock_back_whatever_happens() {
    let world = World::new();
    let value = world
        .lock()
        .run(async |lease: &Lease| lease.token())
        .await
        .unwrap();
    assert!(value > 0);

    let failed: Result<(), &str> = world.lock().run(async |_| Err("its own")).await.unwrap();
    assert_eq!(failed, Err("its own"));

    let panics = tokio::spawn(world.lock().run(async |_| panic!("on purpose")));
    assert!(panics.await.is_err());

    world
        .faults
        .once(Release, Fault::Refused(ErrorKind::PermissionDenied));
    let value = world.lock().run(async |_| 7).await.unwrap();
    assert_eq!(value, 7, "a failed release does not mask the result");
}

#[tokio::test(start_paused = true)]
async fn run_stops_the_work_when_the_lease_is_lost() {
    let world = World::new();
    world.faults.always(Renew, Fault::Hang);
    let work = async |_: &Lease| std::future::pending::<()>().await;
    let error = world.lock().run(work).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    assert_eq!(error.operation(), Some("run"));
    assert_eq!(world.faults.sent(Acquire), 1);
}

#[tokio::test(start_paused = true)]
async fn try_run_does_nothing_if_others_hold() {
    let world = World::new();
    let held = world.other().acquire().await.unwrap();
    assert_eq!(world.lock().try_run(async |_| 1).await.unwrap(), None);
    held.release().await.unwrap();
    assert_eq!(world.lock().try_run(async |_| 1).await.unwrap(), Some(1));
}

/// What the library logged.
#[derive(Clone, Debug, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a dropped lease's release logs, after `before` happened.
async fn logged(before: impl AsyncFnOnce(&World)) -> String {
    let logged = Logged::default();
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let world = World::new();
    let lease = world.lock().acquire().await.unwrap();
    before(&world).await;
    drop(lease);
    world.ours.shutdown().await;
    let text = logged.0.lock().unwrap().clone();
    String::from_utf8(text).unwrap()
}

/// Nobody else hears of it. That a lease was lost was told before.
#[tokio::test(start_paused = true)]
async fn a_dropped_lease_that_could_not_be_released_is_logged() {
    let fault = Fault::Refused(ErrorKind::PermissionDenied);
    let refused = logged(async |world| world.faults.always(Release, fault)).await;
    assert!(refused.contains("WARN"), "{refused}");
    assert!(refused.contains("stays until it expires"), "{refused}");
    let lost = logged(async |world| {
        assert_eq!(world.theirs.force_release("k").await.unwrap().len(), 1);
        let other = world.other().try_acquire().await.unwrap().unwrap();
        other.release().await.unwrap();
    });
    assert_eq!(lost.await, "");
}

/// The lock was free for somebody else, who used it, before the second attempt to release found nothing.
#[tokio::test(start_paused = true)]
async fn only_a_release_whose_outcome_is_unknown_may_find_nothing() {
    let world = World::new();
    let lease = world.lock().acquire().await.unwrap();
    world.faults.once(Release, Fault::ReplyLost);
    let releasing = tokio::spawn(lease.release());
    pass(secs(1)).await;
    let other = world.other().try_acquire().await.unwrap().unwrap();
    other.release().await.unwrap();
    releasing.await.unwrap().unwrap();
    assert_eq!(world.faults.sent(Release), 2);

    let lease = world.lock().acquire().await.unwrap();
    let fault = Fault::Refused(ErrorKind::Throttled);
    world.faults.always(Release, fault);
    let releasing = tokio::spawn(lease.release());
    pass(secs(1)).await;
    assert_eq!(world.theirs.force_release("k").await.unwrap().len(), 1);
    let other = world.other().try_acquire().await.unwrap().unwrap();
    other.release().await.unwrap();
    world.faults.heal();
    let error = releasing.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
}
