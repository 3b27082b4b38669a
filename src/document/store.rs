//! What a database must do for documents that carry their own lock, beside being a backend.

use std::time::Duration;

use async_trait::async_trait;

use crate::{Key, Lease, LeaseId, LockClient, Result};

/// Documents of one kind, in a database. Its name is not public: there are no others than this crate's.
#[async_trait]
pub trait Store: Clone + Send + Sync + 'static {
    /// What names a document.
    type Id;
    /// A document as it is handed to the caller.
    type Document: Send + Sync;
    /// A document as the database has it.
    type Raw: Send;
    /// A change of a document.
    type Update: Send + Sync;

    /// A client whose locks stand in the documents.
    fn client(&self) -> LockClient;

    /// The key of a document.
    fn key(&self, id: Self::Id) -> Result<Key>;

    /// The document that came with a grant, once.
    fn granted(&self, id: &LeaseId) -> Option<Self::Raw>;

    /// The document, if the lease stands in it.
    async fn read(&self, lease: &Lease, timeout: Duration) -> Result<Option<Self::Raw>>;

    /// The document for the caller, without its lock.
    fn parse(&self, raw: Self::Raw) -> Result<Self::Document>;

    /// Refuses an update that can never work, without a request.
    fn check(&self, update: &Self::Update) -> Result<()>;

    /// Writes the update if the lease stands in the document, and ends the lease by the same write if `unlocks`.
    async fn write(
        &self,
        lease: &Lease,
        update: &Self::Update,
        unlocks: bool,
        timeout: Duration,
    ) -> Result<Written<Self::Raw>>;

    /// Whether a write that was to end the lease, and that was not answered, was applied. `None`: nobody can tell any
    /// more. Only asked once the lease does not stand in the document, so that it cannot be applied later.
    async fn was_unlocked(&self, lease: &Lease, timeout: Duration) -> Result<Option<bool>>;
}

/// What became of a guarded write.
#[derive(Debug)]
pub enum Written<D> {
    /// It was applied, and this is the document now.
    Applied(D),
    /// The lease stands, but the caller's own condition is not met.
    ConditionFailed,
    /// The lease does not stand in the document.
    NotHeld,
}
