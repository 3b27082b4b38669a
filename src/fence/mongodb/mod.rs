//! Guarded writes to MongoDB, and transactions that hold only while the lock is held.
//!
//! # Stability
//!
//! The types here are tied to `mongodb` 3.x and to the `bson` that it is built with, which changes with the driver's
//! features: a new major version of the driver is one of this crate.

mod error;
mod look;
mod pieces;
mod transaction;

use std::future::IntoFuture;

use ::mongodb::Collection;
use ::mongodb::bson::{Document, doc};
use ::mongodb::options::{FindOneAndUpdateOptions, UpdateModifications, UpdateOptions};
use ::mongodb::results::{DeleteResult, InsertOneResult, UpdateResult};
use serde::de::DeserializeOwned;

use super::{Fence, Guarded, held, invalid};
use crate::{Error, Lease, Result};

use look::Target;

/// Guards writes to MongoDB by a lease. Made by [`Fence::mongodb`].
///
/// The data may lie in any collection, of any client. A guarded call is one request, and no more than the same call
/// without a guard. Only where it matches nothing, a second look tells whether a newer holder has written. It takes no
/// session: in one of yours, call the driver with [`filter`](Self::filter) and [`update`](Self::update).
///
/// Each call fails with [`ErrorKind::LeaseLost`](crate::ErrorKind::LeaseLost), and sends nothing, once the lease is lost. The
/// driver's own error is the [`source`](std::error::Error::source) of any other.
/// [`ErrorKind::CorruptRecord`](crate::ErrorKind::CorruptRecord) says that the fence's field has something else than a whole
/// number: the document is left as it is.
///
/// # Durability
///
/// Your own write concern is used. What only one member of the set has confirmed (`w: 1`) can be rolled back by an
/// election, together with its fence: then an older holder's write is no longer refused. Write with `majority`, the
/// default of a replica set since MongoDB 5.0.
///
/// # Cancel safety
///
/// A dropped call was applied or was not.
#[derive(Debug)]
pub struct MongoFence<'a> {
    lease: &'a Lease,
    field: String,
    token: i64,
}

impl<'a> Fence<'a> {
    /// Guards writes to MongoDB.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the field's name cannot be one.
    pub fn mongodb(self) -> Result<MongoFence<'a>> {
        let token = self.checked()?;
        Ok(MongoFence {
            lease: self.lease,
            field: self.field,
            token,
        })
    }
}

impl MongoFence<'_> {
    /// A filter for what matches yours, and has no newer token. A piece for calls of your own, together with
    /// [`update`](Self::update); it does not look whether the lease is held.
    #[must_use]
    pub fn filter(&self, filter: Document) -> Document {
        pieces::filter(filter, &self.field, self.token)
    }

    /// Your update, which leaves the token behind: as one more `$max`, or as one more stage behind a pipeline.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if it changes the fence's field itself.
    pub fn update(&self, update: impl Into<UpdateModifications>) -> Result<UpdateModifications> {
        pieces::update(update.into(), &self.field, self.token)
    }

    /// As [`Collection::update_one`]. If no document matches your filter it is [`Guarded::Applied`] with a
    /// `matched_count` of 0.
    ///
    /// # Errors
    ///
    /// Besides those of every call, [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for an upsert whose filter
    /// does not say which `_id` it means, as `{ _id: … }` at the top, or that has a collation: a late one would not find the
    /// fenced document, and insert a second one beside it.
    pub async fn guarded_update_one<T: Send + Sync>(
        &self,
        collection: &Collection<T>,
        filter: Document,
        update: impl Into<UpdateModifications>,
        options: impl Into<Option<UpdateOptions>>,
    ) -> Result<Guarded<UpdateResult>> {
        let options = options.into().unwrap_or_default();
        let upserts = options.upsert == Some(true);
        let sent = async {
            let update = self.update(update)?;
            let target = Target::new(collection, &filter)
                .compared_by(options.collation.clone())
                .with(options.let_vars.clone())
                .upserts(upserts)?;
            let guarded = self.filter(filter.clone());
            let send = || {
                let action = collection.update_one(guarded.clone(), update.clone());
                action.with_options(options.clone()).into_future()
            };
            let is_applied =
                |result: &UpdateResult| result.matched_count > 0 || result.upserted_id.is_some();
            self.guarded(&target, send, is_applied).await
        };
        sent.await
            .map_err(|error| self.named(error, "guarded_update_one"))
    }

    /// As [`Collection::find_one_and_update`]. If no document matches your filter it is [`Guarded::Applied`] with `None`.
    ///
    /// With an empty update it reads a document so that no older holder can change it from then on.
    ///
    /// # Errors
    ///
    /// As [`guarded_update_one`](Self::guarded_update_one).
    pub async fn guarded_find_one_and_update<T: DeserializeOwned + Send + Sync>(
        &self,
        collection: &Collection<T>,
        filter: Document,
        update: impl Into<UpdateModifications>,
        options: impl Into<Option<FindOneAndUpdateOptions>>,
    ) -> Result<Guarded<Option<T>>> {
        let options = options.into().unwrap_or_default();
        let upserts = options.upsert == Some(true);
        let sent = async {
            let update = self.update(update)?;
            let target = Target::new(collection, &filter)
                .compared_by(options.collation.clone())
                .with(options.let_vars.clone())
                .upserts(upserts)?;
            let guarded = self.filter(filter.clone());
            let send = || {
                let action = collection.find_one_and_update(guarded.clone(), update.clone());
                action.with_options(options.clone()).into_future()
            };
            // An upsert that inserts answers what was there before.
            let is_applied = |found: &Option<T>| upserts || found.is_some();
            self.guarded(&target, send, is_applied).await
        };
        sent.await
            .map_err(|error| self.named(error, "guarded_find_one_and_update"))
    }

    /// As [`Collection::insert_one`], of a document that names its own `_id`.
    ///
    /// # Errors
    ///
    /// Besides those of every call, [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a document without
    /// `_id`, which a late holder would insert a second time, or with the fence's field. A document that is there already,
    /// and that no newer holder has written, is the driver's duplicate key error.
    pub async fn guarded_insert<T: Send + Sync>(
        &self,
        collection: &Collection<T>,
        mut document: Document,
    ) -> Result<Guarded<InsertOneResult>> {
        let sent = async {
            if document.contains_key(&self.field) {
                return Err(pieces::touched(&self.field));
            }
            let Some(id) = document.get("_id").cloned() else {
                return Err(invalid(
                    "a document to insert needs an `_id` of its own: a late holder would insert it a second time, under \
                     another one",
                ));
            };
            document.insert(self.field.clone(), self.token);
            let target = Target::new(collection, &doc! { "_id": { "$eq": id } }).inserts();
            let collection = collection.clone_with_type::<Document>();
            let send = || collection.insert_one(&document).into_future();
            self.guarded(&target, send, |_| true).await
        };
        sent.await
            .map_err(|error| self.named(error, "guarded_insert"))
    }

    /// As [`Collection::delete_one`]. If no document matches your filter it is [`Guarded::Applied`] with a `deleted_count`
    /// of 0.
    ///
    /// The fence goes with the document: see the [module above](super#what-it-does-not-protect).
    pub async fn guarded_delete<T: Send + Sync>(
        &self,
        collection: &Collection<T>,
        filter: Document,
    ) -> Result<Guarded<DeleteResult>> {
        let target = Target::new(collection, &filter);
        let guarded = self.filter(filter);
        let send = || collection.delete_one(guarded.clone()).into_future();
        let is_applied = |result: &DeleteResult| result.deleted_count > 0;
        let deleted = self.guarded(&target, send, is_applied).await;
        deleted.map_err(|error| self.named(error, "guarded_delete"))
    }

    fn held(&self) -> Result<()> {
        held(self.lease)
    }

    fn named(&self, error: Error, operation: &'static str) -> Error {
        error.with_operation(operation).with_key(self.lease.key())
    }
}
