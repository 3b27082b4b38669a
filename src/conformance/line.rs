//! Somebody who stands in the queue, and the times that it is given there.

use std::time::Duration;

use super::Fixture;
use super::scene::{LONG, Scene, eventually, succeeded};
use crate::record::WAITER_TTL;
use crate::{
    AcquireOutcome, AcquireRequest, Contention, Grant, LockRecord, Mode, Owner, Queueing, Reason,
    Timestamp, Waiter,
};

/// The least that each who must go first is given to claim its turn.
const CLAIM: Duration = Duration::from_secs(2);
/// How often a case starts over where the machine was slower than the times of the queue.
const ROUNDS: usize = 20;

/// One who asks again and again, as a waiting client does.
pub(super) struct Asker {
    pub(super) request: AcquireRequest,
}

impl Asker {
    /// Who queues whatever it meets.
    pub(super) fn fair(scene: &Scene<'_>, mode: Mode) -> Self {
        let mut request = scene.request(mode, LONG);
        request.queueing = Queueing::Fair;
        Self { request }
    }

    /// The next attempt. An error that says "again" is one more.
    pub(super) async fn ask(&mut self, scene: &Scene<'_>) -> AcquireOutcome {
        let outcome = eventually("an attempt succeeds", Duration::ZERO, async || {
            self.request.seq += 1;
            match scene.backend.acquire(&self.request).await {
                Err(error) if error.is_retryable() => None,
                outcome => Some(succeeded("acquire", outcome)),
            }
        })
        .await;
        match &outcome {
            AcquireOutcome::Queued(_) => {
                self.request.queued = true;
                self.request.waiting = true;
            }
            AcquireOutcome::Held(refusal) if refusal.reason != Reason::Border => {
                self.request.queued = false;
                self.request.waiting = true;
            }
            _ => {}
        }
        outcome
    }

    /// An attempt that must not be granted, and stand in the queue.
    pub(super) async fn queues(&mut self, scene: &Scene<'_>) -> Contention {
        match self.ask(scene).await {
            AcquireOutcome::Queued(contention) => contention,
            other => panic!("must queue: {other:?}\n{:?}", self.request),
        }
    }

    /// As [`queues`](Self::queues), where it does so for those ahead only. `None` if their time was over, because the
    /// machine was slow.
    pub(super) async fn is_behind(&mut self, scene: &Scene<'_>) -> Option<Contention> {
        let before = scene.record().await;
        let outcome = self.ask(scene).await;
        let now = match &outcome {
            AcquireOutcome::Queued(contention) => return Some(contention.clone()),
            AcquireOutcome::Granted(_) => scene.holder(&self.request).await.acquired_at,
            _ => scene.now().await,
        };
        let over = times_over(&before, &self.request);
        assert!(over <= Some(now), "{outcome:?} at {now}\n{before:?}");
        None
    }

    /// Asks until it is granted, once it is its turn.
    pub(super) async fn comes_round(&mut self, scene: &Scene<'_>) -> Grant {
        let bound = WAITER_TTL.as_duration() + scene.fixture.uncertainty();
        eventually("the turn comes round", bound, async || {
            match self.ask(scene).await {
                AcquireOutcome::Granted(grant) => Some(grant),
                AcquireOutcome::Queued(_) => None,
                other => panic!("must queue: {other:?}\n{:?}", self.request),
            }
        })
        .await
    }

    /// Its place, as it stands.
    pub(super) async fn place(&self, scene: &Scene<'_>) -> Waiter {
        let record = scene.record().await;
        let place = record.waiter(&self.request.id).cloned();
        place.unwrap_or_else(|| panic!("must queue: {:?}\n{record:?}", self.request))
    }
}

/// When the first of the others in the queue has had its time, if nobody holds any more: for one claim, or as long as its
/// place lives.
pub(super) fn times_over(seen: &LockRecord, mine: &AcquireRequest) -> Option<Timestamp> {
    let held = seen.holders.iter().map(|holder| holder.expires_at).max();
    let others = seen
        .queue
        .iter()
        .filter(|of| of.claimant.owner != mine.owner);
    let ends = others.map(|place| {
        let since = held.max(seen.free_at).max(Some(place.enqueued_at));
        let claimed = since.map(|since| since.saturating_add(CLAIM));
        claimed.map_or(place.expires_at, |claimed| claimed.min(place.expires_at))
    });
    ends.min()
}

impl Scene<'_> {
    /// Who queues, in their order, by owner.
    pub(super) async fn line(&self) -> Vec<Owner> {
        let queue = self.record().await.queue.into_iter();
        queue.map(|waiter| waiter.claimant.owner).collect()
    }

    /// What the store's clock shows, give or take its uncertainty.
    pub(super) async fn now(&self) -> Timestamp {
        let witness = self.beside("clock");
        let request = witness.exclusive(LONG);
        witness.granted(&request).await;
        witness.holder(&request).await.acquired_at
    }
}

/// Plays a scene, on another key if the machine was too slow for the times of a queue: then nothing can be told.
pub(super) async fn in_time(
    fixture: &dyn Fixture,
    case: &str,
    play: impl AsyncFn(&Scene<'_>) -> Option<()>,
) {
    let scene = Scene::open(fixture, case).await;
    for _ in 0..ROUNDS {
        if play(&scene.beside(case)).await.is_some() {
            return;
        }
    }
    panic!(
        "the machine is too slow: those who queue were given their time in none of {ROUNDS} rounds"
    );
}
