//! The collection, and the index by which the database collects records.

use futures_util::TryStreamExt;
use mongodb::IndexModel;
use mongodb::bson::doc;
use mongodb::error::Error as Native;
use mongodb::options::{Collation, CollationStrength};
use mongodb::results::{CollectionSpecification, CollectionType};

use super::super::error::{self, Access};
use super::super::{MongoBackend, READ_TIMEOUT, within};
use crate::Result;
use crate::diagnosis::{Check, Diagnosis};

const COLLECTION: &str = "collection";
const TTL: &str = "ttl index";
const SETUP: &str = "run `setup`, by a role that may `createIndex`";

impl MongoBackend {
    /// Whether locks may be tried in it.
    pub(super) async fn examine_collection(&self, diagnosis: &mut Diagnosis) -> bool {
        let found = match self.specification().await {
            Ok(Some(found)) => found,
            Ok(None) => {
                // The lock that is tried would make it.
                let remedy = format!("{SETUP}; or let the first lock make it, without a TTL index");
                diagnosis.note(Check::warn(COLLECTION, "not there yet", remedy));
                return false;
            }
            Err(error) => {
                let remedy = "to have it looked at, allow `listCollections` on the database";
                diagnosis.note(Check::optional(COLLECTION, &error, remedy));
                return self.examine_index(diagnosis).await;
            }
        };
        diagnosis.note(kind(&found)) && self.examine_index(diagnosis).await
    }

    async fn examine_index(&self, diagnosis: &mut Diagnosis) -> bool {
        let check = match self.indexes().await {
            Ok(indexes) => index(&indexes),
            Err(error) => {
                let remedy = "to have it looked at, allow `listIndexes` on the collection";
                Check::optional(TTL, &error, remedy)
            }
        };
        // Locks can be tried without.
        diagnosis.note(check);
        true
    }

    async fn specification(&self) -> Result<Option<CollectionSpecification>> {
        let space = self.collection.namespace();
        let database = self.collection.client().database(&space.db);
        let named = doc! { "name": &space.coll };
        read(async {
            database
                .list_collections()
                .filter(named)
                .await?
                .try_next()
                .await
        })
        .await
    }

    async fn indexes(&self) -> Result<Vec<IndexModel>> {
        read(async { self.collection.list_indexes().await?.try_collect().await }).await
    }
}

async fn read<T>(reading: impl Future<Output = Result<T, Native>>) -> Result<T> {
    let reading = async {
        reading
            .await
            .map_err(|error| error::convert(error, Access::Read))
    };
    within(READ_TIMEOUT, reading).await
}

fn kind(found: &CollectionSpecification) -> Check {
    let unfit = |what: &str| {
        let remedy = "name an ordinary collection of the locks' own: `collection=` in the URL";
        Check::fail(COLLECTION, what, remedy)
    };
    let options = &found.options;
    match found.collection_type {
        CollectionType::View => return unfit("a view"),
        CollectionType::Timeseries => return unfit("a time series"),
        _ if options.capped == Some(true) => return unfit("capped"),
        _ => {}
    }
    if options.collation.as_ref().is_some_and(is_blind) {
        return unfit("its collation is blind to case, so that `a` and `A` cannot both be locked");
    }
    if options.validator.is_some() {
        let remedy = "see that it lets every record of a lock pass, or name a collection without";
        return Check::warn(COLLECTION, "with a validator", remedy);
    }
    Check::ok(COLLECTION, "an ordinary one")
}

fn is_blind(collation: &Collation) -> bool {
    let strength = collation.strength.as_ref();
    strength.is_some_and(|strength| (*strength as u32) < CollationStrength::Tertiary as u32)
        && collation.case_level != Some(true)
}

fn index(indexes: &[IndexModel]) -> Check {
    let is_ours = |index: &&IndexModel| index.keys.keys().eq(["purgeAt"]);
    let Some(found) = indexes.iter().find(is_ours) else {
        return Check::warn(TTL, "none: free records are never collected", SETUP);
    };
    let after = found
        .options
        .as_ref()
        .and_then(|options| options.expire_after);
    match after {
        Some(after) if after.is_zero() => Check::ok(TTL, "on `purgeAt`"),
        _ => Check::fail(
            TTL,
            "another index is on `purgeAt`, so that records are never collected, or too late",
            format!("drop it, and {SETUP}"),
        ),
    }
}

#[cfg(test)]
mod tests;
