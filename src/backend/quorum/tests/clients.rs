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

#[tokio::test(start_paused = true)]
async fn a_client_is_told_what_a_quorum_does_not_offer() {
    let locks = LockClient::new(Scene::of(3).quorum);
    let refused = [
        locks.semaphore("k", 2).acquire().await.unwrap_err(),
        locks.lock("k").fair().acquire().await.unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    let lease = locks.shared("k").acquire().await.unwrap();
    let error = lease.try_upgrade().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}
