//! Processes whose tasks hold the lock for a moment, again and again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use doclock::{AcquireOutcome, AcquireRequest, Backend, Key, Mode, Owner, ReleaseRequest, Ttl};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Polled, millis};
use crate::{TTL, pass, secs};

const HOLD: Duration = millis(20);

/// What a crowd did in its time.
struct Crowd {
    sections: f64,
    writes: f64,
    reads: f64,
    /// How long each process was without the lock while others had it.
    waits: Vec<Duration>,
}

impl Crowd {
    fn median(&self) -> Duration {
        self.waits[self.waits.len() / 2]
    }

    fn longest(&self) -> Duration {
        self.waits[self.waits.len() - 1]
    }
}

/// The process and the time of each section.
type Log = Arc<Mutex<Vec<(usize, Instant)>>>;

async fn crowd(processes: usize, tasks: usize, fair: bool, time: Duration) -> Crowd {
    let backend = Polled::new();
    let log = Log::default();
    let start = Instant::now();
    let mut all = JoinSet::new();
    for process in 0..processes {
        let locks = backend.client();
        for _ in 0..tasks {
            let (locks, log) = (locks.clone(), Arc::clone(&log));
            all.spawn(async move {
                while start.elapsed() < time {
                    let lock = locks.lock("k").ttl(TTL).wait(secs(3600));
                    let lock = if fair { lock.fair() } else { lock };
                    let lease = lock.acquire().await.unwrap();
                    log.lock().unwrap().push((process, Instant::now()));
                    pass(HOLD).await;
                    lease.release().await.unwrap();
                }
            });
        }
    }
    pass(time).await;
    let (writes, reads) = (backend.writes(), backend.reads());
    let log = log.lock().unwrap().clone();
    let number = |count: usize| f64::from(u32::try_from(count).unwrap());
    let sections = number(log.len());
    Crowd {
        sections,
        writes: number(writes) / sections,
        reads: number(reads) / sections,
        waits: waits(processes, &log, start, start + time),
    }
}

fn waits(
    processes: usize,
    log: &[(usize, Instant)],
    start: Instant,
    end: Instant,
) -> Vec<Duration> {
    let mut waits = Vec::new();
    for process in 0..processes {
        // Since its last section, if that was not the one before.
        let mut last = start;
        let mut others = true;
        for (of, when) in log {
            if *of == process {
                if others {
                    waits.push(*when - last);
                }
                (last, others) = (*when, false);
            } else {
                others = true;
            }
        }
        waits.push(end - last);
    }
    waits.sort_unstable();
    waits
}

/// As many tasks, each of which asks every 20 ms without looking first.
async fn plain(tasks: usize, time: Duration) -> f64 {
    let backend = Polled::new();
    let start = Instant::now();
    let done = Arc::new(Mutex::new(0.0));
    let mut all = JoinSet::new();
    for _ in 0..tasks {
        let (backend, done) = (backend.clone(), Arc::clone(&done));
        all.spawn(async move {
            let key = Key::new("k").unwrap();
            pass(HOLD.mul_f64(fastrand::f64())).await;
            while start.elapsed() < time {
                let ttl = Ttl::new(TTL).unwrap();
                let request = AcquireRequest::new(&key, &Owner::random(), Mode::Exclusive, ttl);
                let outcome = backend.acquire(&request).await.unwrap();
                if matches!(outcome, AcquireOutcome::Granted(_)) {
                    *done.lock().unwrap() += 1.0;
                    pass(HOLD).await;
                    let release = ReleaseRequest::new(&key, &request.owner, &request.id);
                    backend.release(&release).await.unwrap();
                } else {
                    pass(millis(20)).await;
                }
            }
        });
    }
    pass(time).await;
    let done = *done.lock().unwrap();
    done
}

#[tokio::test(start_paused = true)]
async fn no_process_waits_for_long() {
    let time = secs(60);
    for (processes, tasks, fair) in [
        (4, 4, false),
        (4, 16, false),
        (8, 32, false),
        (1, 4, false),
        (2, 1, false),
        (4, 1, false),
        (16, 1, false),
        (4, 1, true),
        (16, 1, true),
        (64, 1, true),
    ] {
        let plain = plain(processes * tasks, time).await;
        for _ in 0..2 {
            let crowd = crowd(processes, tasks, fair, time).await;
            println!(
                "{processes} x {tasks} {fair}: {} sections, plain {plain}, writes {:.2}, reads {:.2}, median {:?}, longest {:?}",
                crowd.sections,
                crowd.writes,
                crowd.reads,
                crowd.median(),
                crowd.longest()
            );
        }
    }
}
