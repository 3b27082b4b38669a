//! Documents that carry their own lock: read with the grant, and written under the lease.

use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ReturnDocument;

use super::MongoBackend;
use super::error::{self, Access};
use super::record::signed;
use super::write::{majority, simple};
use crate::backend::within;
use crate::{Error, ErrorKind, Key, LeaseId, Result};

impl MongoBackend {
    /// The document that came with a grant, once.
    pub(crate) fn granted(&self, id: &LeaseId) -> Option<Document> {
        self.place.take(id)
    }

    /// The document as no later election can undo it.
    pub(crate) async fn document(&self, key: &Key, timeout: Duration) -> Result<Option<Document>> {
        let looked = async {
            let answer = self.look(key, timeout).await;
            answer.map_err(|error| error::convert(error, Access::Write))
        };
        let answer = within(timeout, looked).await?;
        Ok(answer.map(|answer| answer.document))
    }

    /// Updates a document while this lease stands in it; the document afterwards. `None`: it does not stand there, and
    /// nothing was written.
    pub(crate) async fn update_held(
        &self,
        key: &Key,
        (id, token): (&LeaseId, u64),
        update: Document,
        timeout: Duration,
    ) -> Result<Option<Document>> {
        let mut filter = self.place.filter(key);
        let mine = doc! { "id": id.as_str(), "token": signed("token", token)? };
        filter.insert(self.place.path("holders"), doc! { "$elemMatch": mine });
        let updated = async {
            let updated = self
                .collection
                .find_one_and_update(filter, update)
                .return_document(ReturnDocument::After)
                .collation(simple())
                .write_concern(majority(timeout))
                .await;
            updated.map_err(refused)
        };
        within(timeout, updated).await
    }
}

/// What the database has against an update is not this crate's to explain.
fn refused(error: mongodb::error::Error) -> Error {
    let error = error::convert(error, Access::Write);
    if !matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::NotSetUp) {
        return error;
    }
    Error::new(
        ErrorKind::Other,
        "the database refuses this update, and nothing was written: see the source",
    )
    .with_source(error)
}

/// The holder with this id, in a document's lock.
pub(crate) fn holds(record: &Document, id: &LeaseId) -> bool {
    let holders = record.get_array("holders").map(Vec::as_slice);
    holders
        .unwrap_or_default()
        .iter()
        .any(|holder| match holder {
            Bson::Document(holder) => holder.get_str("id").is_ok_and(|held| held == id.as_str()),
            _ => false,
        })
}
