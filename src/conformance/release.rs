//! Releasing.

use super::Fixture;
use super::scene::{LONG, SHORT, Scene, again};
use crate::{LeaseId, Mode};

/// A release frees the key at once, and keeps the record with its token.
pub async fn a_release_frees_the_key(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "release").await;
    for mode in scene.modes([Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 1 }]) {
        let scene = scene.beside("release");
        let request = scene.request(mode, LONG);
        let grant = scene.granted(&request).await;
        scene.released(&request).await;
        let record = scene.record().await;
        assert!(record.holders.is_empty(), "{record:?}");
        assert_eq!(record.token, grant.token, "{record:?}");
        assert_eq!(record.closed.as_ref(), Some(&request.id), "{record:?}");
        assert!(record.free_at.is_some(), "{record:?}");
        scene.granted(&scene.exclusive(LONG)).await;
    }
}

/// **Idempotent by id**: a release that meets its own earlier one is released, and writes nothing.
pub async fn a_repeated_release_is_released(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "release-again").await;
    let request = scene.exclusive(LONG);
    scene.granted(&request).await;
    scene.released(&request).await;
    let before = scene.record().await;
    for _ in 0..2 {
        scene.released(&request).await;
        scene.is_still(Some(&before), "a repeated release").await;
    }
}

/// A release of what never was does not hold, and leaves no record behind.
pub async fn a_release_of_nothing_is_not_held_and_creates_nothing(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "release-nothing").await;
    scene.not_held(&scene.exclusive(LONG)).await;
    scene.is_still(None, "a release of nothing").await;
    let request = scene.exclusive(LONG);
    scene.granted(&request).await;
    scene.released(&request).await;
    scene.not_held(&again(&request)).await;
}

/// **Nobody else's**: a lease is matched by its id, whoever its owner is.
pub async fn a_release_of_a_strangers_id_leaves_the_holder(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "release-stranger").await;
    for mode in [Mode::Exclusive, Mode::Shared] {
        let scene = scene.beside("release-stranger");
        let holder = scene.request(mode, LONG);
        scene.granted(&holder).await;
        let stranger = scene.request(mode, LONG);
        let mut namesake = holder.clone();
        namesake.id = LeaseId::random();
        for request in [stranger, namesake] {
            scene.not_held(&request).await;
        }
        scene.holder(&holder).await;
    }
}

/// **Nobody else's**: who was evicted does not release its successor, nor another one of its own name.
pub async fn a_release_after_an_eviction_leaves_the_next_holder(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "release-stale").await;
    let dead = scene.exclusive(SHORT);
    scene.granted(&dead).await;
    let next = scene.exclusive(SHORT);
    scene.wait(&next, SHORT, |_| ()).await;
    scene.not_held(&dead).await;
    let namesake = again(&dead);
    scene.wait(&namesake, SHORT, |_| ()).await;
    scene.not_held(&dead).await;
    scene.not_held(&next).await;
}

/// **Idempotent by id**, and **nobody else's**: the same release again, when somebody else holds by now.
pub async fn a_repeated_release_leaves_the_next_holder(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "release-late").await;
    let first = scene.exclusive(LONG);
    scene.granted(&first).await;
    scene.released(&first).await;
    let next = scene.exclusive(LONG);
    scene.granted(&next).await;
    let before = scene.record().await;
    scene.released(&first).await;
    scene.is_still(Some(&before), "a repeated release").await;
}

/// A lease that expired and that nobody evicted is still its holder's to release.
pub async fn a_release_ends_an_expired_lease(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "release-expired").await;
    let request = scene.exclusive(SHORT);
    scene.granted(&request).await;
    scene.all_expired().await;
    scene.released(&request).await;
    assert!(scene.record().await.holders.is_empty());
}
