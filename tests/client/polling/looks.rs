//! One that waits, and those that hold before it.

use std::time::Duration;

use doclock::{
    AcquireOutcome, AcquireRequest, Backend, Key, Lease, Mode, Owner, ReleaseRequest, Ttl,
};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::{Polled, WAY, millis};
use crate::{TTL, pass, secs};

/// So many that a median is far from its bound by more than luck; what takes long is far from it anyhow.
fn rounds(holds: &[Duration]) -> u32 {
    let short = holds.iter().sum::<Duration>() < secs(5);
    if short { 500 } else { 100 }
}

/// Between processes that is about what a look and a write take, on a busy server.
const FLOOR: Duration = millis(20);

/// What waiting costs, and how late its end is noticed.
struct Waited {
    /// For one waiter, until the release.
    reads: f64,
    /// From the release to the grant, as often later as earlier.
    delay: Duration,
}

async fn waited(holds: &[Duration], fair: bool) -> Waited {
    let (mut reads, mut delays) = (0, Vec::new());
    let rounds = rounds(holds);
    for _ in 0..rounds {
        let backend = Polled::new();
        let mut holder = Holder::take(&backend).await;
        let waiting = waits(&backend, fair);
        for (turn, hold) in holds.iter().enumerate() {
            if turn > 0 {
                // So that there is no instant at which somebody else could have it.
                holder.leave().await;
                holder = Holder::take(&backend).await;
            }
            pass(*hold).await;
        }
        reads += backend.reads();
        holder.leave().await;
        let released = Instant::now();
        let (granted, _lease) = waiting.await.unwrap();
        delays.push(granted - released);
    }
    delays.sort_unstable();
    Waited {
        reads: f64::from(u32::try_from(reads).unwrap()) / f64::from(rounds),
        delay: delays[delays.len() / 2],
    }
}

/// Somebody whose own requests take no time.
struct Holder {
    backend: Polled,
    request: AcquireRequest,
}

impl Holder {
    async fn take(backend: &Polled) -> Self {
        let (key, ttl) = (Key::new("k").unwrap(), Ttl::new(secs(300)).unwrap());
        let request = AcquireRequest::new(&key, &Owner::random(), Mode::Exclusive, ttl);
        let outcome = backend.inner.acquire(&request).await.unwrap();
        assert!(matches!(outcome, AcquireOutcome::Granted(_)));
        Self {
            backend: backend.clone(),
            request,
        }
    }

    async fn leave(self) {
        let request = self.request;
        let release = ReleaseRequest::new(&request.key, &request.owner, &request.id);
        self.backend.inner.release(&release).await.unwrap();
    }
}

/// When it got the lock.
fn waits(backend: &Polled, fair: bool) -> JoinHandle<(Instant, Lease)> {
    let lock = backend.client().lock("k").ttl(TTL).wait(secs(3600));
    let lock = if fair { lock.fair() } else { lock };
    tokio::spawn(async move {
        let lease = lock.acquire().await.unwrap();
        (Instant::now(), lease)
    })
}

/// The table of the documentation.
#[tokio::test(start_paused = true)]
async fn a_release_is_noticed_within_a_tenth_of_the_wait() {
    println!("| waited | reads | reads per waiter-second | median delay | in the queue |");
    for (held, most) in [
        (millis(100), 7),
        (millis(300), 15),
        (secs(1), 26),
        (secs(3), 35),
        (secs(10), 47),
        (secs(60), 115),
    ] {
        for fair in [false, true] {
            let Waited { reads, delay } = waited(&[held], fair).await;
            let rate = reads / held.as_secs_f64();
            println!("| {held:?} | {reads:.0} | {rate:.1} | {delay:?} | {fair} |");
            assert!(delay <= (held / 10).max(FLOOR), "{delay:?} after {held:?}");
            assert!(reads <= f64::from(most), "{reads} reads in {held:?}");
        }
    }
}

/// However wrong it is what those before let it expect.
#[tokio::test(start_paused = true)]
async fn a_release_that_was_not_expected_is_noticed_as_soon() {
    let (short, long) = (millis(50), secs(2));
    for holds in [
        [short, short, short, long],
        [long, long, long, short],
        [long, short, long, long / 2],
        [short, long, short, long * 3],
    ] {
        let Waited { delay, .. } = waited(&holds, false).await;
        let all: Duration = holds.iter().sum();
        assert!(delay <= (all / 10).max(FLOOR), "{delay:?} after {holds:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_that_is_expected_is_noticed_sooner() {
    let Waited { reads, delay } = waited(&[secs(1); 5], false).await;
    println!("{delay:?} after 5 holds of a second, {reads:.0} reads");
    assert!(delay <= millis(150), "{delay:?}");
    assert!(reads <= 60.0, "{reads}");
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_asked_for_when_it_expires() {
    for fair in [false, true] {
        let backend = Polled::new();
        let ttl = secs(20);
        let dead = backend.client().lock("k").ttl(ttl).manual_renewal();
        let dead = dead.acquire().await.unwrap();
        let start = Instant::now();
        let (granted, _lease) = waits(&backend, fair).await.unwrap();
        let late = (granted - start).saturating_sub(ttl);
        assert!(late <= 3 * WAY, "{late:?}");
        drop(dead);
    }
}

/// As many processes that all began at once.
#[tokio::test(start_paused = true)]
async fn a_thousand_do_not_look_as_one() {
    const PROCESSES: u32 = 1000;
    const STEP: Duration = millis(10);
    let backend = Polled::new();
    let holder = Holder::take(&backend).await;
    let mut all = JoinSet::new();
    for _ in 0..PROCESSES {
        let lock = backend.client().lock("k").ttl(TTL).wait(secs(3600));
        all.spawn(async move { lock.acquire().await });
    }
    let mut total = Vec::new();
    for second in 0..12 {
        let mut looks = Vec::new();
        for _ in 0..100 {
            pass(STEP).await;
            looks.push(u32::try_from(backend.reads()).unwrap());
        }
        let (sum, peak) = (looks.iter().sum::<u32>(), looks.iter().max());
        println!("second {second}: {sum} looks, at most {peak:?} in {STEP:?}");
        if second == 0 {
            // They all began in the same instant.
            assert!(peak <= Some(&(PROCESSES * 7 / 10)), "{peak:?}");
        } else {
            assert!(
                peak <= Some(&(sum / 100 * 2 + 20)),
                "{second}: {peak:?} of {sum}"
            );
        }
        total.push(sum);
    }
    assert!(total[0] <= 25 * PROCESSES, "{total:?}");
    assert!(total[1] <= 8 * PROCESSES, "{total:?}");
    assert!(
        total[8..].iter().all(|sum| *sum <= PROCESSES * 3 / 2),
        "{total:?}"
    );
    drop(all);
    holder.leave().await;
}
