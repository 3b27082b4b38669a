//! Two clocks, and what was measured by them.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use nix::time::{ClockId, clock_gettime};
use tokio::runtime;
use tokio::task::spawn_blocking;

/// A clock of the kernel's.
#[derive(Clone, Copy)]
pub(crate) struct Clock(ClockId);

impl Clock {
    /// The same for all processes of a machine.
    pub(crate) const WALL: Self = Self(ClockId::CLOCK_MONOTONIC);
    /// The processor's time that went into this process.
    pub(crate) const PROCESS: Self = Self(ClockId::CLOCK_PROCESS_CPUTIME_ID);
    /// The processor's time that went into this thread.
    pub(crate) const THREAD: Self = Self(ClockId::CLOCK_THREAD_CPUTIME_ID);

    pub(crate) fn now(self) -> Result<Duration> {
        Ok(clock_gettime(self.0)?.into())
    }
}

/// How long something took, many times.
pub(crate) struct Times(Histogram<u64>);

impl Times {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(Histogram::new(3)?))
    }

    pub(crate) fn record(&mut self, took: Duration) -> Result<()> {
        Ok(self.0.record(u64::try_from(took.as_nanos())?)?)
    }

    /// Awaits it, and records the time that it took.
    pub(crate) async fn time<T>(
        &mut self,
        clock: Clock,
        action: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let begin = clock.now()?;
        let value = action.await?;
        self.record(clock.now()?.saturating_sub(begin))?;
        Ok(value)
    }

    /// Milliseconds.
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        millis(Duration::from_nanos(self.0.value_at_quantile(quantile)))
    }

    /// Milliseconds.
    pub(crate) fn mean(&self) -> f64 {
        self.0.mean() / 1e6
    }
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The middle one; of none, nothing.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Has all of it done by one thread, as a runtime of several would not.
pub(crate) async fn on_one_thread<T: Send + 'static>(
    work: impl AsyncFnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = spawn_blocking(move || {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(work())
    });
    done.await?
}
