//! Waiters that are told of changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use doclock::{
    AcquireOutcome, AcquireRequest, Backend, Key, LockClient, LockRecord, MemoryBackend, Mode,
    ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest, Result, Wake, Wakes,
};
use tokio::time::Instant;

use crate::polling::crowds::{Log, waits};
use crate::{TTL, Virtual, pass, secs};

/// How long a request takes, and a change until it is told.
const WAY: Duration = Duration::from_millis(2);

/// A backend that tells of changes, and counts what it is asked.
#[derive(Clone, Debug)]
struct Telling {
    inner: MemoryBackend,
    /// One for each process.
    wakes: Vec<Wakes>,
    process: usize,
    asked: Arc<AtomicUsize>,
    released: Arc<AtomicUsize>,
    /// It says that it tells, and does not.
    mute: Arc<AtomicBool>,
}

impl Telling {
    /// As many processes as this, with one database.
    fn processes(count: usize) -> Vec<Self> {
        let first = Self {
            inner: MemoryBackend::with_clock(Arc::new(Virtual::begin())),
            wakes: (0..count).map(|_| Wakes::default()).collect(),
            process: 0,
            asked: Arc::default(),
            released: Arc::default(),
            mute: Arc::default(),
        };
        let process = |process| Self {
            process,
            ..first.clone()
        };
        (0..count).map(process).collect()
    }

    fn asked(&self) -> usize {
        self.asked.swap(0, Ordering::Relaxed)
    }

    fn tell(&self, key: &Key, news: fn(&Wakes, &Key)) {
        if self.mute.load(Ordering::Relaxed) {
            return;
        }
        let (wakes, key) = (self.wakes.clone(), key.clone());
        tokio::spawn(async move {
            pass(WAY).await;
            for wakes in &wakes {
                news(wakes, &key);
            }
        });
    }
}

#[async_trait]
impl Backend for Telling {
    async fn acquire(&self, request: &AcquireRequest) -> Result<AcquireOutcome> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        pass(WAY / 2).await;
        let outcome = self.inner.acquire(request).await?;
        // What is handed on within a process is no news to the others.
        if matches!(outcome, AcquireOutcome::Granted(_)) && request.replaces.is_none() {
            self.tell(&request.key, Wakes::granted);
        }
        pass(WAY / 2).await;
        Ok(outcome)
    }

    async fn renew(&self, request: &RenewRequest) -> Result<RenewOutcome> {
        self.inner.renew(request).await
    }

    async fn release(&self, request: &ReleaseRequest) -> Result<ReleaseOutcome> {
        self.released.fetch_add(1, Ordering::Relaxed);
        let outcome = self.inner.release(request).await?;
        self.tell(&request.key, Wakes::freed);
        Ok(outcome)
    }

    async fn inspect(&self, key: &Key) -> Result<Option<LockRecord>> {
        self.inner.inspect(key).await
    }

    async fn setup(&self) -> Result<()> {
        Ok(())
    }

    fn hands_over(&self) -> bool {
        true
    }

    fn watch(&self, key: &Key, mode: Mode, waits: bool) -> Option<Wake> {
        let wakes = &self.wakes[self.process];
        if !waits && !wakes.is_live() {
            return None;
        }
        let wake = wakes.watch(key, mode);
        if !wakes.is_live() {
            let wakes = wakes.clone();
            tokio::spawn(async move {
                pass(WAY).await;
                wakes.live();
            });
        }
        Some(wake)
    }
}

fn client(backend: &Telling) -> LockClient {
    crate::client(backend.clone())
}

#[tokio::test(start_paused = true)]
async fn a_release_is_told_and_nobody_polls() {
    let processes = Telling::processes(2);
    let [ours, theirs] = [0, 1].map(|process| client(&processes[process]));
    let held = theirs.lock("k").ttl(TTL).acquire().await.unwrap();
    processes[0].asked();
    let waiting = tokio::spawn(ours.lock("k").wait(secs(600)).acquire());
    pass(10 * WAY).await;
    // And once more when it can be told; before, it polls.
    assert!((2..=3).contains(&processes[0].asked()));
    pass(secs(2)).await;
    assert_eq!(processes[0].asked(), 0);
    held.release().await.unwrap();
    pass(4 * WAY).await;
    assert!(waiting.is_finished());
    assert_eq!(processes[0].asked(), 1);
    assert_eq!(processes[0].wakes[0].waiters(), 0);

    // From now on it is told from the start.
    waiting.await.unwrap().unwrap().release().await.unwrap();
    let held = theirs.lock("k").ttl(TTL).acquire().await.unwrap();
    processes[0].asked();
    let waiting = tokio::spawn(ours.lock("k").wait(secs(600)).acquire());
    pass(secs(2)).await;
    assert_eq!(processes[0].asked(), 1);
    waiting.abort();
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_told_is_found_all_the_same() {
    let process = &Telling::processes(1)[0];
    process.mute.store(true, Ordering::Relaxed);
    let theirs = crate::client(process.inner.clone());
    let held = theirs.lock("k").ttl(TTL).acquire().await.unwrap();
    let waiting = tokio::spawn(client(process).lock("k").wait(secs(600)).acquire());
    pass(secs(1)).await;
    held.release().await.unwrap();
    pass(secs(10)).await;
    assert!(waiting.is_finished());
}

/// The second of a process, for which the first asks.
#[tokio::test(start_paused = true)]
async fn everybodys_wait_ends_in_its_time() {
    let process = &Telling::processes(1)[0];
    let locks = client(process);
    let theirs = crate::client(process.inner.clone());
    let held = theirs.lock("k").ttl(TTL).acquire().await.unwrap();
    let first = tokio::spawn(locks.lock("k").wait(secs(600)).acquire());
    pass(secs(1)).await;
    let start = Instant::now();
    let second = locks.lock("k").wait(secs(3)).acquire().await;
    assert_eq!(second.unwrap_err().kind(), doclock::ErrorKind::WaitTimeout);
    assert_eq!(start.elapsed(), secs(3));
    assert_eq!(process.wakes[0].waiters(), 1);
    first.abort();
    let _ = first.await;
    assert_eq!(process.wakes[0].waiters(), 0);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_dead_holders_lock_is_asked_for_when_it_expires() {
    let process = &Telling::processes(1)[0];
    let ttl = secs(4);
    let theirs = crate::client(process.inner.clone());
    let dead = theirs.lock("k").ttl(ttl).manual_renewal();
    let dead = dead.acquire().await.unwrap();
    let start = Instant::now();
    let lock = client(process).lock("k").wait(secs(600));
    let lease = lock.acquire().await.unwrap();
    assert!(start.elapsed() <= ttl + 4 * WAY, "{:?}", start.elapsed());
    drop((dead, lease));
}

/// As many tasks in as many processes, each holding the lock for a moment again and again. How many requests that took, per
/// time that it was had, and how long each process was without it.
async fn crowd(processes: usize, tasks: usize, fair: bool) -> (f64, Vec<Duration>) {
    const SECTIONS: usize = 1_000;
    let processes = Telling::processes(processes);
    let left = Arc::new(AtomicUsize::new(SECTIONS));
    let log = Log::default();
    let start = Instant::now();
    let mut all = tokio::task::JoinSet::new();
    for process in &processes {
        let locks = client(process);
        for _ in 0..tasks {
            let (locks, left) = (locks.clone(), Arc::clone(&left));
            let (log, number) = (Arc::clone(&log), process.process);
            all.spawn(async move {
                let lock = || locks.lock("k").ttl(TTL).wait(secs(3600));
                while left.load(Ordering::Relaxed) > 0 {
                    let lock = if fair { lock().fair() } else { lock() };
                    let lease = lock.acquire().await.unwrap();
                    log.lock().unwrap().push((number, Instant::now()));
                    pass(WAY).await;
                    let less = |left: usize| Some(left.saturating_sub(1));
                    let _ = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
                    lease.release().await.unwrap();
                }
            });
        }
    }
    all.join_all().await;
    let had = SECTIONS + processes.len() * tasks - 1;
    let sent = processes[0].asked() + processes[0].released.load(Ordering::Relaxed);
    let sent = f64::from(u32::try_from(sent).unwrap()) / f64::from(u32::try_from(had).unwrap());
    let log = log.lock().unwrap();
    (sent, waits(processes.len(), &log, start, Instant::now()))
}

#[tokio::test(start_paused = true)]
async fn a_crowd_does_not_ask_as_one_and_takes_turns() {
    for (processes, tasks, fair, most) in [
        (1, 16, false, 1.1),
        (4, 4, false, 1.3),
        (4, 16, false, 1.3),
        (8, 32, false, 1.3),
        // Into the queue, and out of it.
        (16, 1, false, 3.2),
        (4, 4, true, 3.2),
        (1, 64, true, 3.2),
    ] {
        let (sent, waits) = crowd(processes, tasks, fair).await;
        let (median, longest) = (waits[waits.len() / 2], waits[waits.len() - 1]);
        println!(
            "{processes} x {tasks}, fair {fair}: {sent:.2}; a process without it {median:?}, at most {longest:?}"
        );
        assert!(
            sent <= most,
            "{processes} x {tasks}, fair {fair}: {sent:.2}"
        );
        assert!(
            longest <= 3 * median,
            "{processes} x {tasks}, fair {fair}: {longest:?}"
        );
    }
}
