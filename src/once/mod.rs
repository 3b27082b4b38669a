//! Idempotency records: work that is done once for each id, and whose result is kept for those who ask again.

mod state;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::acquire::Taken;
use crate::backend::{Slot, SlotStart};
use crate::client::{LockClient, invalid};
use crate::lease::End;
use crate::lock::Lock;
use crate::record::{Label, MAX_KEEP, Payload, RETENTION};
use crate::telemetry::Telemetry;
use crate::{Error, ErrorKind, Holder, Key, Lease, LockRecord, Mode, Owner, Result};

use state::State;

impl LockClient {
    /// Describes work that is to be done once for `id`, such as a payment: concurrent and repeated calls with one id get
    /// the result of the one that did it. The id is a key like a lock's; give it a prefix of its own.
    pub fn once(&self, id: impl Into<String>) -> Once {
        Once {
            client: self.clone(),
            lock: Lock::new(self.clone(), id.into(), Mode::Exclusive),
            keep: RETENTION,
            final_failures: false,
        }
    }
}

/// Work that is done once for an id, made by [`LockClient::once`]: an idempotency record.
///
/// The first call does the work under a lease and stores its result in the record. Calls beside it wait for that result,
/// later ones get it by one request. If the runner crashes, the next call takes over once its lease has expired.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> doclock::Result<()> {
/// # let locks = doclock::LockClient::new(doclock::MemoryBackend::new());
/// # async fn charge(_id: &str, _amount: u32) -> Result<String, std::io::Error> { Ok("receipt 7".into()) }
/// use doclock::Outcome;
///
/// // In the handler of a request that brings an idempotency key:
/// let once = locks.once("payment:42");
/// match once.run(async |_lease| charge("42", 100).await).await? {
///     Outcome::Ran(receipt) => println!("charged: {receipt}"),
///     Outcome::Repeated(receipt) => println!("charged before: {receipt}"),
///     Outcome::Failed(error) => eprintln!("not charged, the next call tries again: {error}"),
///     Outcome::FailedBefore(error) => eprintln!("refused for good: {error}"),
/// }
/// # Ok(()) }
/// ```
///
/// # What it does not guarantee
///
/// The work is done *at least once*. A runner that did it all and crashed, was cut off, or was dropped before it said so
/// is repeated, for nobody can tell. *Exactly once* it is only if the effect itself refuses a second one: make it unique
/// by the id. A fence by [`Lease::token`] refuses what a former runner does late, but not what the next one does again.
///
/// A result is forgotten when the record is collected, [`keep`](Self::keep) after the run: then the same id runs again.
#[derive(Clone, Debug)]
#[must_use = "nothing runs until `run` is awaited"]
pub struct Once {
    client: LockClient,
    lock: Lock,
    keep: Duration,
    final_failures: bool,
}

/// What became of one call of [`Once::run`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the work may have failed"]
pub enum Outcome<T, E> {
    /// The work was done here, and its result is stored.
    Ran(T),
    /// It was done before: the stored result.
    Repeated(T),
    /// The work was tried here, and returned `Err`. The next call tries again, unless
    /// [`final_failures`](Once::final_failures) was asked for.
    Failed(E),
    /// It failed before, for good: the error's text.
    FailedBefore(String),
}

/// How it stands with an id, as [`Once::status`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status<T> {
    /// Somebody is at it; or crashed, and the next call after `until` takes over.
    #[non_exhaustive]
    Running {
        /// Who.
        owner: Owner,
        /// What it says of itself.
        label: Option<Label>,
        /// Since when, by the database's time.
        since: SystemTime,
        /// When its lease expires unless it is renewed, by the database's time.
        until: SystemTime,
    },
    /// It is done: the stored result.
    Done(T),
    /// The last run returned an error, whose text this is.
    Failed(String),
}

impl Once {
    /// How long a crashed runner keeps others out, as [`Lock::ttl`].
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.lock = self.lock.ttl(ttl);
        self
    }

    /// How long a call waits for the result of another one that is under way, as [`Lock::wait`]; `Duration::ZERO` not at
    /// all.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.lock = self.lock.wait(wait);
        self
    }

    /// As [`Lock::owner`]: a call with the owner of a runner takes over from it at once. Only for one that is certainly
    /// dead, or the work is done twice.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.lock = self.lock.owner(owner);
        self
    }

    /// A few words for people, as [`Lock::label`].
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.lock = self.lock.label(label);
        self
    }

    /// The end that no run outlives, as [`Lock::deadline`].
    pub fn deadline(mut self, deadline: SystemTime) -> Self {
        self.lock = self.lock.deadline(deadline);
        self
    }

    /// The longest that a run may take, as [`Lock::max_hold`]: then it is dropped, and the next call runs.
    pub fn max_hold(mut self, max_hold: Duration) -> Self {
        self.lock = self.lock.max_hold(max_hold);
        self
    }

    /// How long the result is kept after the run, from 48 h, the default, to 100 years. It goes when the database
    /// collects the record, which may be later.
    pub fn keep(mut self, keep: Duration) -> Self {
        self.keep = keep;
        self
    }

    /// A run that returned `Err` is not repeated: later calls get [`Outcome::FailedBefore`]. By default the next call
    /// tries again, the first of those who wait for it already.
    pub fn final_failures(mut self) -> Self {
        self.final_failures = true;
        self
    }

    /// Does the work, unless it was done: then the stored result is returned. Waits for a run that is under way as long as
    /// [`wait`](Self::wait) says. If the lease is lost, the work is dropped at its next `await`.
    ///
    /// The result is stored as JSON and must fit into about 4,000 bytes. One that does not, or does not serialize, is
    /// returned here, since the effect has happened; it is remembered as done without a result, and logged as a warning.
    /// Calls that ask for it later end with [`ErrorKind::Unsupported`]. Store a large result elsewhere, and return its
    /// place.
    ///
    /// The text of an error is stored as well, up to 600 characters: keep secrets out of it.
    ///
    /// **Not cancel safe** in one respect: if the future is dropped, so is the work, and the next call does it again, as
    /// after a panic. Web frameworks drop a handler whose client hangs up: run it in a task of its own, by `tokio::spawn`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WaitTimeout`] if another run is still under way after the wait, [`ErrorKind::InvalidInput`] before any
    /// request, [`ErrorKind::CorruptRecord`] if something else lies under the id or its result is not of type `T`, or why
    /// the database could not be used.
    ///
    /// **The work may have been done** if it is [`ErrorKind::LeaseLost`], or any error that says so: it ran, and its end
    /// could not be written. The next call gets the result if it was written after all, and does the work again if not.
    pub async fn run<T, E>(
        self,
        work: impl AsyncFnOnce(&Lease) -> Result<T, E>,
    ) -> Result<Outcome<T, E>>
    where
        T: Serialize + DeserializeOwned,
        E: Display,
    {
        let keep = checked(self.keep)?;
        let key = Key::new(self.lock.name())?;
        let mut slot = Slot::new(SlotStart::Once);
        slot.until_done = true;
        let wait = self.lock.longest_wait();
        let lease = match self.lock.for_slot(slot).take_unless_skipped(wait).await? {
            Taken::Lease(lease) => lease,
            Taken::Skipped(state) => {
                return repeated(state.as_ref()).map_err(|error| named(error, &key));
            }
        };
        let ended = tokio::select! {
            biased;
            why = lease.lost() => Err(named(why, &key)),
            ended = work(&lease) => Ok(ended),
        }?;
        let state = match &ended {
            Ok(result) => done(result, &key, &self.client.inner().telemetry),
            Err(error) => state::failed(error),
        };
        let is_final = ended.is_ok() || self.final_failures;
        let end = End {
            done: is_final,
            state: Some(state),
            keep: Some(keep),
        };
        match (ended, lease.finish(end).await) {
            (Ok(result), Ok(())) => Ok(Outcome::Ran(result)),
            (Err(error), Ok(())) => Ok(Outcome::Failed(error)),
            // Nothing is lost: the next call tries again anyway.
            (Err(error), Err(_)) if !is_final => Ok(Outcome::Failed(error)),
            (_, Err(unwritten)) => Err(named(unstored(unwritten), &key)),
        }
    }

    /// How it stands with the id: for people, and for those who poll. `None`: nobody has begun, or a run was given up
    /// without a word, or the result is forgotten. One request.
    ///
    /// # Errors
    ///
    /// As [`LockClient::inspect`]; [`ErrorKind::CorruptRecord`] if the result is not of type `T`;
    /// [`ErrorKind::Unsupported`] if it was too large to be stored.
    pub async fn status<T: DeserializeOwned>(&self) -> Result<Option<Status<T>>> {
        let Some(record) = self.client.inspect(self.lock.name()).await? else {
            return Ok(None);
        };
        let key = Key::new(self.lock.name())?;
        status(&record).map_err(|error| error.with_operation("status").with_key(&key))
    }
}

fn checked(keep: Duration) -> Result<Duration> {
    if (RETENTION..=MAX_KEEP).contains(&keep) {
        return Ok(keep);
    }
    Err(invalid(format!(
        "keep is {keep:?}: choose one between 48 h and 100 years"
    )))
}

/// What a call gets that comes after the run.
fn repeated<T: DeserializeOwned, E>(state: Option<&Payload>) -> Result<Outcome<T, E>> {
    match state::read(state)? {
        State::Done(result) => Ok(Outcome::Repeated(result)),
        State::Failed(error) => Ok(Outcome::FailedBefore(error)),
        State::Unkept(why) => Err(unkept(&why)),
    }
}

fn status<T: DeserializeOwned>(record: &LockRecord) -> Result<Option<Status<T>>> {
    if record.slot_done.is_none() {
        if let Some(running) = record.holders.first().and_then(running) {
            return Ok(Some(running));
        }
        if record.state.is_none() {
            return Ok(None);
        }
    }
    match state::read(record.state.as_ref())? {
        State::Done(result) => Ok(Some(Status::Done(result))),
        State::Failed(error) => Ok(Some(Status::Failed(error))),
        State::Unkept(why) => Err(unkept(&why)),
    }
}

fn running<T>(holder: &Holder) -> Option<Status<T>> {
    Some(Status::Running {
        owner: holder.owner()?.clone(),
        label: holder.label.clone(),
        since: holder.acquired_at.into(),
        until: holder.expires_at.into(),
    })
}

fn done<T: Serialize>(result: &T, key: &Key, telemetry: &Telemetry) -> Payload {
    let (state, error) = state::done(result);
    if let Some(error) = error {
        let key = telemetry.name(key.as_str());
        tracing::warn!(doclock.key = %key, %error, "the result of a run is not stored: calls that ask for it will fail");
    }
    state
}

fn unkept(why: &str) -> Error {
    let message = format!("it is done, but its result was not stored: {why}");
    Error::new(ErrorKind::Unsupported, message)
}

fn unstored(error: Error) -> Error {
    let message =
        "the work was done, but its end could not be written: the next call may do it again";
    Error::new(error.kind(), message).with_source(error)
}

fn named(error: Error, key: &Key) -> Error {
    error.with_operation("run").with_key(key)
}
