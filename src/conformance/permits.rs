//! Permits: the semaphore.

use super::Fixture;
use super::line::{Asker, in_time};
use super::scene::{LONG, SHORT, Scene, assert_grow, retry};
use crate::{AcquireRequest, Mode, Reason};

fn permit(scene: &Scene<'_>, limit: u32) -> AcquireRequest {
    scene.request(Mode::Permit { limit }, LONG)
}

/// As many permits as the limit says, each with its own token, and not one more.
pub async fn permits_are_limited(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "permit").await;
    for limit in [1, 3] {
        let scene = scene.beside("permit");
        let mut tokens = Vec::new();
        for _ in 0..limit {
            tokens.push(scene.granted(&permit(&scene, limit)).await.token);
        }
        assert_grow(&tokens);
        let refusal = scene.held_untouched(&permit(&scene, limit)).await;
        assert_eq!(refusal.reason, Reason::Busy, "{refusal:?}");
        assert_eq!(refusal.occupants.len(), tokens.len(), "{refusal:?}");
    }
}

/// A released permit makes room for one, not for more.
pub async fn a_released_permit_makes_room(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "permit-room").await;
    let permits = [permit(&scene, 2), permit(&scene, 2)];
    for permit in &permits {
        scene.granted(permit).await;
    }
    let next = permit(&scene, 2);
    scene.held_untouched(&next).await;
    scene.released(&permits[0]).await;
    scene.granted(&retry(&next, 2)).await;
    scene.held_untouched(&permit(&scene, 2)).await;
}

/// The newest request's limit rules: a higher one lets more in, a lower one waits until there is room.
pub async fn the_newest_limit_rules(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "permit-limit").await;
    let holders = [permit(&scene, 2), permit(&scene, 2), permit(&scene, 3)];
    for holder in &holders {
        scene.granted(holder).await;
    }
    assert_eq!(scene.record().await.mode, Mode::Permit { limit: 3 });
    scene.held_untouched(&permit(&scene, 3)).await;

    let lower = permit(&scene, 2);
    scene.held_untouched(&lower).await;
    scene.released(&holders[0]).await;
    scene.held_untouched(&lower).await;
    scene.released(&holders[1]).await;
    scene.granted(&retry(&lower, 2)).await;
    let record = scene.record().await;
    assert_eq!(record.mode, Mode::Permit { limit: 2 }, "{record:?}");
    assert_eq!(record.holders.len(), 2, "{record:?}");
}

/// Expired permits are evicted by the next grant, and live ones are not.
pub async fn expired_permits_make_room(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "permit-expired").await;
    let mode = Mode::Permit { limit: 3 };
    let alive = permit(&scene, 3);
    scene.granted(&alive).await;
    let dead = [scene.request(mode, SHORT), scene.request(mode, SHORT)];
    for dead in &dead {
        scene.granted(dead).await;
    }
    for _ in 0..2 {
        scene.wait(&permit(&scene, 3), SHORT, |_| ()).await;
    }
    scene.held_untouched(&permit(&scene, 3)).await;
    let record = scene.record().await;
    assert_eq!(record.holders.len(), 3, "{record:?}");
    assert!(record.holder(&alive.id).is_some(), "{record:?}");
    for dead in &dead {
        assert!(record.holder(&dead.id).is_none(), "{record:?}");
    }
}

/// A limit that is raised lets in at once whoever is first in line, and one that is lowered keeps it waiting.
pub async fn a_limit_changes_while_others_hold_and_wait(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "permit-changed").await;
    let asker = |limit| Asker::fair(&scene, Mode::Permit { limit });
    let holders = [permit(&scene, 2), permit(&scene, 2)];
    for holder in &holders {
        scene.granted(holder).await;
    }
    let (mut lowered, mut raised) = (asker(1), asker(3));
    raised.comes_round(&scene).await;
    assert_eq!(scene.record().await.mode, Mode::Permit { limit: 3 });
    assert_eq!(lowered.queues(&scene).await.ahead, 0);
    for holder in holders.iter().chain([&raised.request]) {
        let refusal = lowered.queues(&scene).await;
        assert_eq!(refusal.reason, Reason::Busy, "{refusal:?}");
        scene.released(holder).await;
    }
    lowered.comes_round(&scene).await;
    let record = scene.record().await;
    assert_eq!(record.mode, Mode::Permit { limit: 1 }, "{record:?}");
    assert_eq!(record.holders.len(), 1, "{record:?}");
}

/// **Nobody is passed**: of those who wait for permits the lowest limit counts, or a stream of higher ones would keep it
/// out for ever.
pub async fn a_lower_limit_in_the_queue_is_respected(fixture: &dyn Fixture) {
    in_time(fixture, "permit-lower", async |scene| {
        let asker = |limit| Asker::fair(scene, Mode::Permit { limit });
        let holder = permit(scene, 9);
        scene.granted(&holder).await;
        let (mut high, mut low, mut next) = (asker(9), asker(1), asker(9));
        assert_eq!(low.queues(scene).await.ahead, 0);
        for asker in [&mut high, &mut next] {
            let ahead = asker.is_behind(scene).await?.ahead;
            assert!(ahead > 0, "one must go first");
        }
        scene.released(&holder).await;
        next.is_behind(scene).await?;
        low.comes_round(scene).await;
        // By their own limit, they find room beside it.
        next.comes_round(scene).await;
        high.comes_round(scene).await;
        Some(())
    })
    .await;
}
