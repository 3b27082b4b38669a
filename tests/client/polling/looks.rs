//! One that waits for one that holds.

use std::time::Duration;

use tokio::time::Instant;

use super::{Polled, WAY, millis};
use crate::{TTL, pass, secs};

const ROUNDS: u32 = 200;

/// What waiting costs, and how late a release is noticed.
struct Waited {
    /// In all, for one waiter.
    reads: f64,
    /// From the release to the grant.
    delay: Duration,
}

async fn waited(held: Duration, fair: bool) -> Waited {
    let (mut reads, mut delays) = (0, Vec::new());
    for _ in 0..ROUNDS {
        let backend = Polled::new();
        let lease = backend.client().lock("k").ttl(TTL).acquire().await.unwrap();
        let lock = backend.client().lock("k").ttl(TTL).wait(secs(3600));
        let lock = if fair { lock.fair() } else { lock };
        let waiting = tokio::spawn(async move {
            let lease = lock.acquire().await.unwrap();
            (Instant::now(), lease)
        });
        pass(held).await;
        reads += backend.reads();
        lease.release().await.unwrap();
        let released = Instant::now();
        let (granted, _lease) = waiting.await.unwrap();
        delays.push(granted - released);
    }
    delays.sort_unstable();
    Waited {
        reads: f64::from(u32::try_from(reads).unwrap()) / f64::from(ROUNDS),
        delay: delays[delays.len() / 2],
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_is_noticed_within_a_tenth_of_the_wait() {
    println!("| waited | reads per waiter-second | median delay | fair |");
    for fair in [false, true] {
        for held in [
            millis(100),
            millis(300),
            secs(1),
            secs(3),
            secs(10),
            secs(60),
        ] {
            let Waited { reads, delay } = waited(held, fair).await;
            let rate = reads / held.as_secs_f64();
            println!("| {held:?} | {rate:.1} ({reads:.0}) | {delay:?} | {fair} | {WAY:?}");
        }
    }
}
