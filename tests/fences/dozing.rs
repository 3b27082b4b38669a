//! A clock that does not see the process stopped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use doclock::{Clock, Moment, SystemClock};

const TICK: Duration = Duration::from_millis(5);
/// What a tick may take on a busy machine; more was a stop.
const LONGEST: Duration = Duration::from_millis(100);

/// Both its halves stand still while the process does, as those of a machine that is suspended: a lease believes that it
/// is held when it has long been taken over.
#[derive(Debug)]
pub struct Dozing {
    shown: Arc<Mutex<Moment>>,
    ended: Arc<AtomicBool>,
}

impl Dozing {
    pub fn start() -> Self {
        let start = SystemClock.now();
        let shown = Arc::new(Mutex::new(start));
        let ended = Arc::new(AtomicBool::new(false));
        let clock = Self {
            shown: Arc::clone(&shown),
            ended: Arc::clone(&ended),
        };
        thread::spawn(move || {
            let mut last = start;
            while !ended.load(Ordering::SeqCst) {
                thread::sleep(TICK);
                let now = SystemClock.now();
                let passed = now.at_least_since(last).min(LONGEST);
                last = now;
                let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
                shown.monotonic += passed;
                shown.wall = start.wall.saturating_add(shown.monotonic - start.monotonic);
            }
        });
        clock
    }

    /// No time passes any more, however long the rest takes.
    pub fn stand_still(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }
}

impl Clock for Dozing {
    fn now(&self) -> Moment {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
