//! Upgrade and downgrade: take-overs of one's own lock in another mode, beside those who wait.

use super::Fixture;
use super::line::{Asker, in_time};
use super::scene::{LONG, Scene, again, renewal, retry};
use crate::{AcquireRequest, Mode, Reason};

/// The same owner's next acquisition, in another mode, in place of this one.
fn becomes(request: &AcquireRequest, mode: Mode) -> AcquireRequest {
    let mut next = again(request);
    next.mode = mode;
    next.replaces = Some(request.id.clone());
    next
}

/// A holder is no newcomer: it changes its mode whoever waits, and everybody keeps their places.
pub async fn an_upgrade_is_not_kept_waiting_by_the_queue(fixture: &dyn Fixture) {
    in_time(fixture, "upgrade-queue", async |scene| {
        let shared = scene.shared(LONG);
        scene.granted(&shared).await;
        let (mut one, mut two) = (
            Asker::fair(scene, Mode::Exclusive),
            Asker::fair(scene, Mode::Shared),
        );
        one.queues(scene).await;
        two.is_behind(scene).await?;
        let owners = [&one, &two].map(|asker| asker.request.owner.clone());
        let exclusive = becomes(&shared, Mode::Exclusive);
        let downgraded = becomes(&exclusive, Mode::Shared);
        let mut tokens = Vec::new();
        for request in [&exclusive, &downgraded] {
            tokens.push(scene.granted(request).await.token);
            let record = scene.record().await;
            assert_eq!((record.mode, record.holders.len()), (request.mode, 1));
            // Shared by now, but not for who came after an exclusive one.
            two.is_behind(scene).await?;
            one.queues(scene).await;
            let line = scene.line().await;
            if line != owners {
                return None;
            }
        }
        super::scene::assert_grow(&tokens);
        scene.released(&downgraded).await;
        two.is_behind(scene).await?;
        one.comes_round(scene).await;
        Some(())
    })
    .await;
}

/// A refused upgrade keeps what it has, and takes no place in a queue unless it says so.
pub async fn a_refused_upgrade_does_not_queue(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "upgrade-refused").await;
    let (mine, other) = (scene.shared(LONG), scene.shared(LONG));
    let grant = scene.granted(&mine).await;
    scene.granted(&other).await;
    let upgrade = becomes(&mine, Mode::Exclusive);
    let refusal = scene.held_untouched(&upgrade).await;
    assert_eq!(refusal.reason, Reason::Busy, "{refusal:?}");
    assert!(scene.line().await.is_empty());
    scene.renewed(&renewal(&mine, &grant, 2)).await;
}

/// Who waits to take over its own lease does so when the others beside it are gone, whoever waits; and nobody loses its
/// place by that.
pub async fn a_takeover_takes_nobodys_place(fixture: &dyn Fixture) {
    in_time(fixture, "upgrade-place", async |scene| {
        let (mine, other) = (scene.shared(LONG), scene.shared(LONG));
        scene.granted(&mine).await;
        scene.granted(&other).await;
        let mut ahead = Asker::fair(scene, Mode::Exclusive);
        ahead.queues(scene).await;
        let mut next = Asker::fair(scene, Mode::Exclusive);
        next.request.owner = mine.owner.clone();
        next.request.replaces = Some(mine.id.clone());
        next.queues(scene).await;
        let mut behind = Asker::fair(scene, Mode::Exclusive);
        behind.queues(scene).await;
        scene.released(&other).await;
        let before = scene.record().await;
        next.comes_round(scene).await;
        let record = scene.record().await;
        assert_eq!(record.holders.len(), 1, "{record:?}");
        assert_eq!(record.closed.as_ref(), Some(&mine.id), "{record:?}");
        let granted = record.holders[0].acquired_at;
        for asker in [&ahead, &behind] {
            if record.waiter(&asker.request.id).is_some() {
                continue;
            }
            let place = before.waiter(&asker.request.id);
            let lives = place.is_some_and(|place| place.expires_at > granted);
            assert!(!lives, "{:?} lost its place: {before:?}", asker.request);
            return None;
        }
        scene.released(&next.request).await;
        behind.is_behind(scene).await?;
        ahead.comes_round(scene).await;
        Some(())
    })
    .await;
}

/// A permit that is exchanged for one of another limit is a take-over too: it needs room beside the others only.
pub async fn a_permit_is_exchanged_for_one_of_another_limit(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "upgrade-permit").await;
    let permit = |limit| Mode::Permit { limit };
    let (mine, other) = (
        scene.request(permit(2), LONG),
        scene.request(permit(2), LONG),
    );
    scene.granted(&mine).await;
    scene.granted(&other).await;
    scene.held_untouched(&becomes(&mine, permit(1))).await;
    let mut held = mine;
    for limit in [2, 3, 2] {
        let next = becomes(&held, permit(limit));
        scene.granted(&next).await;
        held = next;
        let record = scene.record().await;
        assert_eq!((record.mode, record.holders.len()), (permit(limit), 2));
    }
    scene.released(&other).await;
    scene.granted(&becomes(&held, permit(1))).await;
}

/// What names the lease whose place it takes is granted where that one stands, and nowhere else: somebody may have been in
/// between.
pub async fn a_change_needs_the_lease_that_it_replaces(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "upgrade-replaces").await;
    let reader = scene.shared(LONG);
    let writer = becomes(&reader, Mode::Exclusive);
    let refusal = scene.held(&writer).await;
    assert_eq!(refusal.reason, Reason::Replaced, "no record: {refusal:?}");
    assert_eq!(scene.inspect().await, None);

    let first = scene.granted(&reader).await;
    let second = scene.granted(&writer).await;
    super::scene::assert_grow(&[first.token, second.token]);
    let again = scene.granted(&retry(&writer, 2)).await;
    assert_eq!(again.token, second.token, "its answer was lost");
    for late in [
        becomes(&reader, Mode::Exclusive),
        becomes(&reader, Mode::Shared),
    ] {
        let refusal = scene.held_untouched(&late).await;
        assert_eq!(refusal.reason, Reason::Replaced, "taken over: {refusal:?}");
    }
    let reader = becomes(&writer, Mode::Shared);
    scene.granted(&reader).await;
    scene.released(&reader).await;
    for mode in [Mode::Exclusive, Mode::Shared] {
        let refusal = scene.held_untouched(&becomes(&reader, mode)).await;
        assert_eq!(refusal.reason, Reason::Replaced, "released: {refusal:?}");
    }
}
