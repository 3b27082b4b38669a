//! A document that is locked, and what is written to it.

use std::fmt;
use std::time::Duration;

use super::Documents;
use super::store::{Store, Written};
use crate::lease::Loss;
use crate::wait::Backoff;
use crate::{Error, ErrorKind, Lease, Result};

/// A document that is locked, until it is unlocked, dropped, or its lease is lost.
///
/// Dropping it hands the release to the task in the background, as with any [`Lease`].
#[must_use = "the document is unlocked when this is dropped"]
pub struct LockedDocument<S: Store> {
    store: S,
    document: S::Document,
    lease: Lease,
}

impl<S: Store> LockedDocument<S> {
    pub(super) async fn open(documents: Documents<S>, lease: Lease) -> Result<Self> {
        let store = documents.store;
        let opened = async {
            let mut raw = store.granted(lease.id());
            if raw.is_none() {
                // The answer that brought it was lost: a later one told that the grant stands.
                raw = store.read(&lease, timeout(&lease)).await?;
            }
            store.parse(raw.ok_or_else(|| lost(&lease))?)
        };
        let document = opened.await;
        let document =
            document.map_err(|error| error.with_operation("acquire").with_key(lease.key()))?;
        Ok(Self {
            store,
            document,
            lease,
        })
    }

    /// The document as it was read with the lock, or as the last [`update`](Self::update) left it. Without the lock's
    /// field.
    #[must_use]
    pub fn document(&self) -> &S::Document {
        &self.document
    }

    /// The lease: its token, how long it certainly lasts, and when it is lost.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Writes if the lock is still held, in one request, and keeps it. [`document`](Self::document) is the new one then.
    ///
    /// Cancel safe: if the future is dropped, the lock is kept, and the update was written or was not.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for an update that can never work, such as one of the lock itself; before any request.
    /// [`ErrorKind::LeaseLost`] if the lock is not held any more: nothing was written. [`ErrorKind::ConditionFailed`] if
    /// the update came with a condition that is not met: nothing was written either. [`ErrorKind::OutcomeUnknown`] if the
    /// answer was lost: it is not sent again, for an increment would count twice. [`ErrorKind::Other`] with a source for
    /// what the database refuses; and for what is not of the caller's type any more once it is written.
    pub async fn update(&mut self, update: S::Update) -> Result<()> {
        let updated = self.try_update(&update).await;
        updated.map_err(|error| error.with_operation("update").with_key(self.lease.key()))
    }

    async fn try_update(&mut self, update: &S::Update) -> Result<()> {
        self.store.check(update)?;
        held(&self.lease)?;
        let timeout = timeout(&self.lease);
        let written = self.store.write(&self.lease, update, false, timeout);
        match written.await? {
            Written::Applied(raw) => self.document = self.store.parse(raw)?,
            Written::ConditionFailed => return Err(condition_failed()),
            Written::NotHeld => return Err(lost(&self.lease)),
        }
        Ok(())
    }

    /// Writes if the lock is still held, and unlocks, both by one request.
    ///
    /// Sent again while its answer is lost and the lease lasts: it is never applied twice. With any error the document is
    /// unlocked as a dropped one is.
    ///
    /// Cancel safe: if the future is dropped, the document is unlocked, and the update was written or was not.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update). [`ErrorKind::OutcomeUnknown`] only if no answer came while the lease lasted, or the
    /// document was locked by others before it could be asked what became of the write.
    pub async fn update_and_unlock(self, update: S::Update) -> Result<()> {
        let key = self.lease.key().clone();
        let written = self.write_last(&update).await;
        written.map_err(|error| error.with_operation("update_and_unlock").with_key(&key))
    }

    async fn write_last(mut self, update: &S::Update) -> Result<()> {
        self.store.check(update)?;
        held(&self.lease)?;
        let hold = &mut self.lease.hold;
        let worker = hold.client.inner().worker.clone();
        // A renewal that came after the write would find the lease gone.
        worker.pause(&hold.state).await?;
        write_until_answered(&self.store, &self.lease, update).await?;
        let hold = &mut self.lease.hold;
        hold.released = true;
        let _ = hold.state.end();
        worker.forget(&hold.state);
        Ok(())
    }

    /// Unlocks, and waits until the database has confirmed it: as [`Lease::release`].
    ///
    /// # Errors
    ///
    /// As [`Lease::release`].
    pub async fn unlock(self) -> Result<()> {
        self.lease.release().await
    }
}

impl<S: Store> fmt::Debug for LockedDocument<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockedDocument")
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// Sends the write that ends the lease until an answer tells what became of it, or the lease is over.
async fn write_until_answered<S: Store>(
    store: &S,
    lease: &Lease,
    update: &S::Update,
) -> Result<()> {
    let mut backoff = Backoff::new();
    let mut unknown: Option<Error> = None;
    loop {
        let written = store.write(lease, update, true, timeout(lease)).await;
        let error = match written {
            Ok(Written::Applied(_)) => return Ok(()),
            // What was sent before may yet arrive, and find that the condition holds.
            Ok(Written::ConditionFailed) => return Err(unknown.unwrap_or_else(condition_failed)),
            Ok(Written::NotHeld) => {
                let Some(unknown) = unknown else {
                    return Err(lost(lease));
                };
                return match store.was_unlocked(lease, timeout(lease)).await {
                    Ok(Some(true)) => Ok(()),
                    Ok(Some(false)) => Err(lost(lease)),
                    Ok(None) | Err(_) => Err(unknown),
                };
            }
            Err(error) if error.is_transient() => error,
            Err(error) => return Err(unknown.unwrap_or(error)),
        };
        let pause = backoff.next(fastrand::f64());
        tokio::time::sleep(pause.min(lease.remaining())).await;
        if !lease.is_held() {
            return Err(unknown.unwrap_or(error));
        }
        if error.kind() == ErrorKind::OutcomeUnknown {
            unknown = Some(error);
        }
    }
}

/// How long a request under this lease may take: a lost one leaves time for no other.
fn timeout(lease: &Lease) -> Duration {
    let timeout = lease.hold.client.inner().request_timeout;
    timeout.min(lease.remaining()).max(Duration::from_millis(1))
}

/// An error if the lease is lost, as far as it is known here: then no request is worth it.
fn held(lease: &Lease) -> Result<()> {
    let _ = lease.remaining();
    lease.hold.state.check()
}

/// The database says that the lease does not stand any more.
fn lost(lease: &Lease) -> Error {
    let state = &lease.hold.state;
    state.lose(Loss::Evicted);
    let nothing = || Error::new(ErrorKind::LeaseLost, "the lock is not held any more");
    state.check().err().unwrap_or_else(nothing)
}

fn condition_failed() -> Error {
    Error::new(
        ErrorKind::ConditionFailed,
        "the condition of the update is not met, and nothing was written: read the document again",
    )
}
