//! Many at once: threads with runtimes and handles of their own, as processes would have.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use futures_util::future::join_all;

use super::scene::{LONG, SHORT, Scene, assert_grow, eventually, persist, succeeded};
use super::{Fixture, Omission};
use crate::{AcquireOutcome, AcquireRequest, Backend, Key, LeaseId, LockRecord, Mode, Ttl};

/// How many threads there are, and how many tasks on each.
const THREADS: usize = 4;
const TASKS: usize = 5;
const ROUNDS: usize = 10;

/// **Atomic**: of 20 that create one record, one is granted, and the others are refused.
pub async fn one_of_many_gets_an_absent_key(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "race-absent").await;
    let scenes: Vec<_> = (0..ROUNDS).map(|_| scene.beside("race-absent")).collect();
    one_wins_each(&scenes).await;
}

/// **Atomic**: of 20 that want one free key, one is granted, and the others are refused.
pub async fn one_of_many_gets_a_free_key(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "race-free").await;
    let scenes: Vec<_> = (0..ROUNDS).map(|_| scene.beside("race-free")).collect();
    for scene in &scenes {
        let request = scene.exclusive(LONG);
        scene.granted(&request).await;
        scene.released(&request).await;
    }
    one_wins_each(&scenes).await;
}

/// **Atomic**: of 20 that find a dead holder, one evicts it, and the others do not evict that one.
pub async fn one_of_many_gets_an_expired_key(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "race-expired").await;
    let scenes: Vec<_> = (0..ROUNDS).map(|_| scene.beside("race-expired")).collect();
    for scene in &scenes {
        scene.granted(&scene.exclusive(SHORT)).await;
    }
    if let Some(last) = scenes.last() {
        last.all_expired().await;
    }
    one_wins_each(&scenes).await;
}

/// All tasks go from key to key, and each tries to get each key.
async fn one_wins_each(scenes: &[Scene<'_>]) {
    let [first, ..] = scenes else { return };
    let mut before = Vec::new();
    for scene in scenes {
        before.push((scene.key.clone(), scene.inspect().await));
    }
    let runners = on_threads(first.fixture, async |backend| {
        let runner = async || {
            let mut tries = Vec::new();
            for (key, record) in &before {
                tries.push(race(&backend, key, record.as_ref()).await);
            }
            tries
        };
        join_all((0..TASKS).map(|_| runner())).await
    });
    let runners: Vec<_> = runners.into_iter().flatten().collect();
    for (round, (scene, (_, before))) in scenes.iter().zip(&before).enumerate() {
        let winners = runners.iter().filter_map(|tries| tries[round].as_ref());
        let winners: Vec<_> = winners.collect();
        if winners.is_empty() && scene.is_without(Omission::FirstTry) {
            // Nobody keeps anything, then.
            scene.granted(&scene.exclusive(LONG)).await;
            continue;
        }
        let [(token, id)] = winners.as_slice() else {
            panic!("one must win, not {winners:?}: {before:?}");
        };
        if let Some(before) = before {
            assert_grow(&[before.token, *token]);
        }
        let record = scene.record().await;
        assert!(record.holder(id).is_some(), "{id} won: {record:?}");
        assert_eq!(record.holders.len(), 1, "{record:?}");
    }
}

/// One try, repeated only while a dead holder of `before` still counts as live on this handle's idea of the time.
async fn race(
    backend: &Arc<dyn Backend>,
    key: &Key,
    before: Option<&LockRecord>,
) -> Option<(u64, LeaseId)> {
    let mut request = exclusive(key);
    eventually("a dead holder is evicted", LONG, async || {
        request.seq += 1;
        match persist(backend, &request).await {
            AcquireOutcome::Granted(grant) => Some(Some((grant.token, request.id.clone()))),
            AcquireOutcome::Held(refusal) => {
                let mut shown = refusal
                    .occupants
                    .into_iter()
                    .filter_map(|shown| shown.claimant);
                let dead = shown.any(|of| before.is_some_and(|old| old.holder(&of.id).is_some()));
                (!dead).then_some(None)
            }
            other => panic!("a try must not end so: {other:?}"),
        }
    })
    .await
}

/// **Atomic**: a counter that is read, left alone for a while and written, under the lock, loses nothing; and the
/// tokens of those who write it increase.
pub async fn increments_under_the_lock_lose_nothing(fixture: &dyn Fixture) {
    const EACH: u64 = 5;
    let scene = Scene::open(fixture, "counter").await;
    let (counter, newest) = (AtomicU64::new(0), AtomicU64::new(0));
    on_threads(fixture, async |backend| {
        let runner = async || {
            for _ in 0..EACH {
                let request = exclusive(&scene.key);
                let token = hold(&backend, &request).await;
                let last = newest.swap(token, Ordering::SeqCst);
                assert_grow(&[last, token]);
                let read = counter.load(Ordering::SeqCst);
                // Time for whoever holds as well.
                succeeded("inspect", backend.inspect(&scene.key).await);
                tokio::task::yield_now().await;
                counter.store(read + 1, Ordering::SeqCst);
                let_go(&backend, &request).await;
            }
        };
        join_all((0..TASKS).map(|_| runner())).await;
    });
    let wanted = EACH * (THREADS * TASKS) as u64;
    assert_eq!(counter.into_inner(), wanted, "an increment was lost");
}

/// **Atomic**: with many that come and go, there are never more permits than the limit says.
pub async fn permits_never_exceed_their_limit(fixture: &dyn Fixture) {
    const LIMIT: u32 = 3;
    let scene = Scene::open(fixture, "race-permits").await;
    let inside = AtomicU64::new(0);
    on_threads(fixture, async |backend| {
        let runner = async || {
            for _ in 0..3 {
                let mut request = exclusive(&scene.key);
                request.mode = Mode::Permit { limit: LIMIT };
                hold(&backend, &request).await;
                let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                assert!(now <= u64::from(LIMIT), "{now} permits at once");
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
                let_go(&backend, &request).await;
            }
        };
        join_all((0..TASKS).map(|_| runner())).await;
    });
    assert!(scene.record().await.holders.is_empty());
}

/// **Atomic**: with many that come and go, an exclusive holder is alone.
pub async fn an_exclusive_lock_never_meets_a_sharer(fixture: &dyn Fixture) {
    /// An exclusive holder counts as this many sharers.
    const WRITER: u64 = 1000;
    let scene = Scene::open(fixture, "race-modes").await;
    let inside = AtomicU64::new(0);
    on_threads(fixture, async |backend| {
        let runner = async |task: usize| {
            for round in 0..3 {
                let mut request = exclusive(&scene.key);
                let mut weight = WRITER;
                if !(task + round).is_multiple_of(3) {
                    (request.mode, weight) = (Mode::Shared, 1);
                }
                hold(&backend, &request).await;
                let others = inside.fetch_add(weight, Ordering::SeqCst);
                let alone = if weight == 1 {
                    others < WRITER
                } else {
                    others == 0
                };
                assert!(alone, "{:?} beside {others}", request.mode);
                tokio::task::yield_now().await;
                inside.fetch_sub(weight, Ordering::SeqCst);
                let_go(&backend, &request).await;
            }
        };
        join_all((0..TASKS).map(runner)).await;
    });
}

fn exclusive(key: &Key) -> AcquireRequest {
    let ttl = super::scene::valid(Ttl::new(LONG));
    AcquireRequest::new(key, &crate::Owner::random(), Mode::Exclusive, ttl)
}

/// Waits for the lock by polling, as a client does.
async fn hold(backend: &Arc<dyn Backend>, request: &AcquireRequest) -> u64 {
    let mut attempt = request.clone();
    eventually("the lock comes round", 2 * LONG, async || {
        attempt.seq += 1;
        match persist(backend, &attempt).await {
            AcquireOutcome::Granted(grant) => Some(grant.token),
            AcquireOutcome::Held(_) => {
                attempt.waiting = true;
                None
            }
            other => panic!("who does not queue must not end so: {other:?}"),
        }
    })
    .await
}

async fn let_go(backend: &Arc<dyn Backend>, request: &AcquireRequest) {
    eventually(
        "the release succeeds",
        Duration::ZERO,
        async || match backend.release(&super::scene::ending(request)).await {
            Ok(outcome) => {
                assert_eq!(outcome, crate::ReleaseOutcome::Released);
                Some(())
            }
            Err(error) if error.is_retryable() => None,
            Err(error) => panic!("release must not fail: {error:?}"),
        },
    )
    .await;
}

/// Runs `work` on several threads, each with a runtime and a handle of its own. They start together.
fn on_threads<T: Send>(
    fixture: &dyn Fixture,
    work: impl AsyncFn(Arc<dyn Backend>) -> T + Sync,
) -> Vec<T> {
    let ready = AtomicUsize::new(0);
    let thread = async || {
        let backend = fixture.connect().await;
        ready.fetch_add(1, Ordering::SeqCst);
        eventually("all threads are ready", LONG, async || {
            (ready.load(Ordering::SeqCst) == THREADS).then_some(())
        })
        .await;
        work(backend).await
    };
    let run = || super::__run("a thread", thread());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(run)).collect();
        let results = threads.into_iter().map(ScopedJoinHandle::join);
        results
            .map(|result| result.unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}
