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
pub(crate) type Log = Arc<Mutex<Vec<(usize, Instant)>>>;

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

/// How long each process was without the lock while others had it.
pub(crate) fn waits(
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
    *done.lock().unwrap()
}

fn told(name: &str, crowd: &Crowd) {
    println!(
        "{name}: {} sections, {:.2} writes and {:.2} reads each; a process without it {:?}, at most {:?}",
        crowd.sections,
        crowd.writes,
        crowd.reads,
        crowd.median(),
        crowd.longest(),
    );
}

#[tokio::test(start_paused = true)]
async fn processes_with_many_tasks_take_turns() {
    let time = secs(20);
    let plain = plain(16, time).await;
    println!("plain loops of 16 tasks: {plain} sections");
    let mut writes = Vec::new();
    for (processes, tasks) in [(4, 4), (4, 16), (8, 32)] {
        let name = format!("{processes} x {tasks}");
        let crowd = crowd(processes, tasks, false, time).await;
        told(&name, &crowd);
        assert!(crowd.longest() <= 2 * crowd.median(), "{name}");
        assert!(crowd.sections >= 0.88 * plain, "{name}");
        assert!(crowd.writes <= 1.4, "{name}: {:.2}", crowd.writes);
        writes.push(crowd.writes);
    }
    assert!(
        writes.iter().all(|each| *each <= 1.2 * writes[0]),
        "{writes:?}"
    );
}

/// Each of the others takes the lock again before anybody could see it free.
#[tokio::test(start_paused = true)]
async fn nobody_is_passed_for_ever() {
    for processes in [2, 4, 16] {
        let crowd = crowd(processes, 1, false, secs(20)).await;
        told(&format!("{processes} x 1"), &crowd);
        assert!(
            crowd.longest() <= secs(3),
            "{processes}: {:?}",
            crowd.longest()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_moves_on_about_as_fast_as_the_holds_are_short() {
    for (processes, most_reads) in [(4, 4.5), (16, 7.0), (64, 14.0)] {
        let time = secs(20);
        let crowd = crowd(processes, 1, true, time).await;
        told(&format!("fair {processes} x 1"), &crowd);
        // A hold, a release, a look and a claim, and half as much again.
        let each = time.as_secs_f64() / crowd.sections;
        assert!(each <= 0.045, "{processes}: {each:.3} s");
        assert!(crowd.reads <= most_reads, "{processes}: {:.2}", crowd.reads);
        assert!(crowd.longest() <= crowd.median() * 3 / 2, "{processes}");
    }
}
