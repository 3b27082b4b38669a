//! Acquiring: grants, refusals, retries, late duplicates.

use std::time::Duration;

use super::Fixture;
use super::scene::{LONG, Scene, again, retry};
use crate::{AcquireRequest, Contention, Mode, Reason, Ttl};

/// A key that nobody holds is granted, as it was asked for, and its record says so.
pub async fn a_free_key_is_granted(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "free").await;
    for mode in scene.modes([Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 3 }]) {
        let scene = scene.beside("free");
        let mut request = scene.request(mode, LONG);
        request.seq = 7;
        let grant = scene.granted(&request).await;
        assert!(grant.token > 0, "{grant:?}");
        assert_eq!(grant.validity.seq, 7, "{grant:?}");
        let valid_for = grant.validity.valid_for;
        assert!(valid_for > Duration::ZERO && valid_for <= LONG, "{grant:?}");

        let record = scene.record().await;
        assert_eq!((record.token, record.mode), (grant.token, mode));
        let [holder] = record.holders.as_slice() else {
            panic!("must have one holder: {record:?}");
        };
        assert_eq!(holder.owner(), Some(&request.owner));
        assert_eq!(holder.id(), Some(&request.id));
        assert_eq!((holder.ttl, holder.seq), (request.ttl, 7));
        let lives = holder.expires_at.saturating_since(holder.acquired_at);
        assert!(lives >= LONG, "expires before its ttl: {holder:?}");
    }
}

/// **Contention is an outcome**, never an error: it tells who holds and until when, and changes nothing.
pub async fn a_held_key_is_refused_without_an_error(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "held").await;
    let mut first = scene.exclusive(LONG);
    first.seq = 3;
    first.label = Some(super::scene::valid(crate::Label::new("the first")));
    scene.granted(&first).await;
    for waiting in [false, true] {
        let mut second = scene.exclusive(LONG);
        second.waiting = waiting;
        let contention = scene.held_untouched(&second).await;
        assert_eq!(contention.reason, Reason::Busy);
        assert_shows(&contention, &first, fixture.uncertainty());
    }
}

fn assert_shows(contention: &Contention, holder: &AcquireRequest, uncertainty: Duration) {
    let [occupant] = contention.occupants.as_slice() else {
        panic!("must show one occupant: {contention:?}");
    };
    let claimant = occupant.claimant.as_ref();
    assert_eq!(claimant.map(|of| &of.owner), Some(&holder.owner));
    assert_eq!(claimant.map(|of| &of.id), Some(&holder.id));
    assert_eq!((occupant.seq, occupant.ttl), (holder.seq, holder.ttl));
    assert_eq!(occupant.label, holder.label);
    let most = holder.ttl.as_duration() + uncertainty + Duration::from_secs(1);
    for left in [occupant.expires_in, contention.free_in] {
        assert!(left > Duration::ZERO && left <= most, "{contention:?}");
    }
}

/// **Idempotent by id**: an acquire whose id holds already is granted again, and writes nothing.
pub async fn a_retry_is_granted_again_and_writes_nothing(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "retry").await;
    let request = scene.exclusive(LONG);
    let first = scene.granted(&request).await;
    let before = scene.record().await;
    for seq in [1, 2, 2] {
        let grant = scene.granted(&retry(&request, seq)).await;
        assert_eq!(grant.token, first.token, "the token of a retry");
        scene.is_still(Some(&before), "a retry").await;
    }
}

/// **Idempotent by id**: a retry learns which attempt stands in the record, older than itself or newer.
pub async fn a_retry_names_the_attempt_that_stands(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "stands").await;
    let mut request = scene.exclusive(LONG);
    request.seq = 5;
    scene.granted(&request).await;
    for seq in [4, 5, 6] {
        let mut attempt = retry(&request, seq);
        attempt.ttl = super::scene::valid(Ttl::new(2 * LONG));
        let validity = scene.granted(&attempt).await.validity;
        assert_eq!(validity.seq, 5, "attempt {seq}: {validity:?}");
        let whole = validity.valid_for <= LONG;
        assert!(whole, "valid for longer than what stands: {validity:?}");
    }
}

/// A grant is recognised by its id *and* its mode: an id that holds in another mode has not got what it asks for.
pub async fn a_retry_in_another_mode_is_no_grant(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "mode").await;
    let modes = scene.modes([Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 2 }]);
    for &held in &modes {
        let scene = scene.beside("mode");
        let request = scene.request(held, LONG);
        scene.granted(&request).await;
        for other in modes.iter().copied().filter(|other| *other != held) {
            let mut attempt = retry(&request, 2);
            attempt.mode = other;
            scene.held_untouched(&attempt).await;
        }
    }
}

/// **Idempotent by id**: an acquire that lands after its own release is a late duplicate, and locks nothing.
pub async fn a_late_duplicate_of_a_released_acquisition_is_refused(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "late").await;
    for mode in scene.modes([Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 2 }]) {
        let scene = scene.beside("late");
        let request = scene.request(mode, LONG);
        scene.granted(&request).await;
        scene.released(&request).await;
        for seq in [1, 2] {
            let contention = scene.held_untouched(&retry(&request, seq)).await;
            assert_eq!(contention.reason, Reason::Closed, "{mode:?}");
        }
        scene.granted(&again(&request)).await;
    }
}

/// **Idempotent by id**: the same, when somebody else holds by now.
pub async fn a_late_duplicate_beside_the_next_holder_is_refused(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "late-next").await;
    for mode in scene.modes([Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 2 }]) {
        let scene = scene.beside("late-next");
        let first = scene.request(mode, LONG);
        scene.granted(&first).await;
        scene.released(&first).await;
        let next = scene.request(mode, LONG);
        scene.granted(&next).await;
        let contention = scene.held_untouched(&retry(&first, 2)).await;
        assert_eq!(contention.reason, Reason::Closed, "{mode:?}");
        scene.holder(&next).await;
    }
}
