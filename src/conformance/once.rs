//! The one run of a key, and what a release leaves in the record.

use std::time::Duration;

use futures_util::future::join_all;

use super::scene::{LONG, SHORT, Scene, again, ending, persist, renewal, retry, succeeded, valid};
use super::{Fixture, Omission};
use crate::{
    AcquireOutcome, AcquireRequest, Grant, LockRecord, Payload, RETENTION, ReleaseOutcome,
    ReleaseRequest, Slot, SlotStart, Timestamp,
};

const EPOCH: Timestamp = Timestamp::from_millis(0);

fn run(scene: &Scene<'_>, ttl: Duration) -> AcquireRequest {
    let mut request = scene.exclusive(ttl);
    let mut slot = Slot::new(SlotStart::Once);
    slot.until_done = true;
    request.slot = Some(slot);
    request
}

fn state(text: &str) -> Payload {
    valid(Payload::new(&text))
}

fn stating(request: &AcquireRequest, text: &str) -> ReleaseRequest {
    let mut release = ending(request);
    release.state = Some(state(text));
    release
}

async fn runs(scene: &Scene<'_>, request: &AcquireRequest) -> Grant {
    let grant = scene.granted(request).await;
    assert_eq!(grant.slot, Some(EPOCH), "{grant:?}");
    let record = scene.record().await;
    assert_eq!(
        (record.slot_started, record.pinned),
        (Some(EPOCH), None),
        "{record:?}"
    );
    grant
}

async fn skipped(scene: &Scene<'_>, request: &AcquireRequest, state: Option<Payload>) {
    let before = scene.inspect().await;
    let outcome = scene.acquire(request).await;
    assert_eq!(outcome, AcquireOutcome::Skipped(state), "{request:?}");
    scene.is_still(before.as_ref(), "a skipped run").await;
}

/// Releases, and returns what stands there then.
async fn released(scene: &Scene<'_>, release: &ReleaseRequest) -> LockRecord {
    let outcome = succeeded("release", scene.backend.release(release).await);
    assert_eq!(outcome, ReleaseOutcome::Released);
    scene.record().await
}

/// **Once a slot**: the only run of a key is granted until one succeeded, to one at a time; then it is skipped, and tells
/// the record's state.
pub async fn the_one_run_is_granted_until_it_is_done(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "once").await;
    let failed = run(&scene, LONG);
    let grant = runs(&scene, &failed).await;
    let again = scene.granted(&retry(&failed, 2)).await;
    assert_eq!((again.token, again.slot), (grant.token, Some(EPOCH)));
    let waiter = run(&scene, SHORT);
    scene.held_untouched(&waiter).await;
    released(&scene, &stating(&failed, "no")).await;

    runs(&scene, &retry(&waiter, 2)).await;
    scene.all_expired().await;
    let succeeds = run(&scene, LONG);
    runs(&scene, &succeeds).await;
    let told = scene.record().await.state;
    assert_eq!(told, Some(state("no")), "until it says");
    let mut done = stating(&succeeds, "yes");
    done.slot_done = Some(EPOCH);
    let record = released(&scene, &done).await;
    assert_eq!(record.slot_done, Some(EPOCH), "{record:?}");
    for _ in 0..2 {
        skipped(&scene, &run(&scene, LONG), Some(state("yes"))).await;
    }
    let mut at_most = run(&scene, LONG);
    at_most.slot = Some(Slot::new(SlotStart::Once));
    skipped(&scene, &at_most, Some(state("yes"))).await;
}

/// **Once a slot**: the only run of a key that must not be repeated is granted once, whatever became of it.
pub async fn the_one_run_may_be_at_most_one(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "once-most").await;
    let mut first = run(&scene, LONG);
    first.slot = Some(Slot::new(SlotStart::Once));
    runs(&scene, &first).await;
    let mut next = again(&run(&scene, LONG));
    next.slot = first.slot;
    skipped(&scene, &next, None).await;
    scene.released(&first).await;
    skipped(&scene, &next, None).await;
    runs(&scene, &run(&scene, LONG)).await;
}

/// **Atomic**: of many that want the only run of a key that does not exist, one is granted, and the others are refused.
pub async fn one_of_many_gets_the_one_run(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "once-race").await;
    for _ in 0..5 {
        let scene = scene.beside("once-race");
        let requests: Vec<_> = (0..10).map(|_| run(&scene, LONG)).collect();
        let tries = requests.iter().map(|run| persist(&scene.backend, run));
        let outcomes = join_all(tries).await;
        let granted = |outcome: &&AcquireOutcome| matches!(outcome, AcquireOutcome::Granted(_));
        let winners = outcomes.iter().filter(granted).count();
        assert_eq!(winners, 1, "one must win: {outcomes:?}");
        let record = scene.record().await;
        assert_eq!(record.holders.len(), 1, "{record:?}");
    }
}

/// The record of the only run is collected as any other is.
pub async fn the_one_run_does_not_pin_its_record(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "once-unpinned").await;
    let run = run(&scene, LONG);
    let grant = runs(&scene, &run).await;
    scene.renewed(&renewal(&run, &grant, 2)).await;
    let expires = scene.holder(&run).await.expires_at;
    let record = scene.record().await;
    assert_eq!(record.pinned, None, "{record:?}");
    kept(&scene, &record, expires, RETENTION);
}

/// That long from then on, in seconds that are rounded up.
fn kept(scene: &Scene<'_>, record: &LockRecord, from: Timestamp, keep: Duration) {
    if scene.is_without(Omission::Purge) {
        assert_eq!(record.purge_at, None, "{record:?}");
        return;
    }
    let purge_at = record.purge_at.unwrap_or_default();
    let kept = purge_at.saturating_since(from);
    assert!(
        kept >= keep && kept < keep + Duration::from_secs(1),
        "kept for {kept:?}, not {keep:?}: {record:?}"
    );
}

/// **A release tells**: the state that it brings stands in the record from then on, until another one brings its own.
pub async fn a_release_leaves_its_state(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "state").await;
    let mut before = None;
    // As a record has it, it need not be JSON.
    let odd =
        ["$$ROOT", "$token", ":zero #state"].map(|text| Payload::from_record(text.to_owned()));
    let longest = [state(""), state(&"é".repeat(2047))];
    for told in odd.into_iter().chain(longest) {
        let request = scene.exclusive(LONG);
        scene.granted(&request).await;
        assert_eq!(scene.record().await.state, before, "a grant leaves it");
        let mut release = ending(&request);
        release.state = Some(told);
        let record = released(&scene, &release).await;
        assert_eq!(record.state, release.state);
        before = record.state;
        let plain = scene.shared(LONG);
        scene.granted(&plain).await;
        scene.released(&plain).await;
        assert_eq!(scene.record().await.state, before, "a release leaves it");
    }
}

/// **A release tells**: it is kept for as long as the release says, counted from then, but no less than 48 hours.
pub async fn a_release_says_how_long_the_record_is_kept(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "keep").await;
    let year = Duration::from_hours(365 * 24);
    for (keep, kept_for) in [
        (RETENTION, RETENTION),
        (year, year),
        (Duration::ZERO, RETENTION),
        (Duration::MAX, 100 * year),
    ] {
        let request = scene.exclusive(LONG);
        scene.granted(&request).await;
        let mut release = ending(&request);
        release.keep = Some(keep);
        let record = released(&scene, &release).await;
        kept(
            &scene,
            &record,
            record.free_at.unwrap_or_default(),
            kept_for,
        );
    }
    if scene.is_without(Omission::Slots) {
        return;
    }
    let mut pinned = scene.exclusive(LONG);
    pinned.slot = Some(Slot::new(SlotStart::At(Timestamp::from_millis(1))));
    scene.granted(&pinned).await;
    let mut release = ending(&pinned);
    release.keep = Some(RETENTION);
    let record = released(&scene, &release).await;
    let kept = record.pinned.filter(|_| !scene.is_without(Omission::Purge));
    assert_eq!(record.purge_at, kept, "{record:?}");
}

/// **Idempotent by id**: a repeated release that brings a state is released only if that stands there, and not after its
/// lease was ended by force or taken over.
pub async fn a_repeated_release_is_released_only_if_its_state_stands(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "state-again").await;
    let request = scene.exclusive(LONG);
    scene.granted(&request).await;
    let release = stating(&request, "done");
    let record = released(&scene, &release).await;
    assert_eq!(released(&scene, &release).await, record);

    let forced = scene.exclusive(LONG);
    scene.granted(&forced).await;
    succeeded("force", scene.backend.force_release(&scene.key).await);
    not_told(&scene, &forced).await;

    let replaced = scene.exclusive(LONG);
    scene.granted(&replaced).await;
    scene.granted(&again(&replaced)).await;
    not_told(&scene, &replaced).await;
}

async fn not_told(scene: &Scene<'_>, request: &AcquireRequest) {
    let before = scene.inspect().await;
    let release = stating(request, "too late");
    let outcome = succeeded("release", scene.backend.release(&release).await);
    assert_eq!(outcome, ReleaseOutcome::NotHeld);
    scene.is_still(before.as_ref(), "a late release").await;
}
