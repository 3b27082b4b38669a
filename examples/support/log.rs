//! Lines of what happens, as it happens.

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// Prints each event with its time and whose it is. A clock runs below, as long as this is a terminal.
pub(crate) struct Log {
    since: Instant,
    clock: ProgressBar,
}

impl Log {
    pub(crate) fn start() -> Result<Self> {
        let clock = ProgressBar::new_spinner();
        clock.set_style(ProgressStyle::with_template("{elapsed:>7} {spinner}")?);
        clock.enable_steady_tick(Duration::from_millis(100));
        let since = Instant::now();
        Ok(Self { since, clock })
    }

    pub(crate) fn event(&self, who: &str, what: &str) {
        let seconds = self.since.elapsed().as_secs_f64();
        self.clock
            .suspend(|| println!("{seconds:5.1} s  {who:10}  {what}"));
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.clock.finish_and_clear();
    }
}
