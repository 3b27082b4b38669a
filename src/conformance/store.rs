//! The store as a whole: handles, records, setup, time-outs.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::scene::{LONG, SHORT, Scene, ending, renewal, succeeded};
use super::{Fixture, Omission, leaves_out};
use crate::{Mode, ReleaseOutcome, RenewRequest};

/// **Durable**, and **atomic** among all processes: what one handle was answered, another one sees.
pub async fn an_answered_operation_is_seen_through_every_handle(fixture: &dyn Fixture) {
    let here = Scene::open(fixture, "handles").await;
    let mut there = Scene::open(fixture, "handles").await;
    there.key = here.key.clone();
    let request = here.exclusive(LONG);
    let grant = here.granted(&request).await;
    assert_eq!(there.record().await, here.record().await);
    there.held_untouched(&there.exclusive(LONG)).await;
    there.renewed(&renewal(&request, &grant, 2)).await;
    assert_eq!(here.holder(&request).await.seq, 2);
    there.released(&request).await;
    drop(there);
    here.lost(&renewal(&request, &grant, 3)).await;
    let later = Scene::open(fixture, "handles").await.on(here.key.clone());
    assert_eq!(later.record().await, here.record().await);
    here.granted(&here.exclusive(LONG)).await;
}

/// A key that was never locked has no record, and looking at it makes none.
pub async fn inspect_of_nothing_is_nothing(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "nothing").await;
    for _ in 0..2 {
        assert_eq!(scene.inspect().await, None);
    }
    scene.granted(&scene.exclusive(LONG)).await;
}

/// [`LockRecord::rev`](crate::LockRecord::rev) grows with every write: compare-and-swap rests on it.
pub async fn every_write_raises_the_revision(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "revision").await;
    let mut last = 0;
    for mode in [Mode::Exclusive, Mode::Shared] {
        let request = scene.request(mode, LONG);
        let grant = scene.granted(&request).await;
        raised(&scene, &mut last, "grant").await;
        scene.renewed(&renewal(&request, &grant, 2)).await;
        raised(&scene, &mut last, "renewal").await;
        scene.granted(&super::scene::again(&request)).await;
        raised(&scene, &mut last, "take-over").await;
        let next = scene.record().await.holders;
        for holder in next.iter().filter_map(|holder| holder.claimant.clone()) {
            let release = crate::ReleaseRequest::new(&scene.key, &holder.owner, &holder.id);
            let outcome = succeeded("release", scene.backend.release(&release).await);
            assert_eq!(outcome, ReleaseOutcome::Released);
        }
        raised(&scene, &mut last, "release").await;
    }
}

async fn raised(scene: &Scene<'_>, last: &mut u64, write: &str) {
    let rev = scene.record().await.rev;
    assert!(
        rev > *last,
        "a {write} must raise rev, was {last}, is {rev}"
    );
    *last = rev;
}

/// A live lease's record is never purged: the database may collect it well after the last expiry only.
pub async fn a_record_outlives_its_lease(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "outlives").await;
    let long = scene.shared(crate::MAX_TTL);
    let grant = scene.granted(&long).await;
    outlives(&scene).await;
    let short = scene.shared(SHORT);
    scene.granted(&short).await;
    outlives(&scene).await;
    scene.renewed(&renewal(&long, &grant, 2)).await;
    outlives(&scene).await;
    scene.released(&short).await;
    outlives(&scene).await;
}

async fn outlives(scene: &Scene<'_>) {
    let record = scene.record().await;
    let Some(purge_at) = record.purge_at else {
        return;
    };
    for holder in &record.holders {
        let spare = purge_at.saturating_since(holder.expires_at);
        assert!(
            spare >= crate::RETENTION / 3,
            "purged {spare:?} after its expiry: {record:?}"
        );
    }
}

/// [`setup`](crate::Backend::setup) may be called again, and by many at once, while locks are held.
pub async fn setup_may_be_repeated_by_many_at_once(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "setup").await;
    let request = scene.exclusive(LONG);
    scene.granted(&request).await;
    let before = scene.record().await;
    let other = fixture.connect().await;
    let calls = (0..4).flat_map(|_| [scene.backend.setup(), other.setup()]);
    for outcome in join_all(calls).await {
        succeeded("setup", outcome);
    }
    succeeded("setup", scene.backend.setup().await);
    scene.is_still(Some(&before), "setup").await;
}

/// **In time**: no call takes much longer than its request's timeout, also where no answer comes. What may have taken
/// effect is retryable.
pub async fn a_call_to_a_silent_server_ends_in_time(fixture: &dyn Fixture) {
    if leaves_out(
        fixture,
        Omission::Silence,
        "a_call_to_a_silent_server_ends_in_time",
    ) {
        return;
    }
    let mut scene = Scene::open(fixture, "silent").await;
    scene.backend = fixture.silent().await;
    let mut request = scene.exclusive(LONG);
    request.timeout = Duration::from_millis(500);
    let mut release = ending(&request);
    release.timeout = request.timeout;
    let start = Instant::now();
    let results = [
        scene
            .backend
            .acquire(&request)
            .await
            .map(|outcome| format!("{outcome:?}")),
        scene
            .backend
            .renew(&RenewRequest::new(&request, 1, 2))
            .await
            .map(|o| format!("{o:?}")),
        scene
            .backend
            .release(&release)
            .await
            .map(|o| format!("{o:?}")),
    ];
    let elapsed = start.elapsed();
    for result in results {
        match result {
            Ok(outcome) => panic!("a silent server said {outcome}"),
            Err(error) => assert!(error.is_retryable(), "{error:?}"),
        }
    }
    assert!(
        elapsed < Duration::from_secs(15),
        "three calls of 500 ms took {elapsed:?}"
    );
}
