//! What cases are made of: a key of their own, a handle on the store, and calls that must not fail.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Fixture, Omission};
use crate::{
    AcquireOutcome, AcquireRequest, Backend, Contention, Error, Grant, Holder, Key, LeaseId,
    LockRecord, Mode, Owner, ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest, Ttl,
    Validity,
};

/// A ttl that does not end while a case runs.
pub(super) const LONG: Duration = Duration::from_mins(2);
/// A ttl whose end a case waits for. A busy machine must not spend it on the way to the store and back.
pub(super) const SHORT: Duration = Duration::from_secs(1);
/// What a busy machine may add to any wait.
const SLOW_MACHINE: Duration = Duration::from_secs(30);
/// Between two looks, at first and after many: a crowd that asks in vain must leave room for the one that holds.
const PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// A key that nobody else has, and a handle on the store.
pub(super) struct Scene<'a> {
    pub(super) fixture: &'a dyn Fixture,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) key: Key,
}

impl<'a> Scene<'a> {
    pub(super) async fn open(fixture: &'a dyn Fixture, case: &str) -> Self {
        Self {
            fixture,
            backend: fixture.connect().await,
            key: fresh_key(case),
        }
    }

    /// The same handle and another key.
    pub(super) fn beside(&self, case: &str) -> Self {
        self.on(fresh_key(case))
    }

    /// The same handle and this key.
    pub(super) fn on(&self, key: Key) -> Self {
        Self {
            fixture: self.fixture,
            backend: Arc::clone(&self.backend),
            key,
        }
    }

    pub(super) fn is_without(&self, omission: Omission) -> bool {
        self.fixture.without().contains(&omission)
    }

    /// Those of these modes that the store has.
    pub(super) fn modes<const N: usize>(&self, modes: [Mode; N]) -> Vec<Mode> {
        let is_permit = |mode: &Mode| matches!(mode, Mode::Permit { .. });
        let has = |mode: &Mode| !is_permit(mode) || !self.is_without(Omission::Permits);
        modes.into_iter().filter(has).collect()
    }

    /// The first attempt of a new acquisition by a new owner.
    pub(super) fn request(&self, mode: Mode, ttl: Duration) -> AcquireRequest {
        AcquireRequest::new(&self.key, &Owner::random(), mode, valid(Ttl::new(ttl)))
    }

    pub(super) fn exclusive(&self, ttl: Duration) -> AcquireRequest {
        self.request(Mode::Exclusive, ttl)
    }

    pub(super) fn shared(&self, ttl: Duration) -> AcquireRequest {
        self.request(Mode::Shared, ttl)
    }

    pub(super) async fn acquire(&self, request: &AcquireRequest) -> AcquireOutcome {
        succeeded("acquire", self.backend.acquire(request).await)
    }

    pub(super) async fn granted(&self, request: &AcquireRequest) -> Grant {
        match self.acquire(request).await {
            AcquireOutcome::Granted(grant) => grant,
            other => panic!("must be granted: {other:?}\n{request:?}"),
        }
    }

    pub(super) async fn held(&self, request: &AcquireRequest) -> Contention {
        match self.acquire(request).await {
            AcquireOutcome::Held(contention) => contention,
            other => panic!("must be held: {other:?}\n{request:?}"),
        }
    }

    /// A refusal that must not touch the record.
    pub(super) async fn held_untouched(&self, request: &AcquireRequest) -> Contention {
        let before = self.inspect().await;
        let contention = self.held(request).await;
        self.is_still(before.as_ref(), "a refused attempt").await;
        contention
    }

    pub(super) async fn renew(&self, request: &RenewRequest) -> RenewOutcome {
        succeeded("renew", self.backend.renew(request).await)
    }

    pub(super) async fn renewed(&self, request: &RenewRequest) -> Validity {
        match self.renew(request).await {
            RenewOutcome::Renewed(validity) => validity,
            RenewOutcome::Lost => panic!("must be renewed, is lost: {request:?}"),
        }
    }

    /// A renewal that must find its lease lost, and touch nothing.
    pub(super) async fn lost(&self, request: &RenewRequest) {
        let before = self.inspect().await;
        let outcome = self.renew(request).await;
        assert_eq!(outcome, RenewOutcome::Lost, "{request:?}");
        self.is_still(before.as_ref(), "a lost renewal").await;
    }

    pub(super) async fn release(&self, request: &AcquireRequest) -> ReleaseOutcome {
        succeeded("release", self.backend.release(&ending(request)).await)
    }

    pub(super) async fn released(&self, request: &AcquireRequest) {
        let outcome = self.release(request).await;
        assert_eq!(outcome, ReleaseOutcome::Released, "release of {request:?}");
    }

    /// A release that must find nothing to end, and touch nothing.
    pub(super) async fn not_held(&self, request: &AcquireRequest) {
        let before = self.inspect().await;
        let outcome = self.release(request).await;
        assert_eq!(outcome, ReleaseOutcome::NotHeld, "release of {request:?}");
        self.is_still(before.as_ref(), "a release of what is not held")
            .await;
    }

    pub(super) async fn inspect(&self) -> Option<LockRecord> {
        succeeded("inspect", self.backend.inspect(&self.key).await)
    }

    pub(super) async fn record(&self) -> LockRecord {
        let record = self.inspect().await;
        record.unwrap_or_else(|| panic!("`{}` must have a record, has none", self.key))
    }

    /// The entry of this acquisition.
    pub(super) async fn holder(&self, request: &AcquireRequest) -> Holder {
        let record = self.record().await;
        let holder = record.holder(&request.id).cloned();
        holder.unwrap_or_else(|| panic!("must hold, does not: {request:?}\n{record:?}"))
    }

    pub(super) async fn is_still(&self, before: Option<&LockRecord>, who: &str) {
        let after = self.inspect().await;
        assert_eq!(
            after.as_ref(),
            before,
            "{who} must leave the record of `{}` as it was",
            self.key
        );
    }

    /// Tries until the lock is granted, as a waiting client does. `refused` sees each refusal.
    pub(super) async fn wait(
        &self,
        request: &AcquireRequest,
        ttl: Duration,
        mut refused: impl FnMut(&Contention),
    ) -> Grant {
        let mut attempt = request.clone();
        let bound = ttl + self.fixture.uncertainty();
        eventually("the dead holder is evicted", bound, async || {
            attempt.seq += 1;
            match self.acquire(&attempt).await {
                AcquireOutcome::Granted(grant) => Some(grant),
                AcquireOutcome::Held(contention) => {
                    refused(&contention);
                    None
                }
                other => panic!("who does not queue must not end so: {other:?}"),
            }
        })
        .await
    }

    /// Returns when the store itself says that all holders of this key have expired. Does not touch the key: another
    /// lease, that expires no earlier, is seen evicted.
    pub(super) async fn all_expired(&self) {
        let holders = self.record().await.holders;
        let end = holders.iter().map(|holder| holder.expires_at).max();
        let witness = self.beside("witness");
        let first = witness.exclusive(SHORT);
        let grant = witness.granted(&first).await;
        let mut seq = first.seq;
        let bound = self.fixture.uncertainty();
        eventually("the witness expires later", bound, async || {
            seq += 1;
            let renewal = RenewRequest::new(&first, grant.token, seq);
            witness.renewed(&renewal).await;
            (Some(witness.holder(&first).await.expires_at) >= end).then_some(())
        })
        .await;
        let next = witness.exclusive(SHORT);
        witness.wait(&next, SHORT, |_| ()).await;
    }
}

/// A release of what this request was granted.
pub(super) fn ending(request: &AcquireRequest) -> ReleaseRequest {
    ReleaseRequest::new(&request.key, &request.owner, &request.id)
}

/// A new acquisition of the same owner.
pub(super) fn again(request: &AcquireRequest) -> AcquireRequest {
    let mut next = request.clone();
    next.id = LeaseId::random();
    next.seq = 1;
    next
}

/// The same acquisition, in a later attempt.
pub(super) fn retry(request: &AcquireRequest, seq: u64) -> AcquireRequest {
    let mut attempt = request.clone();
    attempt.seq = seq;
    attempt
}

/// A renewal by attempt `seq`.
pub(super) fn renewal(request: &AcquireRequest, grant: &Grant, seq: u64) -> RenewRequest {
    RenewRequest::new(request, grant.token, seq)
}

pub(super) fn fresh_key(case: &str) -> Key {
    valid(Key::new(format!(
        "conformance:{case}:{}",
        LeaseId::random()
    )))
}

/// A value that the suite itself chose rightly.
pub(super) fn valid<T>(made: Result<T, Error>) -> T {
    made.unwrap_or_else(|error| panic!("the suite is wrong: {error}"))
}

/// What the contract does not allow to fail.
pub(super) fn succeeded<T>(operation: &str, result: Result<T, Error>) -> T {
    result.unwrap_or_else(|error| panic!("{operation} must not fail: {error:?}"))
}

/// An attempt in a crowd: an error that says "again" is one more attempt.
pub(super) async fn persist(
    backend: &Arc<dyn Backend>,
    request: &AcquireRequest,
) -> AcquireOutcome {
    let mut attempt = request.clone();
    eventually(
        "an attempt succeeds",
        Duration::ZERO,
        async || match backend.acquire(&attempt).await {
            Ok(outcome) => Some(outcome),
            Err(error) if error.is_retryable() => {
                attempt.seq += 1;
                None
            }
            Err(error) => panic!("acquire must not fail: {error:?}"),
        },
    )
    .await
}

/// Looks until there is an answer: a condition is waited for, never a time.
pub(super) async fn eventually<T>(
    what: &str,
    bound: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let bound = bound + SLOW_MACHINE;
    let start = Instant::now();
    let mut pause = PAUSE;
    loop {
        if let Some(answer) = look().await {
            return answer;
        }
        let elapsed = start.elapsed();
        assert!(elapsed < bound, "waited {elapsed:?} in vain: {what}");
        tokio::time::sleep(pause).await;
        pause = (pause * 5 / 4).min(LONGEST_PAUSE);
    }
}

/// Strictly increasing, so all different.
pub(super) fn assert_grow(tokens: &[u64]) {
    let grows = tokens.is_sorted_by(|a, b| a < b);
    assert!(grows, "tokens must strictly increase: {tokens:?}");
}

pub(super) fn assert_all_differ<T: Ord + Debug>(mut values: Vec<T>, what: &str) {
    values.sort_unstable();
    let differ = values.is_sorted_by(|a, b| a < b);
    assert!(differ, "all {what} must differ: {values:?}");
}
