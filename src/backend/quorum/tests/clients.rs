//! Whole clients on a quorum.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;

use super::*;
use crate::LockClient;

/// A counter that is read, left alone for a while and written under the lock loses nothing, and the tokens grow.
#[tokio::test(start_paused = true)]
async fn clients_take_turns_while_members_come_and_go() {
    const CLIENTS: u64 = 6;
    const ROUNDS: u64 = 10;
    let scene = Scene::of(5);
    let (counter, newest) = (AtomicU64::new(0), AtomicU64::new(0));
    let client = async || {
        let locks = LockClient::new(scene.other());
        for _ in 0..ROUNDS {
            let lock = locks.lock("counter").ttl(TTL).wait(Duration::from_hours(1));
            let lease = lock.acquire().await.unwrap();
            let last = newest.swap(lease.token(), Ordering::SeqCst);
            assert!(lease.token() > last, "{} after {last}", lease.token());
            let read = counter.load(Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(700)).await;
            assert!(lease.is_held());
            counter.store(read + 1, Ordering::SeqCst);
            lease.release().await.unwrap();
        }
    };
    let faults = [
        Fault::Down,
        Fault::Silent,
        Fault::Mute,
        Fault::Late(Duration::from_millis(1400)),
    ];
    let weather = async {
        for turn in 0_usize.. {
            let away = [turn % 5, turn / 2 % 5];
            scene.only(&away, faults[turn % faults.len()]);
            tokio::time::sleep(Duration::from_millis(2300)).await;
        }
    };
    tokio::select! {
        _ = join_all((0..CLIENTS).map(|_| client())) => {}
        () = weather => {}
    }
    assert_eq!(
        counter.into_inner(),
        CLIENTS * ROUNDS,
        "an increment was lost"
    );
}

/// A candidate that failed had a vote, and a token with it.
#[tokio::test(start_paused = true)]
async fn all_are_told_the_leaders_own_term() {
    let scene = Scene::of(3);
    scene.only(&[2], Fault::Down);
    let leader = LockClient::new(scene.other());
    let leadership = leader.election("k").campaign().await.unwrap();
    scene.only(&[], Fault::Down);
    let candidate = LockClient::new(scene.other());
    for _ in 0..3 {
        let elected = candidate.election("k").try_campaign().await.unwrap();
        assert!(elected.is_none(), "{elected:?}");
    }
    settle().await;
    let key = Key::new("k").unwrap();
    let record = scene.members[2].inner().inspect(&key).await.unwrap();
    assert!(record.unwrap().token > leadership.term());
    let seen = candidate.election("k").leader().await.unwrap().unwrap();
    assert_eq!(seen.term, leadership.term());
}

/// Nor does a reader that failed make it a lock for readers.
#[tokio::test(start_paused = true)]
async fn a_look_shows_the_holders_own_mode() {
    let scene = Scene::of(3);
    scene.only(&[2], Fault::Down);
    let mine = exclusive();
    granted(&scene.quorum, &mine).await;
    scene.only(&[], Fault::Down);
    for _ in 0..3 {
        let outcome = scene.other().acquire(&request(Mode::Shared)).await.unwrap();
        assert!(matches!(outcome, AcquireOutcome::Held(_)), "{outcome:?}");
    }
    settle().await;
    let seen = scene.quorum.inspect(&mine.key).await.unwrap().unwrap();
    assert_eq!(seen.mode, Mode::Exclusive);
    assert_eq!(seen.holders.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_set_of_keys_is_locked_on_a_quorum() {
    let scene = Scene::of(3);
    let locks = LockClient::new(scene.other());
    let leases = locks.all(["a", "b"]).acquire().await.unwrap();
    let others = LockClient::new(scene.other());
    let held = others.lock("b").try_acquire().await.unwrap();
    assert!(held.is_none(), "{held:?}");
    leases.release().await.unwrap();
    let free = others.lock("b").try_acquire().await.unwrap();
    free.unwrap().release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_is_told_what_a_quorum_does_not_offer() {
    let locks = LockClient::new(Scene::of(3).quorum);
    let refused = [
        locks.semaphore("k", 2).acquire().await.unwrap_err(),
        locks.lock("k").fair().acquire().await.unwrap_err(),
        locks.election("k").fair().campaign().await.unwrap_err(),
        once(&locks).await,
        job(&locks).await,
    ];
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    let lease = locks.shared("k").acquire().await.unwrap();
    let error = lease.try_upgrade().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}

async fn once(locks: &LockClient) -> Error {
    let once = locks.once("k");
    once.run(async |_| Ok::<_, String>(())).await.unwrap_err()
}

async fn job(locks: &LockClient) -> Error {
    let hourly = locks.lock("k").once_per(Duration::from_hours(1));
    let run = hourly.run(async |_| Ok::<_, String>(())).await;
    run.unwrap_err()
}
