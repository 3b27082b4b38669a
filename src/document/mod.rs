//! Locks inside of the documents that they protect: what `SELECT … FOR UPDATE` is to a row.
//!
//! The lock is a field of the document itself, a sub-document on MongoDB and a map on DynamoDB. So the document is read by
//! the request that locks it, and unlocked by the request that writes it: **two requests in all**, and a write by a holder
//! that lost its lock is refused by the database itself.
//!
//! * [`mongodb::Documents`]: documents of a collection.
//! * [`dynamodb::Documents`]: items of a table.
//!
//! Expiry, renewal, owners, waiting, fencing tokens and recovery are those of any [`Lock`], by the same rules. Exclusive
//! only.
//!
//! # What it does not guarantee
//!
//! **An unlocked writer is not stopped.** Whoever changes the document without its lock is not kept from it, as with `SELECT
//! … FOR UPDATE` a plain `SELECT` is not. All writers of what the lock protects use the lock. What others may change at
//! any time (a counter of views) is not overwritten by an update that does not name it.
//!
//! **Whoever replaces the whole document removes the lock with it.** Then the lease is lost at its next request, and the
//! next lock begins a new record, whose fencing tokens start at the server's time in microseconds and so go on to grow.
//!
//! # Requests
//!
//! | call | MongoDB | DynamoDB |
//! |---|---|---|
//! | lock and read, free or refused | 1 | 1 |
//! | the very first lock of a document | 1 | 2 |
//! | [`update`](LockedDocument::update) | 1 | 1 |
//! | [`update_and_unlock`](LockedDocument::update_and_unlock) | 1 | 1 |
//! | [`unlock`](LockedDocument::unlock), or a renewal | 1 | 1 |
//!
//! A waiter's polls, take-overs and the queue cost what they cost [elsewhere](crate::docs::performance).

mod key;
mod store;

#[cfg(feature = "dynamodb")]
pub mod dynamodb;
#[cfg(feature = "mongodb")]
pub mod mongodb;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::lease::Loss;
use crate::wait::Backoff;
use crate::{Backend, Error, ErrorKind, Holder, Key, Lease, Lock, LockClient, LockRecord, Result};

#[cfg(test)]
pub(crate) use self::key::key;
use self::store::{Store, Written};

/// Documents that carry their own lock: [`mongodb::Documents`] or [`dynamodb::Documents`].
///
/// Make one per program and clone it: clones share one background task, as those of a [`LockClient`] do.
#[derive(Clone)]
pub struct Documents<S> {
    store: S,
    client: LockClient,
}

impl<S: Store> Documents<S> {
    fn over(store: S) -> Self {
        let client = store.client();
        Self { store, client }
    }

    /// Describes the lock of a document, to be taken by [`DocumentLock::acquire`] or [`DocumentLock::try_acquire`].
    pub fn lock(&self, id: impl Into<S::Id>) -> DocumentLock<S> {
        DocumentLock {
            documents: self.clone(),
            key: self.store.key(id.into()),
            lock: self.client.lock(""),
        }
    }

    /// Reads what the database knows of a document's lock, for people and for monitoring. `None`: it was never locked, or
    /// there is no such document.
    ///
    /// # Errors
    ///
    /// As [`LockClient::inspect`].
    pub async fn inspect(&self, id: impl Into<S::Id>) -> Result<Option<LockRecord>> {
        let key = self.store.key(id.into())?;
        self.client.inspect(key.as_str()).await
    }

    /// Ends the lease on a document, whoever holds it. For operators, as [`LockClient::force_release`].
    ///
    /// # Errors
    ///
    /// As [`LockClient::force_release`].
    pub async fn force_release(&self, id: impl Into<S::Id>) -> Result<Vec<Holder>> {
        let key = self.store.key(id.into())?;
        self.client.force_release(key.as_str()).await
    }

    /// Unlocks what is locked, waits for all releases that are under way, and ends the task in the background: see
    /// [`LockClient::shutdown`].
    pub async fn shutdown(&self) {
        self.client.shutdown().await;
    }

    /// The backend underneath, for the conformance suite. Its keys are ids as JSON.
    #[cfg(feature = "conformance")]
    #[doc(hidden)]
    #[must_use]
    pub fn __backend(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.client.inner().backend)
    }
}

impl<S: Store> fmt::Debug for Documents<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Documents")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

/// The lock of a document that is to be taken, made by [`Documents::lock`].
#[must_use = "nothing is locked until `acquire` or `try_acquire` is awaited"]
pub struct DocumentLock<S> {
    documents: Documents<S>,
    key: Result<Key>,
    lock: Lock,
}

impl<S: Store> DocumentLock<S> {
    /// Sets the options of a [`Lock`]: `.with(|lock| lock.ttl(ttl).wait(wait))`. All but
    /// [`min_hold`](Lock::min_hold), which an unlock together with a write could not keep.
    pub fn with(mut self, options: impl FnOnce(Lock) -> Lock) -> Self {
        self.lock = options(self.lock);
        self
    }

    /// Locks the document and reads it, waiting for others as long as [`Lock::wait`] says.
    ///
    /// Cancel safe: if the future is dropped, whatever it may have been granted is released.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is no such document, and else as [`Lock::acquire`].
    pub async fn acquire(self) -> Result<LockedDocument<S>> {
        let (documents, lock) = self.checked()?;
        let lease = lock.acquire().await?;
        LockedDocument::open(documents, lease).await
    }

    /// Locks the document and reads it if it is not locked: `None` if others hold it.
    ///
    /// Cancel safe: if the future is dropped, whatever it may have been granted is released.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire), but for contention.
    pub async fn try_acquire(self) -> Result<Option<LockedDocument<S>>> {
        let (documents, lock) = self.checked()?;
        let Some(lease) = lock.try_acquire().await? else {
            return Ok(None);
        };
        LockedDocument::open(documents, lease).await.map(Some)
    }

    fn checked(self) -> Result<(Documents<S>, Lock)> {
        let key = self.key.map_err(|error| error.with_operation("acquire"))?;
        if self.lock.has_min_hold() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "the lock of a document has no min_hold: keep it for as long, and unlock it then",
            )
            .with_operation("acquire")
            .with_key(&key));
        }
        // Whatever lock the options were set on.
        let lock = self.lock.of(&self.documents.client, &key);
        Ok((self.documents, lock))
    }
}

impl<S> fmt::Debug for DocumentLock<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DocumentLock")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

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
    async fn open(documents: Documents<S>, lease: Lease) -> Result<Self> {
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
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for an update that can never work, such as one of the lock itself; before any request.
    /// [`ErrorKind::LeaseLost`] if the lock is not held any more: nothing was written. [`ErrorKind::ConditionFailed`] if
    /// the update came with a condition that is not met: nothing was written either. [`ErrorKind::OutcomeUnknown`] if the
    /// answer was lost: it is not sent again, for an increment would count twice.
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
            Ok(Written::ConditionFailed) => return Err(condition_failed()),
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
