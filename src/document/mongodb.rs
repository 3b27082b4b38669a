//! Documents of a MongoDB collection that carry their own lock.

use std::fmt::Display;
use std::marker::PhantomData;
use std::time::Duration;

use async_trait::async_trait;
use mongodb::Collection;
use mongodb::bson::de::Deserializer;
use mongodb::bson::{Bson, Document, doc};
use serde::de::DeserializeOwned;

use super::key::key;
use super::store::{Store, Written};
use crate::backend::mongodb::{MongoBackend, holds, id_json};
use crate::client::invalid;
use crate::{Error, ErrorKind, Key, Lease, LeaseId, LockClient, Result};

/// The field unless the caller names another.
const FIELD: &str = "lock";

/// Documents of a collection that carry their own lock, in a sub-document.
///
/// ```no_run
/// # async fn example(accounts: mongodb::Collection<mongodb::bson::Document>) -> doclock::Result<()> {
/// use doclock::document::mongodb::Documents;
/// use mongodb::bson::doc;
///
/// let accounts = Documents::new(accounts);
/// let account = accounts.lock("alice").acquire().await?; // locks and reads
/// if account.document().get_i64("balance").unwrap_or_default() >= 20 {
///     account.update_and_unlock(doc! { "$inc": { "balance": -20_i64 } }).await?;
/// } // else it is unlocked here, by the task in the background
/// # Ok(()) }
/// ```
///
/// # In the document
///
/// The field is added by the first lock, at the end of the document, and stays: it keeps the fencing token. Nothing else
/// in the document is touched, and a document that is only looked at stays byte for byte as it was. There is no index, no
/// TTL, and nothing to set up. A validator must allow the field.
///
/// The sub-document is a [record](crate::docs::protocol) without `purgeAt`, and with the id of the last acquisition that
/// ended by [`update_and_unlock`](super::LockedDocument::update_and_unlock) in `written`. One that is not is refused with
/// [`CorruptRecord`](ErrorKind::CorruptRecord) and left as it is.
///
/// # Which collection
///
/// Any, on MongoDB 5.0 or newer; a sharded one is sharded by `_id`. Strings are compared as they are, whatever the
/// collection's collation is: if that is not the simple one, a document with a string as `_id` is not found by the index.
///
/// # Permissions
///
/// `find` and `update` on the collection.
pub type Documents<T = Document> = super::Documents<InCollection<T>>;

/// A collection, as [`Documents`] sees it.
pub struct InCollection<T> {
    backend: MongoBackend,
    field: String,
    kind: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned + Send + Sync + 'static> Documents<T> {
    /// The documents of this collection, read as the type that it is typed with. Sends nothing yet.
    #[must_use]
    pub fn new(collection: Collection<T>) -> Self {
        Self::within(MongoBackend::with_collection(collection), FIELD)
    }

    /// The field that the lock stands in, `lock` by default. The same in all programs that lock these documents.
    ///
    /// What cannot be one (with a dot, or a dollar sign at its start) is reported when a document is locked.
    #[must_use]
    pub fn field(self, name: &str) -> Self {
        Self::within(self.store.backend, name)
    }

    /// How far apart the clocks of two servers may be: [`MongoBackend::clock_skew`].
    #[must_use]
    pub fn clock_skew(self, skew: Duration) -> Self {
        let InCollection { backend, field, .. } = self.store;
        Self::within(backend.clock_skew(skew), &field)
    }

    fn within(backend: MongoBackend, field: &str) -> Self {
        Self::over(InCollection {
            backend: backend.in_field(field),
            field: field.to_owned(),
            kind: PhantomData,
        })
    }
}

impl<T> Clone for InCollection<T> {
    fn clone(&self) -> Self {
        Self {
            backend: self.backend.clone(),
            field: self.field.clone(),
            kind: PhantomData,
        }
    }
}

#[async_trait]
impl<T: DeserializeOwned + Send + Sync + 'static> Store for InCollection<T> {
    type Id = Bson;
    type Document = T;
    type Raw = Document;
    type Update = Document;

    fn client(&self) -> LockClient {
        LockClient::new(self.backend.clone())
    }

    fn key(&self, id: Bson) -> Result<Key> {
        let field = &self.field;
        if field.is_empty()
            || field == "_id"
            || field.starts_with('$')
            || field.contains(['.', '\0'])
        {
            return Err(invalid(format!(
                "`{field}` cannot be the field of a lock: name one without dots and dollar signs"
            )));
        }
        // In a filter these would ask for more than one document.
        let is_pattern = match &id {
            Bson::Document(id) => id.keys().any(|name| name.starts_with('$')),
            Bson::Array(_) | Bson::RegularExpression(_) | Bson::Undefined => true,
            // JSON has no word for it.
            Bson::Double(id) => !id.is_finite(),
            _ => false,
        };
        if is_pattern {
            return Err(invalid(
                "no document has such an `_id`: pass one that it can have",
            ));
        }
        let json = id_json(&id);
        key(&json.ok_or_else(|| invalid("this `_id` cannot be written as JSON"))?)
    }

    fn granted(&self, id: &LeaseId) -> Option<Document> {
        self.backend.granted(id)
    }

    async fn read(&self, lease: &Lease, timeout: Duration) -> Result<Option<Document>> {
        let found = self.backend.document(lease.key(), timeout).await?;
        Ok(found.filter(|found| {
            let record = found.get_document(&self.field);
            record.is_ok_and(|record| holds(record, lease.id()))
        }))
    }

    fn parse(&self, mut raw: Document) -> Result<T> {
        raw.remove(&self.field);
        T::deserialize(Deserializer::new(raw.into())).map_err(|error| {
            Error::new(
                ErrorKind::Other,
                "the document is not of the type that its collection is typed with",
            )
            .with_source(error)
        })
    }

    fn check(&self, update: &Document) -> Result<()> {
        if update.is_empty() {
            return Err(invalid("the update says nothing: name what is to change"));
        }
        for (operator, changes) in update {
            let (true, Bson::Document(changes)) = (operator.starts_with('$'), changes) else {
                return Err(invalid(format!(
                    "`{operator}` is no update operator with its fields: a document is not replaced under its lock"
                )));
            };
            for (path, change) in changes {
                self.check_path(path)?;
                if let ("$rename", Bson::String(path)) = (&**operator, change) {
                    self.check_path(path)?;
                }
            }
        }
        Ok(())
    }

    async fn write(
        &self,
        lease: &Lease,
        update: &Document,
        unlocks: bool,
        timeout: Duration,
    ) -> Result<Written<Document>> {
        let mut update = update.clone();
        if unlocks {
            self.unlock(&mut update, lease.id());
        }
        let held = (lease.id(), lease.token());
        let updated = self.backend.update_held(lease.key(), held, update, timeout);
        Ok(match updated.await? {
            Some(document) => Written::Applied(document),
            None => Written::NotHeld,
        })
    }

    async fn was_unlocked(&self, lease: &Lease, timeout: Duration) -> Result<Option<bool>> {
        let found = self.backend.document(lease.key(), timeout).await?;
        let record = found
            .as_ref()
            .and_then(|found| found.get_document(&self.field).ok());
        Ok(record.and_then(|record| {
            let written = record.get_str("written");
            if written.is_ok_and(|id| id == lease.id().as_str()) {
                return Some(true);
            }
            // A later acquisition may have written since.
            let token = record.get_i64("token").ok();
            let is_last = token.and_then(|token| token.try_into().ok()) == Some(lease.token());
            is_last.then_some(false)
        }))
    }
}

impl<T> InCollection<T> {
    fn check_path(&self, path: &str) -> Result<()> {
        let refuse = |why: &dyn Display| Err(invalid(format!("the update of `{path}`: {why}")));
        match path.split('.').next() {
            Some("_id") => refuse(&"the id of a document does not change"),
            Some(head) if head == self.field => refuse(&"the lock is changed by this crate only"),
            _ if path.split('.').any(|part| part == "$") => {
                refuse(&"there is no query whose match `$` could mean: use `$[]`, or the index")
            }
            _ => Ok(()),
        }
    }

    /// What `rules::release` writes, in operators that go together with the caller's.
    fn unlock(&self, update: &mut Document, id: &LeaseId) {
        let path = |name: &str| format!("{}.{name}", self.field);
        let changes = [
            ("$pull", "holders", doc! { "id": id.as_str() }.into()),
            ("$set", "closed", id.as_str().into()),
            ("$set", "written", id.as_str().into()),
            ("$inc", "rev", 1_i64.into()),
            ("$currentDate", "freeAt", Bson::Boolean(true)),
        ];
        for (operator, name, change) in changes {
            let entry = update
                .entry(operator.to_owned())
                .or_insert_with(|| Document::new().into());
            if let Bson::Document(entry) = entry {
                entry.insert(path(name), change);
            }
        }
    }
}
