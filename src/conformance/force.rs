//! Releasing by force.

use super::Fixture;
use super::scene::{LONG, Scene, assert_grow, fresh_key, renewal, succeeded, valid};
use crate::{Holder, Key, Label, LeaseId};

async fn forced(scene: &Scene<'_>, key: &Key) -> Vec<Holder> {
    succeeded("force_release", scene.backend.force_release(key).await)
}

/// A forced release ends the holder's lease, returns it as it was, and keeps the token.
pub async fn a_forced_release_ends_the_holder_and_returns_it(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "force").await;
    let mut request = scene.exclusive(LONG);
    request.label = Some(valid(Label::new("somebody")));
    let grant = scene.granted(&request).await;
    let holder = scene.holder(&request).await;
    assert_eq!(forced(&scene, &scene.key).await, [holder]);
    assert!(scene.record().await.holders.is_empty());
    scene.lost(&renewal(&request, &grant, 2)).await;
    let next = scene.granted(&scene.exclusive(LONG)).await;
    assert_grow(&[grant.token, next.token]);
}

/// A forced release ends all leases on the key.
pub async fn a_forced_release_ends_every_sharer(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "force-shared").await;
    let mut sharers: Vec<LeaseId> = Vec::new();
    for _ in 0..5 {
        let request = scene.shared(LONG);
        scene.granted(&request).await;
        sharers.push(request.id);
    }
    let ended = forced(&scene, &scene.key).await;
    let mut ended: Vec<LeaseId> = ended.iter().filter_map(Holder::id).cloned().collect();
    ended.sort();
    sharers.sort();
    assert_eq!(ended, sharers);
    scene.granted(&scene.exclusive(LONG)).await;
}

/// Where nobody holds, nobody is ended, and nothing is written.
pub async fn a_forced_release_of_nothing_ends_nobody(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "force-nothing").await;
    assert!(forced(&scene, &fresh_key("force-nothing")).await.is_empty());
    let request = scene.exclusive(LONG);
    scene.granted(&request).await;
    scene.released(&request).await;
    let before = scene.record().await;
    assert!(forced(&scene, &scene.key).await.is_empty());
    scene
        .is_still(Some(&before), "a forced release of nothing")
        .await;
}
