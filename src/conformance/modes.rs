//! Sharers, and who excludes whom.

use futures_util::future::join_all;

use super::Fixture;
use super::scene::{LONG, Scene, assert_all_differ, assert_grow, persist, renewal, retry};
use crate::record::MAX_PARTIES;
use crate::{AcquireOutcome, Mode, Reason};

/// Sharers hold beside each other, each with a token of its own.
pub async fn sharers_stand_side_by_side(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "shared").await;
    let sharers: Vec<_> = (0..20).map(|_| scene.shared(LONG)).collect();
    let mut tokens = Vec::new();
    for sharer in &sharers {
        tokens.push(scene.granted(sharer).await.token);
    }
    assert_grow(&tokens);
    let record = scene.record().await;
    assert_eq!(record.mode, Mode::Shared);
    assert_eq!(record.holders.len(), sharers.len(), "{record:?}");
    for sharer in &sharers {
        scene.holder(sharer).await;
    }
}

/// No exclusive lock beside sharers, no sharer beside an exclusive lock, and each after the last of the other.
pub async fn an_exclusive_lock_and_sharers_exclude_each_other(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "exclude").await;
    for many in scene.modes([Mode::Shared, Mode::Permit { limit: 9 }]) {
        exclude_each_other(&scene.beside("exclude"), many, Mode::Exclusive).await;
    }
}

/// Permits and sharers do not mix either, whatever the limit.
pub async fn permits_and_sharers_exclude_each_other(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "mixed").await;
    let permit = Mode::Permit { limit: 9 };
    exclude_each_other(&scene, permit, Mode::Shared).await;
    exclude_each_other(&scene.beside("mixed"), Mode::Shared, permit).await;
}

async fn exclude_each_other(scene: &Scene<'_>, many: Mode, other: Mode) {
    let (one, two) = (scene.request(many, LONG), scene.request(many, LONG));
    let waiter = scene.request(other, LONG);
    scene.granted(&one).await;
    scene.granted(&two).await;
    let refusal = scene.held_untouched(&waiter).await;
    assert_eq!(refusal.reason, Reason::Busy, "{refusal:?}");
    assert_eq!(refusal.occupants.len(), 2, "{refusal:?}");
    scene.released(&one).await;
    scene.held_untouched(&waiter).await;
    scene.released(&two).await;
    scene.granted(&retry(&waiter, 2)).await;

    let next = scene.request(many, LONG);
    scene.held_untouched(&next).await;
    scene.released(&waiter).await;
    scene.granted(&next).await;
    assert_eq!(scene.record().await.mode, many);
}

/// **Idempotent by id**: a sharer's retry is granted again, takes no second place, and shares its token with nobody.
///
/// The token may be a new one, where a record does not keep each holder's.
pub async fn a_sharers_retry_takes_no_second_place(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "shared-retry").await;
    let (first, second) = (scene.shared(LONG), scene.shared(LONG));
    let one = scene.granted(&first).await.token;
    let two = scene.granted(&second).await.token;
    let again = scene.granted(&retry(&first, 2)).await;
    assert!(
        again.token >= one && again.token != two,
        "{again:?} beside {one}, {two}"
    );
    assert_eq!(again.validity.seq, 1, "{again:?}");
    let third = scene.granted(&scene.shared(LONG)).await.token;
    assert_all_differ(vec![again.token, two, third], "tokens");
    let record = scene.record().await;
    assert_eq!(record.holders.len(), 3, "{record:?}");
}

/// **Nobody else's**: a sharer's release ends its own lease only.
pub async fn a_sharers_release_leaves_the_others(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "shared-release").await;
    let (first, second) = (scene.shared(LONG), scene.shared(LONG));
    scene.granted(&first).await;
    let two = scene.granted(&second).await;
    let kept = scene.holder(&second).await;
    scene.released(&first).await;
    assert_eq!(scene.record().await.holders, [kept]);
    scene.renewed(&renewal(&second, &two, 2)).await;
}

/// A sharer renews with the token of its own grant, however many were granted since.
pub async fn a_sharer_is_renewed_whatever_came_after_it(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "shared-renew").await;
    let sharers: Vec<_> = (0..3).map(|_| scene.shared(LONG)).collect();
    let mut grants = Vec::new();
    for sharer in &sharers {
        grants.push(scene.granted(sharer).await);
    }
    for (sharer, grant) in sharers.iter().zip(&grants) {
        let validity = scene.renewed(&renewal(sharer, grant, 2)).await;
        assert_eq!(validity.seq, 2, "{validity:?}");
    }
}

/// A record has room for 256 holders; the next is refused, and not an error.
pub async fn the_257th_sharer_is_refused(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "shared-full").await;
    let sharers: Vec<_> = (0..MAX_PARTIES).map(|_| scene.shared(LONG)).collect();
    let mut tokens = Vec::new();
    for some in sharers.chunks(16) {
        let crowd = some.iter().map(|sharer| persist(&scene.backend, sharer));
        for outcome in join_all(crowd).await {
            match outcome {
                AcquireOutcome::Granted(grant) => tokens.push(grant.token),
                other => panic!("must be granted: {other:?}"),
            }
        }
    }
    assert_all_differ(tokens, "tokens");
    assert_eq!(scene.record().await.holders.len(), MAX_PARTIES);
    let last = scene.shared(LONG);
    let refusal = scene.held_untouched(&last).await;
    assert_eq!(refusal.occupants.len(), MAX_PARTIES);
    scene.released(&sharers[0]).await;
    scene.granted(&retry(&last, 2)).await;
}
