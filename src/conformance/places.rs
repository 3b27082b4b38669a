//! A place in the queue: how long it lives, who takes it, who may pass it.

use futures_util::future::join_all;

use super::Fixture;
use super::line::{Asker, in_time};
use super::scene::{LONG, Scene, again, eventually};
use crate::record::{MAX_PARTIES, WAITER_TTL};
use crate::{AcquireOutcome, Mode, Reason};

/// A place lives six seconds, whatever the lease's ttl is, and is refreshed by those who ask in time; its order is that of
/// arrival still.
pub async fn a_place_lives_six_seconds_and_is_refreshed(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "place-lives").await;
    scene.granted(&scene.exclusive(LONG)).await;
    let mut one = Asker::fair(&scene, Mode::Exclusive);
    let mut two = Asker::fair(&scene, Mode::Shared);
    let six = WAITER_TTL.as_duration();
    for asker in [&mut one, &mut two] {
        asker.queues(&scene).await;
        let place = asker.place(&scene).await;
        assert_eq!((place.mode, place.ttl), (asker.request.mode, WAITER_TTL));
        let lives = place.expires_at.saturating_since(place.enqueued_at);
        assert!(
            lives >= six && lives <= six + fixture.uncertainty(),
            "{place:?}"
        );
    }
    let before = one.place(&scene).await;
    eventually("the place is refreshed", six, async || {
        one.queues(&scene).await;
        let after = one.place(&scene).await;
        assert_eq!(after.enqueued_at, before.enqueued_at);
        let grows = after.expires_at > before.expires_at;
        assert!(
            grows == (after.seq > before.seq),
            "{after:?} was {before:?}"
        );
        grows.then_some(())
    })
    .await;
    let owners = [&one, &two].map(|asker| asker.request.owner.clone());
    assert_eq!(scene.line().await, owners);
}

/// **Idempotent by id**: who asks again has one place, whether the answer to its first attempt came or not.
pub async fn a_retry_takes_no_second_place(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "place-retry").await;
    scene.granted(&scene.exclusive(LONG)).await;
    let mut asker = Asker::fair(&scene, Mode::Exclusive);
    let first = asker.request.clone();
    asker.queues(&scene).await;
    Asker::fair(&scene, Mode::Exclusive).queues(&scene).await;
    let place = asker.place(&scene).await;
    for attempt in [&first, &super::scene::retry(&first, 2), &asker.request] {
        let outcome = scene.acquire(attempt).await;
        assert!(matches!(outcome, AcquireOutcome::Queued(_)), "{outcome:?}");
    }
    let queue = scene.record().await.queue;
    assert_eq!(queue.len(), 2, "{queue:?}");
    assert_eq!(queue[0].claimant, place.claimant);
    assert_eq!(queue[0].enqueued_at, place.enqueued_at);
}

/// One place for each owner: its next acquisition takes it, and the one before learns that it was replaced.
pub async fn an_owners_next_acquisition_takes_its_place(fixture: &dyn Fixture) {
    in_time(fixture, "place-owner", async |scene| {
        let first = scene.exclusive(LONG);
        scene.granted(&first).await;
        let mut old = Asker::fair(scene, Mode::Exclusive);
        old.queues(scene).await;
        let place = old.place(scene).await;
        let mut other = Asker::fair(scene, Mode::Exclusive);
        other.queues(scene).await;
        let mut new = Asker::fair(scene, Mode::Exclusive);
        new.request = crate::AcquireRequest {
            queued: false,
            waiting: false,
            ..again(&old.request)
        };
        new.queues(scene).await;
        let owners = [&new, &other].map(|asker| asker.request.owner.clone());
        assert_eq!(scene.line().await, owners);
        assert_eq!(new.place(scene).await.enqueued_at, place.enqueued_at);
        let refusal = scene.held_untouched(&old.request).await;
        assert_eq!(refusal.reason, Reason::Replaced, "{refusal:?}");
        scene.not_held(&old.request).await;
        scene.released(&first).await;
        other.is_behind(scene).await?;
        new.comes_round(scene).await;
        let refusal = scene.held_untouched(&old.request).await;
        assert_eq!(refusal.reason, Reason::Replaced, "{refusal:?}");
        Some(())
    })
    .await;
}

/// A queue has 256 places. Who finds none is refused, and gets the place of one who left, or whose place expired.
pub async fn a_full_queue_takes_nobody_in(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "place-full").await;
    scene.granted(&scene.exclusive(30 * LONG)).await;
    let crowd = (0..MAX_PARTIES).map(|_| Asker::fair(&scene, Mode::Exclusive));
    let mut crowd: Vec<_> = crowd.collect();
    // Not all at once: the record is large by then, and others use the store, too.
    for some in crowd.chunks_mut(4) {
        join_all(some.iter_mut().map(|asker| asker.queues(&scene))).await;
    }
    let full = scene.record().await;
    assert_eq!(full.queue.len(), MAX_PARTIES);
    let mut last = Asker::fair(&scene, Mode::Exclusive);
    match last.ask(&scene).await {
        AcquireOutcome::Held(refusal) => {
            let is_full = (refusal.reason, refusal.ahead) == (Reason::Queue, MAX_PARTIES);
            assert!(is_full, "{refusal:?}");
            scene.is_still(Some(&full), "who finds no place").await;
            scene.released(&crowd[7].request).await;
            last.queues(&scene).await;
        }
        // The machine was slow.
        AcquireOutcome::Queued(_) => {
            let now = last.place(&scene).await.enqueued_at;
            let expired = full.queue.iter().any(|place| place.expires_at <= now);
            assert!(expired, "the 257th has a place: {full:?}");
        }
        other => panic!("must be held: {other:?}"),
    }
    let line = scene.line().await;
    assert!(line.len() <= MAX_PARTIES, "{} places", line.len());
    assert_eq!(line.last(), Some(&last.request.owner));

    let mut late = Asker::fair(&scene, Mode::Exclusive);
    let bound = WAITER_TTL.as_duration() + fixture.uncertainty();
    eventually("the others' places expire", bound, async || {
        matches!(late.ask(&scene).await, AcquireOutcome::Queued(_)).then_some(())
    })
    .await;
}
