//! Those who leave the queue, and those who die in it.

use futures_util::future::join_all;

use super::Fixture;
use super::line::{Asker, in_time, times_over};
use super::scene::{LONG, SHORT, Scene, again, retry};
use crate::{AcquireOutcome, Mode, Reason};

/// Who gives up leaves the queue by a release of its id, and the others keep their places.
pub async fn a_release_leaves_the_queue(fixture: &dyn Fixture) {
    in_time(fixture, "queue-leave", async |scene| {
        let first = scene.exclusive(LONG);
        scene.granted(&first).await;
        let mut askers = [0; 3].map(|_| Asker::fair(scene, Mode::Exclusive));
        for asker in &mut askers {
            asker.queues(scene).await;
        }
        let [one, two, three] = &mut askers;
        scene.not_held(&again(&two.request)).await;
        scene.released(&two.request).await;
        let owners = [&one, &three].map(|asker| asker.request.owner.clone());
        assert_eq!(scene.line().await, owners);
        scene.holder(&first).await;
        // Once more it has nothing to do.
        let before = scene.record().await;
        scene.release(&two.request).await;
        scene.is_still(Some(&before), "a repeated release").await;

        scene.released(&one.request).await;
        scene.released(&first).await;
        three.comes_round(scene).await;
        assert!(scene.line().await.is_empty());
        Some(())
    })
    .await;
}

/// **Idempotent by id**: an acquisition that queued, held and was released is over, and does not queue either.
pub async fn a_late_duplicate_of_one_who_queued_is_refused(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "queue-late").await;
    for mode in [Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 1 }] {
        let scene = scene.beside("queue-late");
        let first = scene.exclusive(LONG);
        scene.granted(&first).await;
        let mut asker = Asker::fair(&scene, mode);
        asker.queues(&scene).await;
        scene.released(&first).await;
        asker.comes_round(&scene).await;
        scene.released(&asker.request).await;
        for queued in [false, true] {
            for seq in [1, asker.request.seq, asker.request.seq + 1] {
                let mut late = retry(&asker.request, seq);
                late.queued = queued;
                let refusal = scene.held_untouched(&late).await;
                assert_eq!(refusal.reason, Reason::Closed, "{refusal:?}");
            }
        }
    }
}

/// The others wait for one claim of a dead one at most, or until its place expires; and the lock is not lost.
pub async fn a_dead_waiter_is_passed(fixture: &dyn Fixture) {
    let modes = [Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 1 }];
    join_all(modes.map(|mode| is_passed(fixture, mode))).await;
}

/// By one who waits for this mode.
async fn is_passed(fixture: &dyn Fixture, mode: Mode) {
    let scene = Scene::open(fixture, "queue-dead").await;
    let first = scene.exclusive(LONG);
    scene.granted(&first).await;
    let mut dead = Asker::fair(&scene, Mode::Exclusive);
    let mut alive = Asker::fair(&scene, mode);
    dead.queues(&scene).await;
    alive.queues(&scene).await;
    scene.released(&first).await;
    let free = scene.record().await;
    alive.comes_round(&scene).await;
    let granted = scene.holder(&alive.request).await.acquired_at;
    let over = times_over(&free, &alive.request);
    assert!(over <= Some(granted), "passed at {granted}: {free:?}");
    let line = scene.line().await;
    assert!(line.is_empty(), "who was passed has no place: {line:?}");

    // It was not dead after all: it goes to the end.
    let mut next = Asker::fair(&scene, Mode::Exclusive);
    next.queues(&scene).await;
    dead.queues(&scene).await;
    let owners = [&next, &dead].map(|asker| asker.request.owner.clone());
    assert_eq!(scene.line().await, owners);
}

/// While others hold beside it, a dead one is not passed before its place expires: they may leave at any moment.
pub async fn a_dead_waiter_is_not_passed_while_others_hold(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "queue-dead-held").await;
    let permit = Mode::Permit { limit: 3 };
    let holders = [0; 3].map(|_| scene.request(permit, LONG));
    for holder in &holders {
        scene.granted(holder).await;
    }
    let mut dead = Asker::fair(&scene, permit);
    dead.queues(&scene).await;
    let end = dead.place(&scene).await.expires_at;
    let mut alive = Asker::fair(&scene, permit);
    alive.queues(&scene).await;
    scene.released(&holders[0]).await;
    alive.comes_round(&scene).await;
    let granted = scene.holder(&alive.request).await.acquired_at;
    assert!(granted >= end, "passed at {granted}, before {end}");
    assert_eq!(scene.record().await.holders.len(), 3);
}

/// A place in the queue outlives a holder that died: whoever is first evicts it.
pub async fn the_first_in_line_evicts_a_dead_holder(fixture: &dyn Fixture) {
    in_time(fixture, "place-evicts", async |scene| {
        let dead = scene.exclusive(SHORT);
        scene.granted(&dead).await;
        let mut one = Asker::fair(scene, Mode::Exclusive);
        let mut two = Asker::fair(scene, Mode::Exclusive);
        for asker in [&mut one, &mut two] {
            match asker.ask(scene).await {
                AcquireOutcome::Queued(_) => {}
                // It had expired before anybody queued.
                AcquireOutcome::Granted(_) => return None,
                other => panic!("must queue: {other:?}"),
            }
        }
        scene.all_expired().await;
        two.is_behind(scene).await?;
        one.comes_round(scene).await;
        let record = scene.record().await;
        assert_eq!(record.holders.len(), 1, "{record:?}");
        two.queues(scene).await;
        Some(())
    })
    .await;
}
