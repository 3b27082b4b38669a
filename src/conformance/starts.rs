//! Scheduled jobs: when a slot starts.

use std::time::Duration;

use super::Fixture;
use super::scene::{LONG, SHORT, Scene, eventually};
use super::slots::once;
use crate::{AcquireOutcome, AcquireRequest, Reason, SlotStart, Timestamp};

const HOUR: Duration = Duration::from_hours(1);

/// The present slot starts at a whole multiple of its period, by the store's own time, and nobody runs twice in it.
pub async fn a_present_slot_is_told_by_the_store(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "slot-present").await;
    for _ in 0..2 {
        let mut before = None;
        let scene = scene.beside("slot-present");
        for _ in 0..2 {
            let request = once(&scene, SlotStart::Every(HOUR));
            let now = scene.now().await;
            let Some(slot) = present(&scene, &request).await else {
                assert!(before.is_some(), "the first one runs");
                continue;
            };
            assert_eq!(slot.as_millis() % 3_600_000, 0, "{slot}");
            let since = now.saturating_since(slot);
            assert!(since <= HOUR + fixture.uncertainty(), "{slot} at {now}");
            // Only if just then the next one began.
            assert_ne!(before, Some(slot), "runs twice");
            before = Some(slot);
            scene.released(&request).await;
        }
    }
}

/// Asks until it is known which slot it is.
async fn present(scene: &Scene<'_>, request: &AcquireRequest) -> Option<Timestamp> {
    let mut attempt = request.clone();
    let bound = scene.fixture.uncertainty();
    eventually("it is known which slot it is", bound, async || {
        attempt.seq += 1;
        match scene.acquire(&attempt).await {
            AcquireOutcome::Granted(grant) => Some(grant.slot),
            AcquireOutcome::Skipped(_) => Some(None),
            AcquireOutcome::Held(refusal) if refusal.reason == Reason::Border => None,
            other => panic!("must run, or be skipped: {other:?}"),
        }
    })
    .await
}

/// A given slot that has not begun waits, and tells for how long.
pub async fn a_slot_in_the_future_waits(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "slot-future").await;
    let distant = scene.now().await.saturating_add(HOUR);
    for _ in 0..2 {
        let request = once(&scene, SlotStart::At(distant));
        let refusal = scene.held_untouched(&request).await;
        assert_eq!(refusal.reason, Reason::Border, "{refusal:?}");
        assert!(
            refusal.free_in <= HOUR + fixture.uncertainty(),
            "{refusal:?}"
        );
        assert!(refusal.free_in > HOUR / 2, "{refusal:?}");
        // With a record and without.
        let plain = scene.exclusive(LONG);
        scene.granted(&plain).await;
        scene.released(&plain).await;
    }
    let soon = scene.now().await.saturating_add(2 * SHORT);
    let request = once(&scene, SlotStart::At(soon));
    let slot = present(&scene, &request).await;
    assert_eq!(slot, Some(soon));
    let ran = scene.holder(&request).await.acquired_at;
    let early = soon.saturating_since(ran);
    assert!(early <= fixture.uncertainty(), "{early:?} too early");
}
