//! The minimum hold: what a release leaves of it.

use std::time::Duration;

use super::line::Asker;
use super::scene::{LONG, SHORT, Scene, again, ending, eventually, succeeded, valid};
use super::{Fixture, Omission};
use crate::{
    AcquireOutcome, AcquireRequest, Holder, Linger, Mode, Reason, ReleaseOutcome, ReleaseRequest,
    Ttl,
};

fn lingering(request: &AcquireRequest, left: Duration) -> ReleaseRequest {
    let mut release = ending(request);
    release.linger = Some(Linger {
        ttl: valid(Ttl::new(LONG)),
        left,
    });
    release
}

/// Releases it, and returns what is left of its minimum hold.
async fn lingers(scene: &Scene<'_>, request: &AcquireRequest, left: Duration) -> Holder {
    let release = lingering(request, left);
    let outcome = succeeded("release", scene.backend.release(&release).await);
    assert_eq!(outcome, ReleaseOutcome::Released);
    let record = scene.record().await;
    assert_eq!(record.holder(&request.id), None, "{record:?}");
    assert_eq!(record.closed.as_ref(), Some(&request.id), "{record:?}");
    let mut nobodys = record
        .holders
        .iter()
        .filter(|holder| holder.claimant.is_none());
    let rest = nobodys
        .next()
        .unwrap_or_else(|| panic!("nothing is left: {record:?}"));
    rest.clone()
}

/// A minimum hold outlives its lease: nobody enters until it ends, not even the same owner. Then anybody does.
pub async fn a_minimum_hold_keeps_everybody_out_until_it_ends(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "hold").await;
    for (mode, left) in [(Mode::Exclusive, SHORT), (Mode::Shared, SHORT)] {
        let scene = scene.beside("hold");
        let request = scene.request(mode, LONG);
        scene.granted(&request).await;
        let rest = lingers(&scene, &request, left).await;
        assert_eq!(rest.ttl.as_duration(), LONG, "{rest:?}");
        let lives = rest.expires_at.saturating_since(rest.acquired_at);
        assert!(
            lives >= left && lives <= left + fixture.uncertainty(),
            "{rest:?}"
        );

        let mut next = again(&request);
        next.mode = Mode::Exclusive;
        let bound = left + fixture.uncertainty();
        eventually("the minimum hold ends", bound, async || {
            next.seq += 1;
            match scene.acquire(&next).await {
                AcquireOutcome::Granted(_) => Some(()),
                AcquireOutcome::Held(refusal) => {
                    assert_eq!(refusal.reason, Reason::Busy, "{refusal:?}");
                    assert_eq!(refusal.occupants.len(), 1, "{refusal:?}");
                    assert_eq!(refusal.occupants[0].claimant, None, "{refusal:?}");
                    None
                }
                other => panic!("must be held: {other:?}"),
            }
        })
        .await;
        let granted = scene.holder(&next).await.acquired_at;
        assert!(granted >= rest.expires_at, "at {granted}, within {rest:?}");
        assert_eq!(scene.record().await.holders.len(), 1);
    }
}

/// It counts as one of its mode: a permit is taken, and sharers may stand beside it.
pub async fn a_minimum_hold_takes_a_place_of_its_mode(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "hold-mode").await;
    if !scene.is_without(Omission::Permits) {
        takes_a_permit(&scene).await;
    }
    let sharer = scene.shared(LONG);
    scene.granted(&sharer).await;
    lingers(&scene, &sharer, LONG).await;
    scene.granted(&scene.shared(LONG)).await;
    scene.held_untouched(&scene.exclusive(LONG)).await;
}

async fn takes_a_permit(scene: &Scene<'_>) {
    let scene = scene.beside("hold-mode");
    let permit = |limit| scene.request(Mode::Permit { limit }, LONG);
    let (one, two) = (permit(2), permit(2));
    scene.granted(&one).await;
    scene.granted(&two).await;
    lingers(&scene, &one, LONG).await;
    scene.held_untouched(&permit(2)).await;
    lingers(&scene, &two, LONG).await;
    let record = scene.record().await;
    assert_eq!(record.holders.len(), 2, "one for each: {record:?}");
    scene.held_untouched(&permit(2)).await;
    scene.granted(&permit(3)).await;
}

/// **Idempotent by id**: the release again, with all that it says, leaves no second rest and does not lengthen the first.
pub async fn a_repeated_release_lingers_once(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "hold-again").await;
    let request = scene.exclusive(LONG);
    scene.granted(&request).await;
    lingers(&scene, &request, LONG).await;
    let before = scene.record().await;
    for left in [LONG, 2 * LONG] {
        let release = lingering(&request, left);
        let outcome = succeeded("release", scene.backend.release(&release).await);
        assert_eq!(outcome, ReleaseOutcome::Released);
        scene.is_still(Some(&before), "a repeated release").await;
    }
    let refusal = scene
        .held_untouched(&super::scene::retry(&request, 2))
        .await;
    assert_eq!(refusal.reason, Reason::Closed, "a late duplicate");
}

/// A minimum hold that is over when the lease is released leaves nothing.
pub async fn a_minimum_hold_that_is_over_leaves_nothing(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "hold-over").await;
    let request = scene.exclusive(LONG);
    scene.granted(&request).await;
    let release = lingering(&request, Duration::ZERO);
    succeeded("release", scene.backend.release(&release).await);
    assert!(scene.record().await.holders.is_empty());
    scene.granted(&scene.exclusive(LONG)).await;
}

/// Who queues waits for a minimum hold as for any holder, and those who only wait leave nothing of one.
pub async fn those_who_queue_wait_for_a_minimum_hold(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "hold-queue").await;
    let first = scene.exclusive(LONG);
    scene.granted(&first).await;
    let mut one = Asker::fair(&scene, Mode::Exclusive);
    let mut two = Asker::fair(&scene, Mode::Exclusive);
    one.queues(&scene).await;
    two.queues(&scene).await;
    let rest = lingers(&scene, &first, SHORT).await;
    let leaves = lingering(&two.request, LONG);
    let outcome = succeeded("release", scene.backend.release(&leaves).await);
    assert_eq!(outcome, ReleaseOutcome::Released);
    one.comes_round(&scene).await;
    let granted = scene.holder(&one.request).await.acquired_at;
    assert!(granted >= rest.expires_at, "at {granted}, within {rest:?}");
    let record = scene.record().await;
    assert_eq!(record.holders.len(), 1, "{record:?}");
}
