//! Renewing a lease that is not there.

use super::Fixture;
use super::scene::{LONG, SHORT, Scene, again, renewal};
use crate::{Mode, RenewRequest};

/// **Nobody else's**: who was evicted learns it at the next renewal, and never comes back.
pub async fn a_renewal_after_an_eviction_is_lost(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "renew-evicted").await;
    for mode in scene.modes([Mode::Exclusive, Mode::Permit { limit: 1 }]) {
        let scene = scene.beside("renew-evicted");
        let dead = scene.request(mode, SHORT);
        let grant = scene.granted(&dead).await;
        let next = scene.request(mode, LONG);
        scene.wait(&next, SHORT, |_| ()).await;
        for seq in [2, 3] {
            scene.lost(&renewal(&dead, &grant, seq)).await;
        }
        scene.released(&next).await;
        scene.lost(&renewal(&dead, &grant, 4)).await;
    }
}

/// A released lease is not there any more.
pub async fn a_renewal_after_a_release_is_lost(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "renew-released").await;
    for mode in [Mode::Exclusive, Mode::Shared] {
        let scene = scene.beside("renew-released");
        let request = scene.request(mode, LONG);
        let grant = scene.granted(&request).await;
        scene.released(&request).await;
        scene.lost(&renewal(&request, &grant, 2)).await;
    }
}

/// A renewal of what never was is lost, and leaves no record behind.
pub async fn a_renewal_of_nothing_is_lost_and_creates_nothing(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "renew-nothing").await;
    for mode in scene.modes([Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 2 }]) {
        scene
            .lost(&RenewRequest::new(&scene.request(mode, LONG), 1, 2))
            .await;
        scene.is_still(None, "a renewal of nothing").await;
    }
}

/// **Nobody else's**: a lease is matched by its id, whoever its owner is.
pub async fn a_renewal_of_a_strangers_id_is_lost(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "renew-stranger").await;
    for mode in [Mode::Exclusive, Mode::Shared] {
        let scene = scene.beside("renew-stranger");
        let holder = scene.request(mode, LONG);
        let grant = scene.granted(&holder).await;
        let stranger = scene.request(mode, LONG);
        let namesake = again(&holder);
        for request in [stranger, namesake] {
            scene.lost(&renewal(&request, &grant, 2)).await;
        }
    }
}

/// An exclusive renewal names the token that it was granted: one that names another is about another grant.
pub async fn a_renewal_with_another_token_is_lost(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "renew-token").await;
    let request = scene.exclusive(LONG);
    let grant = scene.granted(&request).await;
    for token in [0, grant.token - 1, grant.token + 1] {
        scene.lost(&RenewRequest::new(&request, token, 2)).await;
    }
    scene.renewed(&renewal(&request, &grant, 2)).await;
}
