//! Renewing a lease that is there.

use std::time::Duration;

use super::Fixture;
use super::scene::{LONG, SHORT, Scene, eventually, renewal, valid};
use crate::{Label, Mode, Payload, Ttl};

/// A renewal moves the expiry, keeps the token, and names itself as the attempt that stands.
pub async fn a_renewal_prolongs_the_lease(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "renew").await;
    for mode in scene.modes([Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 2 }]) {
        let scene = scene.beside("renew");
        let request = scene.request(mode, LONG);
        let grant = scene.granted(&request).await;
        let first = scene.holder(&request).await;
        let mut seq = request.seq;
        eventually("a renewal prolongs", fixture.uncertainty(), async || {
            seq += 1;
            let validity = scene.renewed(&renewal(&request, &grant, seq)).await;
            assert_eq!(validity.seq, seq, "{validity:?}");
            let valid_for = validity.valid_for;
            assert!(
                valid_for > Duration::ZERO && valid_for <= LONG,
                "{validity:?}"
            );
            let holder = scene.holder(&request).await;
            assert_eq!(holder.seq, seq, "{holder:?}");
            (holder.expires_at > first.expires_at).then_some(())
        })
        .await;
        assert_eq!(scene.record().await.token, grant.token);
    }
}

/// **Nobody else's**: a renewal touches the times of its own entry only.
pub async fn a_renewal_keeps_what_the_holder_says_of_itself(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "renew-keeps").await;
    let mut request = scene.shared(LONG);
    request.label = Some(valid(Label::new("a label")));
    request.data = Some(valid(Payload::new(&["some", "data"])));
    let grant = scene.granted(&request).await;
    let other = scene.shared(LONG);
    scene.granted(&other).await;
    let (mut mine, others) = (scene.holder(&request).await, scene.holder(&other).await);

    scene.renewed(&renewal(&request, &grant, 2)).await;
    let renewed = scene.holder(&request).await;
    (mine.seq, mine.expires_at) = (2, renewed.expires_at);
    assert_eq!(renewed, mine);
    assert_eq!(scene.holder(&other).await, others);
}

/// **Idempotent by id**: a renewal whose answer got lost may be sent again, and writes nothing then.
pub async fn a_repeated_renewal_changes_nothing(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "renew-again").await;
    for mode in [Mode::Exclusive, Mode::Shared] {
        let scene = scene.beside("renew-again");
        let request = scene.request(mode, LONG);
        let grant = scene.granted(&request).await;
        let renewal = renewal(&request, &grant, 2);
        scene.renewed(&renewal).await;
        let before = scene.record().await;
        let validity = scene.renewed(&renewal).await;
        assert_eq!(validity.seq, 2, "{validity:?}");
        scene.is_still(Some(&before), "a repeated renewal").await;
    }
}

/// **Idempotent by id**: a renewal that meets a later attempt of its own is renewed, is told which one stands, and
/// writes nothing: a late duplicate must not shorten the lease.
pub async fn an_older_renewal_changes_nothing(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "renew-older").await;
    for mode in scene.modes([Mode::Exclusive, Mode::Permit { limit: 2 }]) {
        let scene = scene.beside("renew-older");
        let request = scene.request(mode, LONG);
        let grant = scene.granted(&request).await;
        scene.renewed(&renewal(&request, &grant, 5)).await;
        let before = scene.record().await;
        for seq in [1, 4] {
            let mut older = renewal(&request, &grant, seq);
            older.ttl = valid(Ttl::new(2 * LONG));
            let validity = scene.renewed(&older).await;
            assert_eq!(validity.seq, 5, "{validity:?}");
            let plausible = validity.valid_for <= LONG;
            assert!(plausible, "valid for longer than what stands: {validity:?}");
            scene.is_still(Some(&before), "an older renewal").await;
        }
    }
}

/// A renewal may raise the ttl and never lowers it, nor the expiry with it.
pub async fn a_renewal_may_raise_the_ttl_and_never_lowers_it(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "renew-ttl").await;
    let request = scene.exclusive(LONG);
    let grant = scene.granted(&request).await;
    let with_ttl = |seq, ttl| {
        let mut renewal = renewal(&request, &grant, seq);
        renewal.ttl = valid(Ttl::new(ttl));
        renewal
    };
    let first = scene.holder(&request).await;
    let validity = scene.renewed(&with_ttl(2, 3 * LONG)).await;
    assert!(validity.valid_for > LONG, "{validity:?}");
    let raised = scene.holder(&request).await;
    assert_eq!(raised.ttl.as_duration(), 3 * LONG, "{raised:?}");
    let gained = raised.expires_at.saturating_since(first.expires_at);
    assert!(gained > LONG, "{first:?} became {raised:?}");

    scene.renewed(&with_ttl(3, SHORT)).await;
    let kept = scene.holder(&request).await;
    assert_eq!((kept.ttl, kept.seq), (raised.ttl, 3), "{kept:?}");
    let shrunk = raised.expires_at.saturating_since(kept.expires_at);
    assert!(
        shrunk <= fixture.uncertainty(),
        "{raised:?} became {kept:?}"
    );
}

/// A lease that expired and that nobody evicted lives on, with its token.
pub async fn an_expired_lease_that_nobody_evicted_is_renewed(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "renew-expired").await;
    for mode in [Mode::Exclusive, Mode::Shared] {
        let scene = scene.beside("renew-expired");
        let request = scene.request(mode, SHORT);
        let grant = scene.granted(&request).await;
        scene.all_expired().await;
        let mut late = renewal(&request, &grant, 2);
        late.ttl = valid(Ttl::new(LONG));
        let validity = scene.renewed(&late).await;
        assert_eq!(validity.seq, 2, "{validity:?}");
        assert_eq!(scene.record().await.token, grant.token);
        scene.held_untouched(&scene.exclusive(LONG)).await;
    }
}
