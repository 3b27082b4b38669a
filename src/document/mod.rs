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
mod locked;
mod store;

#[cfg(feature = "dynamodb")]
pub mod dynamodb;
#[cfg(feature = "mongodb")]
pub mod mongodb;

use std::fmt;
#[cfg(feature = "conformance")]
use std::sync::Arc;

#[cfg(feature = "conformance")]
use crate::Backend;
use crate::{Error, ErrorKind, Holder, Key, Lock, LockClient, LockRecord, Result};

#[cfg(test)]
pub(crate) use self::key::key;
pub use self::locked::LockedDocument;
use self::store::Store;

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
