//! A clock that does not see the process stopped.

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
pub struct Dozing(Arc<Mutex<Moment>>);

impl Dozing {
    pub fn start() -> Self {
        let start = SystemClock.now();
        let shown = Arc::new(Mutex::new(start));
        let clock = Self(Arc::clone(&shown));
        thread::spawn(move || {
            let mut last = start;
            loop {
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
}

impl Clock for Dozing {
    fn now(&self) -> Moment {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
