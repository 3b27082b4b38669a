//! Fencing tokens.

use super::Fixture;
use super::scene::{LONG, SHORT, Scene, again, assert_grow, eventually, renewal, retry};
use crate::{Mode, Timestamp};

/// **Tokens strictly increase** over releases, from owner to owner and for one owner's next acquisition.
pub async fn the_token_grows_over_releases(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "token").await;
    let mut tokens = Vec::new();
    for mode in scene.modes([
        Mode::Exclusive,
        Mode::Shared,
        Mode::Permit { limit: 2 },
        Mode::Exclusive,
    ]) {
        let request = scene.request(mode, LONG);
        for request in [request.clone(), again(&request)] {
            tokens.push(scene.granted(&request).await.token);
            scene.released(&request).await;
            let record = scene.record().await;
            assert_eq!(
                Some(&record.token),
                tokens.last(),
                "a release keeps the token"
            );
        }
    }
    assert_grow(&tokens);
}

/// **Tokens strictly increase** over expiries.
pub async fn the_token_grows_over_an_expiry(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "token-expiry").await;
    let mut tokens = vec![scene.granted(&scene.exclusive(SHORT)).await.token];
    for ttl in [SHORT, LONG] {
        let next = scene.exclusive(ttl);
        tokens.push(scene.wait(&next, SHORT, |_| ()).await.token);
    }
    assert_grow(&tokens);
}

/// **Tokens strictly increase** over the removal of the record, by the database's TTL or by hand.
pub async fn the_token_grows_over_the_removal_of_the_record(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "token-purge").await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        // Many grants in a moment do not bring the next record's first token within reach.
        for _ in 0..20 {
            let request = scene.exclusive(LONG);
            tokens.push(scene.granted(&request).await.token);
            scene.released(&request).await;
        }
        after_uncertainty(&scene).await;
        fixture.purge(&scene.key).await;
        scene.is_still(None, "`Fixture::purge`").await;
    }
    tokens.push(scene.granted(&scene.exclusive(LONG)).await.token);
    assert_grow(&tokens);
}

/// No database removes a record within its clock's uncertainty of the last write: returns when that is over.
async fn after_uncertainty(scene: &Scene<'_>) {
    let first = written_now(scene).await;
    let bound = scene.fixture.uncertainty();
    let later = first.saturating_add(bound);
    eventually("the store's clock runs", bound, async || {
        (written_now(scene).await >= later).then_some(())
    })
    .await;
}

/// The store's time, as a grant shows it.
async fn written_now(scene: &Scene<'_>) -> Timestamp {
    let witness = scene.beside("clock");
    let request = witness.exclusive(LONG);
    witness.granted(&request).await;
    let now = witness.holder(&request).await.acquired_at;
    scene.fixture.purge(&witness.key).await;
    now
}

/// A lease whose record was removed is lost, and its renewal does not bring the record back.
pub async fn a_removed_record_lets_nobody_back_in(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "purged").await;
    let request = scene.exclusive(LONG);
    let grant = scene.granted(&request).await;
    fixture.purge(&scene.key).await;
    scene.lost(&renewal(&request, &grant, 2)).await;
    scene.not_held(&request).await;
    let next = scene.exclusive(LONG);
    scene.granted(&next).await;
    scene.held_untouched(&retry(&request, 3)).await;
}
