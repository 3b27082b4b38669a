//! Calls whose future is dropped half-way.

use std::pin::pin;
use std::task::Poll;

use futures_util::future::poll_fn;

use super::Fixture;
use super::scene::{LONG, SHORT, Scene, ending, eventually, renewal, retry};
use crate::RenewRequest;

/// How many times a future is dropped, each time a poll later.
const DROPS: usize = 8;

/// **Cancel safe**: a dropped acquire is done or not done, as a lost answer would leave it: it holds for one ttl at
/// most, and a later attempt of it finds out.
pub async fn a_dropped_acquire_holds_for_one_ttl_at_most(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "drop").await;
    for polls in 1..=DROPS {
        let request = scene.exclusive(SHORT);
        drop_after(polls, scene.backend.acquire(&request)).await;
    }
    let next = scene.exclusive(LONG);
    scene.wait(&next, SHORT, |_| ()).await;

    for polls in 1..=DROPS {
        let scene = scene.beside("drop-retry");
        let request = scene.exclusive(LONG);
        drop_after(polls, scene.backend.acquire(&request)).await;
        // What was dropped may land before this one or after it: they are one acquisition.
        let grant = scene.granted(&retry(&request, 2)).await;
        scene.renewed(&renewal(&request, &grant, 3)).await;
        let record = scene.record().await;
        assert_eq!(record.token, grant.token, "{record:?}");
        assert_eq!(record.holders.len(), 1, "{record:?}");
        scene.released(&request).await;
    }
}

/// **Cancel safe**: a dropped renewal may be followed by the next.
pub async fn a_dropped_renewal_can_be_repeated(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "drop-renew").await;
    let request = scene.exclusive(LONG);
    let grant = scene.granted(&request).await;
    let mut seq = request.seq;
    for polls in 1..=DROPS {
        seq += 2;
        let dropped: RenewRequest = renewal(&request, &grant, seq - 1);
        drop_after(polls, scene.backend.renew(&dropped)).await;
        let validity = scene.renewed(&renewal(&request, &grant, seq)).await;
        assert_eq!(validity.seq, seq, "{validity:?}");
    }
    assert_eq!(scene.holder(&request).await.seq, seq);
}

/// **Cancel safe**: a dropped release may be sent again.
pub async fn a_dropped_release_can_be_repeated(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "drop-release").await;
    for polls in 1..=DROPS {
        let request = scene.exclusive(LONG);
        scene.granted(&request).await;
        drop_after(polls, scene.backend.release(&ending(&request))).await;
        scene.released(&request).await;
        eventually("the key is free", fixture.uncertainty(), async || {
            scene.record().await.holders.is_empty().then_some(())
        })
        .await;
    }
}

/// Drops the future when it was pending this many times, or when it is done.
async fn drop_after<T>(polls: usize, future: impl Future<Output = T>) {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 || future.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        left -= 1;
        if left == 0 {
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
}
