//! Who goes first among those who wait.

use super::Fixture;
use super::line::{Asker, in_time};
use super::scene::{LONG, Scene, assert_grow, eventually};
use crate::{AcquireOutcome, Mode, Queueing, Reason};

const PERMIT: Mode = Mode::Permit { limit: 1 };

/// **Nobody is passed**: those who queue are granted in the order of their arrival, in every mode.
pub async fn those_who_queue_are_granted_in_their_order(fixture: &dyn Fixture) {
    for mode in [Mode::Exclusive, PERMIT] {
        in_time(fixture, "queue-order", async |scene| {
            let first = scene.request(mode, LONG);
            scene.granted(&first).await;
            let mut line = [0; 3].map(|_| Asker::fair(scene, mode));
            for asker in &mut line {
                asker.queues(scene).await;
            }
            scene.released(&first).await;
            for asker in line.iter_mut().skip(1).rev() {
                asker.is_behind(scene).await?;
            }
            let mut tokens = Vec::new();
            for asker in &mut line {
                tokens.push(asker.comes_round(scene).await.token);
                scene.released(&asker.request).await;
            }
            assert_grow(&tokens);
            Some(())
        })
        .await;
    }
}

/// Those who hold beside each other do not wait for each other, and not before whoever queued between them.
pub async fn sharers_that_queue_are_granted_together(fixture: &dyn Fixture) {
    for (mode, between) in [
        (Mode::Shared, Mode::Exclusive),
        (Mode::Shared, Mode::Permit { limit: 9 }),
        (Mode::Permit { limit: 2 }, Mode::Exclusive),
    ] {
        in_time(fixture, "queue-together", async |scene| {
            let first = scene.exclusive(LONG);
            scene.granted(&first).await;
            let (mut one, mut two) = (Asker::fair(scene, mode), Asker::fair(scene, mode));
            let (mut other, mut behind) = (Asker::fair(scene, between), Asker::fair(scene, mode));
            for asker in [&mut one, &mut two, &mut other, &mut behind] {
                asker.queues(scene).await;
            }
            scene.released(&first).await;
            for asker in [&mut behind, &mut other] {
                asker.is_behind(scene).await?;
            }
            // The second need not wait for the first to ask.
            two.comes_round(scene).await;
            behind.is_behind(scene).await?;
            one.comes_round(scene).await;
            scene.released(&one.request).await;
            scene.released(&two.request).await;
            behind.is_behind(scene).await?;
            other.comes_round(scene).await;
            scene.released(&other.request).await;
            behind.comes_round(scene).await;
            Some(())
        })
        .await;
    }
}

/// **Nobody is passed**: who does not queue is refused while others do that it would be in the way of, be the lock free or
/// not.
pub async fn a_try_does_not_pass_the_queue(fixture: &dyn Fixture) {
    let two = Mode::Permit { limit: 2 };
    for (waits, mode) in [
        (Mode::Exclusive, Mode::Exclusive),
        (Mode::Exclusive, Mode::Shared),
        (Mode::Shared, PERMIT),
        (Mode::Shared, Mode::Exclusive),
        (PERMIT, Mode::Shared),
        (PERMIT, two),
        (two, PERMIT),
    ] {
        in_time(fixture, "queue-try", async |scene| {
            let first = scene.exclusive(LONG);
            scene.granted(&first).await;
            let mut waiter = Asker::fair(scene, waits);
            waiter.queues(scene).await;
            let held = scene.held_untouched(&scene.request(mode, LONG)).await;
            assert_eq!(held.reason, Reason::Queue, "{held:?}");
            scene.released(&first).await;
            let place = waiter.place(scene).await;
            let next = scene.request(mode, LONG);
            match scene.acquire(&next).await {
                AcquireOutcome::Held(refusal) => assert_eq!(refusal.reason, Reason::Queue),
                AcquireOutcome::Granted(_) => {
                    let granted = scene.holder(&next).await.acquired_at;
                    assert!(granted >= place.expires_at, "{granted} passes {place:?}");
                    return None;
                }
                other => panic!("must be held: {other:?}"),
            }
            waiter.comes_round(scene).await;
            Some(())
        })
        .await;
    }
}

/// Who may stand beside all that queue is in nobody's way, and does not queue, or a stream of sharers would never be rid of a
/// queue again.
pub async fn a_newcomer_beside_all_who_queue_is_granted(fixture: &dyn Fixture) {
    for mode in [Mode::Shared, Mode::Permit { limit: 3 }] {
        in_time(fixture, "queue-beside", async |scene| {
            let first = scene.exclusive(LONG);
            scene.granted(&first).await;
            let mut waiter = Asker::fair(scene, mode);
            let mut behind = Asker::fair(scene, mode);
            waiter.queues(scene).await;
            behind.queues(scene).await;
            let place = waiter.place(scene).await;
            scene.released(&first).await;
            scene.granted(&scene.request(mode, LONG)).await;
            assert_eq!(waiter.place(scene).await, place);
            if mode != Mode::Shared {
                // With the two that queue, all three are taken.
                let held = scene.held_untouched(&scene.request(mode, LONG)).await;
                assert_eq!(held.reason, Reason::Queue, "{held:?}");
            }
            waiter.comes_round(scene).await;
            behind.comes_round(scene).await;
            Some(())
        })
        .await;
    }
}

/// A waiting acquire joins a queue that it meets, and starts none behind a plain holder.
pub async fn who_waits_joins_the_queue_that_it_meets(fixture: &dyn Fixture) {
    in_time(fixture, "queue-join", async |scene| {
        let first = scene.exclusive(LONG);
        scene.granted(&first).await;
        let mut waiting = Asker::fair(scene, Mode::Exclusive);
        waiting.request.queueing = Queueing::WhenNeeded;
        let refusal = waiting.ask(scene).await;
        assert!(matches!(refusal, AcquireOutcome::Held(_)), "{refusal:?}");
        assert!(scene.line().await.is_empty());

        let mut fair = Asker::fair(scene, Mode::Exclusive);
        fair.queues(scene).await;
        waiting.is_behind(scene).await?;
        let owners = [&fair, &waiting].map(|asker| asker.request.owner.clone());
        assert_eq!(scene.line().await, owners);
        scene.released(&first).await;
        waiting.is_behind(scene).await?;
        fair.comes_round(scene).await;
        scene.released(&fair.request).await;
        waiting.comes_round(scene).await;
        Some(())
    })
    .await;
}

/// A stream of holders of one sharable mode does not keep those of another out: they queue, and newcomers behind them.
pub async fn a_stream_of_one_mode_does_not_starve_another(fixture: &dyn Fixture) {
    let permits = Mode::Permit { limit: 9 };
    for (stream, other) in [
        (Mode::Shared, Mode::Exclusive),
        (permits, Mode::Exclusive),
        (Mode::Shared, permits),
        (permits, Mode::Shared),
    ] {
        in_time(fixture, "queue-starve", async |scene| {
            let first = scene.request(stream, LONG);
            scene.granted(&first).await;
            let mut other = Asker::fair(scene, other);
            other.request.queueing = Queueing::WhenNeeded;
            other.queues(scene).await;
            let mut next = Asker::fair(scene, stream);
            next.request.queueing = Queueing::WhenNeeded;
            next.is_behind(scene).await?;
            scene.released(&first).await;
            next.is_behind(scene).await?;
            other.comes_round(scene).await;
            scene.released(&other.request).await;
            next.comes_round(scene).await;
            Some(())
        })
        .await;
    }
}

/// A crowd that waits is granted to each once, and the lock is not lost.
pub async fn a_crowd_that_queues_is_served(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "queue-crowd").await;
    let first = scene.exclusive(LONG);
    scene.granted(&first).await;
    let crowd = (0..8).map(|_| Asker::fair(&scene, Mode::Exclusive));
    let mut crowd: Vec<_> = crowd.collect();
    for asker in &mut crowd {
        asker.queues(&scene).await;
    }
    scene.released(&first).await;
    eventually("each is served", LONG, async || {
        for place in (0..crowd.len()).rev() {
            if let AcquireOutcome::Granted(_) = crowd[place].ask(&scene).await {
                scene.released(&crowd.remove(place).request).await;
            }
        }
        crowd.is_empty().then_some(())
    })
    .await;
    assert!(scene.line().await.is_empty());
}
