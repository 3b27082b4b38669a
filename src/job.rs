//! Scheduled jobs: at most, or at least, one run for each slot of time, whichever hosts try.

use crate::acquire::Taken;
use crate::backend::{Slot, SlotStart};
use crate::lease::End;
use crate::lock::Lock;
use crate::{ErrorKind, Lease, Result};

/// A lock that is taken once for each slot of time: made by [`Lock::once_per`] or [`Lock::once_per_slot`].
///
/// Which slot it is, and whether it has run, is judged by the database's own time and remembered in the record, which the
/// database never collects. So it matters neither whose clock is wrong nor which host was first. A trigger that comes just
/// as one slot ends and the next begins waits until it is certain which one it is: a second at most on MongoDB, three on
/// DynamoDB.
///
/// A host whose clock is ahead triggers before the border, which is in the slot before: let hosts try more often than once a
/// slot, or a little late, or give them the instant by [`Lock::once_per_slot`].
///
/// A run that outlasts its slot keeps others out; the slots that it covered are dropped, and the one that is present when
/// it ends runs at its next trigger.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> doclock::Result<()> {
/// # use std::time::Duration;
/// use doclock::Run;
/// # let locks = doclock::LockClient::new(doclock::MemoryBackend::new());
/// # async fn send_report() -> Result<(), std::io::Error> { Ok(()) }
/// // On every host, by whatever scheduler:
/// let hourly = locks.lock("report").once_per(Duration::from_secs(3600));
/// match hourly.try_run(async |_lease| send_report().await).await? {
///     Run::Succeeded(()) => println!("sent"),
///     Run::Failed(error) => eprintln!("not sent: {error}"),
///     Run::Skipped => println!("another host has sent it"),
///     Run::Busy => println!("another host is still sending the last one"),
/// }
/// # Ok(()) }
/// ```
///
/// # What it does not guarantee
///
/// *At most once* is: a run that crashed is not repeated. [`at_least_once`](Self::at_least_once) is: a run that did all its
/// work and crashed before it said so is repeated. No lock can do better; make the work itself idempotent, with
/// [`Lease::slot`] as its key.
#[derive(Clone, Debug)]
#[must_use = "nothing runs until `run` or `try_run` is awaited"]
pub struct Job {
    lock: Lock,
    slot: Slot,
}

/// What became of one trigger of a [`Job`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a run may have failed"]
pub enum Run<T, E> {
    /// It ran here, and returned `Ok`.
    Succeeded(T),
    /// It ran here, and returned `Err`.
    Failed(E),
    /// Its slot has run already.
    Skipped,
    /// Another host runs an earlier slot of it, or this one if it is to be done at least once; or the slot has not begun yet
    /// by the database's time.
    Busy,
}

impl Job {
    pub(crate) fn new(lock: Lock, start: SlotStart) -> Self {
        Self {
            lock,
            slot: Slot::new(start),
        }
    }

    /// Repeats a slot's run, at the next trigger in the same slot, until one returns `Ok`: for work that must happen and
    /// may happen twice. By default a slot runs once, whatever becomes of the run.
    pub fn at_least_once(mut self) -> Self {
        self.slot.until_done = true;
        self
    }

    /// Runs the job if its slot has not run, waiting for another host's run as long as [`Lock::wait`] says. If the lease is
    /// lost, the work is dropped at its next `await`.
    ///
    /// # Errors
    ///
    /// As [`Lock::run`]. [`ErrorKind::Unsupported`] if the database does not tell the time.
    pub async fn run<T, E>(
        self,
        work: impl AsyncFnOnce(&Lease) -> Result<T, E>,
    ) -> Result<Run<T, E>> {
        let wait = self.lock.longest_wait();
        self.trigger(wait, work).await
    }

    /// As [`run`](Self::run), without waiting for another host's run.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub async fn try_run<T, E>(
        self,
        work: impl AsyncFnOnce(&Lease) -> Result<T, E>,
    ) -> Result<Run<T, E>> {
        self.trigger(std::time::Duration::ZERO, work).await
    }

    async fn trigger<T, E>(
        self,
        wait: std::time::Duration,
        work: impl AsyncFnOnce(&Lease) -> Result<T, E>,
    ) -> Result<Run<T, E>> {
        let lock = self.lock.for_slot(self.slot);
        let lease = match lock.take_unless_skipped(wait).await {
            Ok(Taken::Lease(lease)) => lease,
            Ok(Taken::Skipped(_)) => return Ok(Run::Skipped),
            Err(error) if error.kind() == ErrorKind::WaitTimeout => return Ok(Run::Busy),
            Err(error) => return Err(error),
        };
        let ended = tokio::select! {
            biased;
            why = lease.lost() => Err(why.with_operation("run")),
            ended = work(&lease) => Ok(ended),
        };
        let end = End {
            done: matches!(ended, Ok(Ok(_))),
            ..End::default()
        };
        let key = lease.key().clone();
        let client = lease.hold.client.clone();
        let finished = lease.finish(end).await;
        match ended? {
            Err(error) => Ok(Run::Failed(error)),
            Ok(value) => {
                // Without this its success is not remembered.
                if let Err(error) = finished {
                    let telemetry = &client.inner().telemetry;
                    tracing::warn!(
                        doclock.key = %telemetry.name(key.as_str()), error = %telemetry.error(&error),
                        "the end of a run could not be written"
                    );
                }
                Ok(Run::Succeeded(value))
            }
        }
    }
}
