//! An exclusive lock is handed from one acquisition to another of the same owner: from task to task of a process.

use super::Fixture;
use super::line::{Asker, in_time};
use super::scene::{LONG, Scene, again, assert_grow, renewal, retry};
use crate::{AcquireRequest, Mode, Reason};

/// The same owner's next acquisition, in place of this one.
fn follows(request: &AcquireRequest) -> AcquireRequest {
    let mut next = again(request);
    next.replaces = Some(request.id.clone());
    next
}

/// The next one holds, with a greater token, and the last one is over.
pub async fn a_lock_is_handed_to_its_owners_next_acquisition(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "handed").await;
    let mut held = scene.exclusive(LONG);
    let mut grant = scene.granted(&held).await;
    for _ in 0..3 {
        let next = follows(&held);
        let granted = scene.granted(&next).await;
        assert_grow(&[grant.token, granted.token]);
        let record = scene.record().await;
        assert_eq!(record.holders.len(), 1, "{record:?}");
        assert!(record.holder(&next.id).is_some(), "{record:?}");
        assert_eq!(record.token, granted.token, "{record:?}");
        assert_eq!(record.closed.as_ref(), Some(&held.id), "{record:?}");
        scene.lost(&renewal(&held, &grant, 2)).await;
        // Released or not held: a record does not tell which.
        scene.release(&held).await;
        scene
            .is_still(Some(&record), "a release of what was handed on")
            .await;
        (held, grant) = (next, granted);
    }
    scene.renewed(&renewal(&held, &grant, 2)).await;
    scene.released(&held).await;
    scene.granted(&scene.exclusive(LONG)).await;
}

/// Who takes the place of its own lease is no newcomer, and everybody in the queue keeps their places.
pub async fn a_lock_is_handed_on_beside_those_who_queue(fixture: &dyn Fixture) {
    in_time(fixture, "handed-queue", async |scene| {
        let first = scene.exclusive(LONG);
        scene.granted(&first).await;
        let (mut one, mut two) = (
            Asker::fair(scene, Mode::Exclusive),
            Asker::fair(scene, Mode::Shared),
        );
        one.queues(scene).await;
        two.is_behind(scene).await?;
        let second = follows(&first);
        let third = follows(&second);
        for next in [&second, &third] {
            let before = scene.record().await.queue;
            scene.granted(next).await;
            let record = scene.record().await;
            assert_eq!(record.holders.len(), 1, "{record:?}");
            if record.queue != before {
                // A place that was over is evicted.
                let now = scene.holder(next).await.acquired_at;
                assert!(
                    before.iter().any(|place| place.expires_at <= now),
                    "{before:?}"
                );
                return None;
            }
        }
        scene.released(&third).await;
        two.is_behind(scene).await?;
        one.comes_round(scene).await;
        Some(())
    })
    .await;
}

/// What names a lease that does not stand there any more is refused, and nothing is written.
pub async fn a_lease_that_is_gone_is_not_handed_on(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "handed-gone").await;
    let first = scene.exclusive(LONG);
    let late = follows(&first);
    let refusal = scene.held_untouched(&late).await;
    assert_eq!(refusal.reason, Reason::Replaced, "no record: {refusal:?}");
    scene.granted(&first).await;
    let second = follows(&first);
    scene.granted(&second).await;
    let refusal = scene.held_untouched(&late).await;
    assert_eq!(refusal.reason, Reason::Replaced, "handed on: {refusal:?}");
    scene.released(&second).await;
    for late in [&late, &follows(&second)] {
        let refusal = scene.held_untouched(late).await;
        assert_eq!(refusal.reason, Reason::Replaced, "released: {refusal:?}");
    }
    scene.granted(&scene.exclusive(LONG)).await;
    let refusal = scene.held_untouched(&late).await;
    assert_eq!(refusal.reason, Reason::Replaced, "somebody's: {refusal:?}");
}

/// One whose answer got lost is granted again as it was; once it was released, or handed on itself, it is refused.
pub async fn a_repeated_handing_is_one(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "handed-again").await;
    let first = scene.exclusive(LONG);
    scene.granted(&first).await;
    let second = follows(&first);
    let grant = scene.granted(&second).await;
    let before = scene.record().await;
    let again = scene.granted(&retry(&second, 2)).await;
    assert_eq!((again.token, again.validity.seq), (grant.token, second.seq));
    scene.is_still(Some(&before), "a repeated handing").await;
    let third = follows(&second);
    scene.granted(&third).await;
    let refusal = scene.held_untouched(&retry(&second, 3)).await;
    assert_eq!(refusal.reason, Reason::Replaced, "handed on: {refusal:?}");
    scene.released(&third).await;
    let refusal = scene.held_untouched(&retry(&third, 2)).await;
    assert_eq!(refusal.reason, Reason::Closed, "released: {refusal:?}");
}
