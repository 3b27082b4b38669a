//! Take-overs of one's own lock: the same owner, another acquisition.

use super::scene::{LONG, SHORT, Scene, again, assert_grow, renewal, retry, valid};
use super::{Fixture, Omission};
use crate::{Mode, Reason, Ttl};

/// An owner that acquires anew takes over at once, whatever is left of its older lease: with a greater token, in its
/// place, and closing it.
pub async fn an_owner_takes_its_own_lock_over(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "own").await;
    for mode in scene.modes([Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 1 }]) {
        let scene = scene.beside("own");
        let old = scene.request(mode, LONG);
        let new = again(&old);
        let tokens = [
            scene.granted(&old).await.token,
            scene.granted(&new).await.token,
        ];
        assert_grow(&tokens);
        let record = scene.record().await;
        assert_eq!(record.holders.len(), 1, "{record:?}");
        assert!(record.holder(&new.id).is_some(), "{record:?}");
        assert_eq!(record.closed.as_ref(), Some(&old.id), "{record:?}");
    }
}

/// **Nobody else's**: the older lease is lost, and its release leaves the newer one alone.
pub async fn a_replaced_lease_is_lost(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "own-lost").await;
    for mode in [Mode::Exclusive, Mode::Shared] {
        let scene = scene.beside("own-lost");
        let old = scene.request(mode, LONG);
        let grant = scene.granted(&old).await;
        let new = again(&old);
        let newer = scene.granted(&new).await;
        let before = scene.record().await;
        scene.lost(&renewal(&old, &grant, 2)).await;
        // It ended, by its release or by its owner's next acquisition: a record does not tell which.
        scene.release(&old).await;
        scene
            .is_still(Some(&before), "a replaced lease's release")
            .await;
        scene.renewed(&renewal(&new, &newer, 2)).await;
        scene.lost(&renewal(&old, &grant, 3)).await;
    }
}

/// A late duplicate of the older acquisition does not replace the newer one.
pub async fn a_late_duplicate_of_a_replaced_acquisition_is_refused(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "own-late").await;
    for mode in scene.modes([Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 5 }]) {
        let scene = scene.beside("own-late");
        let old = scene.request(mode, LONG);
        scene.granted(&old).await;
        let new = again(&old);
        scene.granted(&new).await;
        for seq in [1, 2] {
            let refusal = scene.held_untouched(&retry(&old, seq)).await;
            assert_eq!(refusal.reason, Reason::Replaced, "{mode:?}: {refusal:?}");
        }
    }
}

/// Of both expiries the later one stays: what the older acquisition was promised stays locked.
pub async fn a_take_over_keeps_the_later_expiry(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "own-expiry").await;
    for (before, after) in [(LONG, SHORT), (SHORT, LONG)] {
        let scene = scene.beside("own-expiry");
        let old = scene.exclusive(before);
        scene.granted(&old).await;
        let promised = scene.holder(&old).await.expires_at;
        let mut new = again(&old);
        new.ttl = valid(Ttl::new(after));
        scene.granted(&new).await;
        let holder = scene.holder(&new).await;
        assert!(
            holder.expires_at >= promised,
            "{promised} became {holder:?}"
        );
        let lives = holder.expires_at.saturating_since(holder.acquired_at);
        assert!(lives >= after, "{holder:?}");
        scene.held_untouched(&scene.exclusive(SHORT)).await;
    }
}

/// Unless it is named: a late request of an owner's former lease would let others in beside its newer one.
pub async fn a_lease_of_another_kind_is_not_taken_over(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "own-other-kind").await;
    for (held, wanted) in [
        (Mode::Exclusive, Mode::Shared),
        (Mode::Shared, Mode::Exclusive),
        (Mode::Shared, Mode::Permit { limit: 2 }),
    ] {
        if scene.modes([wanted]).is_empty() {
            continue;
        }
        let scene = scene.beside("own-other-kind");
        let mine = scene.request(held, LONG);
        scene.granted(&mine).await;
        let mut late = again(&mine);
        late.mode = wanted;
        let refusal = scene.held_untouched(&late).await;
        assert_eq!(refusal.reason, Reason::Busy, "{refusal:?}");
        if scene.is_without(Omission::Upgrades) {
            continue;
        }
        late.replaces = Some(mine.id.clone());
        scene.granted(&late).await;
    }
}

/// A sole sharer may go on as the exclusive holder, and back: each is a take-over of its own lock.
pub async fn a_sole_sharer_becomes_exclusive(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "own-upgrade").await;
    let shared = scene.shared(LONG);
    let mut exclusive = again(&shared);
    exclusive.mode = Mode::Exclusive;
    exclusive.replaces = Some(shared.id.clone());
    let mut downgraded = again(&shared);
    downgraded.replaces = Some(exclusive.id.clone());
    let mut tokens = Vec::new();
    for request in [&shared, &exclusive, &downgraded] {
        tokens.push(scene.granted(request).await.token);
        let record = scene.record().await;
        assert_eq!(record.mode, request.mode, "{record:?}");
        assert_eq!(record.holders.len(), 1, "{record:?}");
    }
    assert_grow(&tokens);
    scene.granted(&scene.shared(LONG)).await;
}

/// A sharer beside others is refused the exclusive lock, and keeps what it has.
pub async fn a_sharer_beside_others_does_not_become_exclusive(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "own-refused").await;
    let (mine, other) = (scene.shared(LONG), scene.shared(LONG));
    let grant = scene.granted(&mine).await;
    scene.granted(&other).await;
    let mut upgrade = again(&mine);
    upgrade.mode = Mode::Exclusive;
    upgrade.replaces = Some(mine.id.clone());
    let refusal = scene.held_untouched(&upgrade).await;
    assert_eq!(refusal.reason, Reason::Busy, "{refusal:?}");
    scene.renewed(&renewal(&mine, &grant, 2)).await;
    scene.released(&other).await;
    scene.granted(&retry(&upgrade, 2)).await;
}
