//! Expiry: when a dead holder makes room, and when not.

use std::time::{Duration, Instant};

use super::Fixture;
use super::scene::{LONG, SHORT, Scene, eventually, renewal, retry};
use crate::{AcquireRequest, Holder, Reason, Validity, Watched};

/// A record's times are whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(5);

/// **A lease is evicted no earlier than its record says**, and not long after.
pub async fn an_expired_lease_is_evicted_and_not_before_it_expires(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "expiry").await;
    let first = scene.exclusive(SHORT);
    let sent = Instant::now();
    let validity = scene.granted(&first).await.validity;
    let dead = scene.holder(&first).await;
    evicted_in_time(&scene, &dead, sent, validity).await;
}

/// **A lease is evicted no earlier than its record says**: a renewal moves that.
pub async fn a_renewed_lease_is_evicted_no_earlier_than_the_renewal_says(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "expiry-renewed").await;
    let first = scene.exclusive(SHORT);
    let grant = scene.granted(&first).await;
    let mut request = renewal(&first, &grant, 2);
    request.ttl = super::scene::valid(crate::Ttl::new(3 * SHORT));
    let sent = Instant::now();
    let validity = scene.renewed(&request).await;
    let dead = scene.holder(&first).await;
    evicted_in_time(&scene, &dead, sent, validity).await;
}

/// **Validity counts from the send**: whoever is promised it has it, on its own clock; and on the store's own.
async fn evicted_in_time(scene: &Scene<'_>, dead: &Holder, sent: Instant, validity: Validity) {
    let next = scene.exclusive(LONG);
    let ttl = dead.ttl.as_duration();
    scene
        .wait(&next, ttl, |refusal| {
            assert_eq!(refusal.reason, Reason::Busy, "{refusal:?}");
            assert!(refusal.free_in > Duration::ZERO, "{refusal:?}");
        })
        .await;
    let elapsed = sent.elapsed() + ROUNDING;
    let promised = validity.valid_for;
    assert!(
        elapsed >= promised,
        "evicted after {elapsed:?}, and was promised {promised:?}: {dead:?}"
    );
    let record = scene.record().await;
    let [holder] = record.holders.as_slice() else {
        panic!("an evicted holder must be gone: {record:?}");
    };
    assert!(
        holder.acquired_at >= dead.expires_at,
        "granted before the expiry of its predecessor: {record:?}, {dead:?}"
    );
}

/// A holder that was watched unchanged for long enough ([`AcquireRequest::watched`]) is evicted, whatever its record
/// says: so a wrong clock cannot lock for ever.
pub async fn a_watched_holder_is_evicted_though_its_record_is_live(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "watched").await;
    let dead = scene.exclusive(LONG);
    let grant = scene.granted(&dead).await;
    let mut next = scene.exclusive(LONG);
    next.watched = vec![watched(&dead, 1)];
    let taken = scene.granted(&next).await;
    assert!(taken.token > grant.token, "{taken:?} after {grant:?}");
    let record = scene.record().await;
    assert_eq!(record.holders.len(), 1, "{record:?}");
    scene.lost(&renewal(&dead, &grant, 2)).await;
}

/// A watched holder whose attempt is another by now lives: renewed, or not the one that was watched.
pub async fn a_watched_holder_that_was_renewed_is_not_evicted(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "watched-renewed").await;
    let alive = scene.exclusive(LONG);
    let grant = scene.granted(&alive).await;
    scene.renewed(&renewal(&alive, &grant, 2)).await;
    let mut next = scene.exclusive(LONG);
    let stranger = scene.exclusive(LONG);
    for stale in [
        watched(&alive, 1),
        watched(&alive, 3),
        watched(&stranger, 2),
    ] {
        next.watched = vec![stale];
        scene.held_untouched(&next).await;
    }
    next.watched = vec![watched(&stranger, 9), watched(&alive, 2)];
    scene.granted(&retry(&next, 2)).await;
}

/// Of several holders, only the watched ones are evicted.
pub async fn only_the_watched_sharer_is_evicted(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "watched-shared").await;
    let permit = || scene.request(crate::Mode::Permit { limit: 2 }, LONG);
    let (dead, alive, mut next) = (permit(), permit(), permit());
    scene.granted(&dead).await;
    scene.granted(&alive).await;
    scene.held_untouched(&next).await;
    next.watched = vec![watched(&dead, 1)];
    scene.granted(&retry(&next, 2)).await;
    let record = scene.record().await;
    assert!(record.holder(&dead.id).is_none(), "{record:?}");
    scene.holder(&alive).await;
    scene.holder(&next).await;
}

/// **Contention is an outcome**: it shows the live holders, and not the expired ones that nobody evicted yet.
pub async fn a_refusal_shows_the_living_only(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "living").await;
    let (dead, alive) = (scene.shared(SHORT), scene.shared(LONG));
    scene.granted(&dead).await;
    scene.granted(&alive).await;
    let next = scene.exclusive(LONG);
    let bound = SHORT + fixture.uncertainty();
    eventually("the dead sharer is not shown", bound, async || {
        let occupants = scene.held_untouched(&next).await.occupants;
        let shows = |request: &AcquireRequest| {
            let mut ids = occupants.iter().filter_map(|one| one.claimant.as_ref());
            ids.any(|of| of.id == request.id)
        };
        assert!(shows(&alive), "{occupants:?}");
        (!shows(&dead)).then_some(())
    })
    .await;
}

fn watched(request: &AcquireRequest, seq: u64) -> Watched {
    let id = request.id.clone();
    Watched { id, seq }
}
