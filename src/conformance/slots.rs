//! Scheduled jobs: what runs once for each slot.

use super::Fixture;
use super::line::Asker;
use super::scene::{LONG, SHORT, Scene, ending, renewal, retry, succeeded, valid};
use crate::{
    AcquireOutcome, AcquireRequest, Grant, Mode, ReleaseOutcome, Slot, SlotStart, Timestamp, Ttl,
};

/// Given slots: all of them long past.
const FIRST: Timestamp = Timestamp::from_millis(1_000_000_000_000);
const SECOND: Timestamp = Timestamp::from_millis(1_000_000_060_000);
/// The end of the year 9999.
const FOREVER: Timestamp = Timestamp::from_millis(253_402_300_799_000);

pub(super) fn once(scene: &Scene<'_>, start: SlotStart) -> AcquireRequest {
    let mut request = scene.exclusive(LONG);
    request.slot = Some(Slot::new(start));
    request
}

fn until_done(scene: &Scene<'_>, start: Timestamp) -> AcquireRequest {
    let mut request = once(scene, SlotStart::At(start));
    request.slot = request.slot.map(|slot| Slot {
        until_done: true,
        ..slot
    });
    request
}

/// A trigger in a slot whose run has happened: it changes nothing.
async fn skipped(scene: &Scene<'_>, request: &AcquireRequest) {
    let before = scene.inspect().await;
    let outcome = scene.acquire(request).await;
    assert_eq!(outcome, AcquireOutcome::Skipped(None), "{request:?}");
    scene.is_still(before.as_ref(), "a skipped run").await;
}

async fn runs(scene: &Scene<'_>, request: &AcquireRequest, slot: Timestamp) -> Grant {
    let grant = scene.granted(request).await;
    assert_eq!(grant.slot, Some(slot), "{grant:?}");
    assert_eq!(scene.record().await.slot_started, Some(slot));
    grant
}

/// The end of a run that succeeded.
async fn done(scene: &Scene<'_>, request: &AcquireRequest, slot: Timestamp) {
    let mut release = ending(request);
    release.slot_done = Some(slot);
    let outcome = succeeded("release", scene.backend.release(&release).await);
    assert_eq!(outcome, ReleaseOutcome::Released);
    assert_eq!(scene.record().await.slot_done, Some(slot));
}

/// **Once a slot**: at most once is once, whether the run succeeded, failed, or crashed.
pub async fn a_slot_runs_at_most_once(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "slot-once").await;
    let at = |start| once(&scene, SlotStart::At(start));
    let first = at(FIRST);
    let grant = runs(&scene, &first, FIRST).await;
    // Its own retry is no second run; another's trigger is, while it runs and afterwards.
    let again = scene.granted(&retry(&first, 2)).await;
    assert_eq!((again.token, again.slot), (grant.token, Some(FIRST)));
    skipped(&scene, &at(FIRST)).await;
    scene.released(&first).await;
    skipped(&scene, &at(FIRST)).await;

    let mut crashed = at(SECOND);
    crashed.ttl = valid(Ttl::new(SHORT));
    runs(&scene, &crashed, SECOND).await;
    scene.all_expired().await;
    skipped(&scene, &at(SECOND)).await;
}

/// **Once a slot**: at least once is granted again until a run says that it succeeded, and to one at a time.
pub async fn a_slot_runs_until_it_is_done(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "slot-done").await;
    let failed = until_done(&scene, FIRST);
    runs(&scene, &failed, FIRST).await;
    let waiter = until_done(&scene, FIRST);
    scene.held_untouched(&waiter).await;
    scene.released(&failed).await;
    assert_eq!(scene.record().await.slot_done, None);

    let mut crashed = retry(&waiter, 2);
    crashed.ttl = valid(Ttl::new(SHORT));
    runs(&scene, &crashed, FIRST).await;
    scene.all_expired().await;
    let succeeds = until_done(&scene, FIRST);
    runs(&scene, &succeeds, FIRST).await;
    done(&scene, &succeeds, FIRST).await;
    skipped(&scene, &until_done(&scene, FIRST)).await;
    skipped(&scene, &once(&scene, SlotStart::At(FIRST))).await;
    runs(&scene, &until_done(&scene, SECOND), SECOND).await;
}

/// A slot that a later one has begun after is covered by that, and dropped.
pub async fn a_covered_slot_is_skipped(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "slot-covered").await;
    let later = until_done(&scene, SECOND);
    runs(&scene, &later, SECOND).await;
    for _ in 0..2 {
        skipped(&scene, &once(&scene, SlotStart::At(FIRST))).await;
        skipped(&scene, &until_done(&scene, FIRST)).await;
        scene.release(&later).await;
    }
}

/// What a record knows of its slots is never collected, whatever happens to it afterwards.
pub async fn the_record_of_a_slot_is_pinned(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "slot-pinned").await;
    let plain = scene.exclusive(LONG);
    scene.granted(&plain).await;
    assert_eq!(scene.record().await.pinned, None);
    scene.released(&plain).await;
    let pinned = async || {
        let record = scene.record().await;
        assert!(record.pinned >= Some(FOREVER), "{record:?}");
        let is_kept = record.purge_at.is_none() || record.purge_at == record.pinned;
        assert!(is_kept, "{record:?}");
        assert_eq!(record.slot_started, Some(FIRST), "{record:?}");
    };
    let run = once(&scene, SlotStart::At(FIRST));
    let grant = runs(&scene, &run, FIRST).await;
    pinned().await;
    scene.renewed(&renewal(&run, &grant, 2)).await;
    pinned().await;
    done(&scene, &run, FIRST).await;
    pinned().await;
    for mode in [Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 2 }] {
        let plain = scene.request(mode, LONG);
        let grant = scene.granted(&plain).await;
        assert_eq!(grant.slot, None);
        pinned().await;
        scene.released(&plain).await;
        pinned().await;
    }
}

/// A run that waits takes its place in the queue, and does not run if the one before it did the work.
pub async fn a_run_waits_in_the_queue(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "slot-queue").await;
    let slot = |asker: &mut Asker, start, until_done| {
        asker.request.slot = Some(Slot {
            start: SlotStart::At(start),
            until_done,
        });
    };
    let first = until_done(&scene, FIRST);
    runs(&scene, &first, FIRST).await;
    let mut same = Asker::fair(&scene, Mode::Exclusive);
    slot(&mut same, FIRST, true);
    same.queues(&scene).await;
    let mut next = Asker::fair(&scene, Mode::Exclusive);
    slot(&mut next, SECOND, false);
    next.queues(&scene).await;
    done(&scene, &first, FIRST).await;
    skipped(&scene, &same.request).await;
    scene.released(&same.request).await;
    let grant = next.comes_round(&scene).await;
    assert_eq!(grant.slot, Some(SECOND));
}
