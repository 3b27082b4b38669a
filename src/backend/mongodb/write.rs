//! The requests that write or judge by the newest state, all with a majority's confirmation.

use std::time::Duration;

use mongodb::bson::{Bson, Document, bson, doc};
use mongodb::error::Error;
use mongodb::options::{Acknowledgment, Collation, ReturnDocument, WriteConcern};

use super::shape::literal;
use super::{MongoBackend, record};
use crate::time::Timestamp;
use crate::{Key, LockRecord, Result};

/// Whether a document that is not there is created.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Upsert {
    Yes,
    No,
}

/// A document after a request, and the server's time when it decided.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) document: Document,
    /// Unknown where the server repeats what an earlier attempt had answered: it does so without the projection.
    pub(super) now: Option<Timestamp>,
}

impl Answer {
    pub(super) fn read(mut answer: Document) -> Self {
        // The projection leaves `_id` out at the top, so a document with one is not projected.
        if answer.contains_key("_id") {
            return Self {
                document: answer,
                now: None,
            };
        }
        let now = match answer.get("now") {
            Some(Bson::DateTime(now)) => Some(Timestamp::from_millis(now.timestamp_millis())),
            _ => None,
        };
        let document = match answer.remove("record") {
            Some(Bson::Document(document)) => document,
            _ => Document::new(),
        };
        Self { document, now }
    }
}

impl MongoBackend {
    /// One atomic look and change. A pipeline that ends with the document as it was writes nothing, and what it
    /// answers is confirmed by a majority all the same.
    pub(super) async fn find_and_modify(
        &self,
        key: &Key,
        pipeline: Vec<Document>,
        upsert: Upsert,
        timeout: Duration,
    ) -> mongodb::error::Result<Option<Answer>> {
        let answer = self
            .collection
            // Nothing but the equality of `_id`, or the server does not retry the race of two upserts by itself.
            .find_one_and_update(self.place.filter(key), self.place.moved(key, pipeline))
            .upsert(upsert == Upsert::Yes && !self.place.is_field())
            .return_document(ReturnDocument::After)
            // The whole document: a user's own one under this key must not look like an empty one.
            .projection(doc! { "_id": 0_i32, "record": "$$ROOT", "now": "$$NOW" })
            .collation(simple())
            .write_concern(majority(timeout))
            .await?;
        Ok(answer.map(Answer::read))
    }

    /// One change by a pipeline that ends with the document as it was where it does not apply. Whether it did.
    ///
    /// The condition is not in the filter: a filter of `_id` alone spares the server its query planner.
    pub(super) async fn update(
        &self,
        key: &Key,
        pipeline: Vec<Document>,
        timeout: Duration,
    ) -> mongodb::error::Result<bool> {
        let updated = self
            .collection
            .update_one(self.place.filter(key), self.place.moved(key, pipeline))
            .collation(simple())
            .write_concern(majority(timeout))
            .await?;
        Ok(updated.modified_count > 0)
    }

    /// What the server's clock shows, where no document can tell.
    pub(super) async fn server_time(&self) -> mongodb::error::Result<Timestamp> {
        let database = self.collection.client().database("admin");
        let hello = database.run_command(doc! { "hello": 1_i32 }).await?;
        let now = hello.get_datetime("localTime").map_err(Error::custom)?;
        Ok(Timestamp::from_millis(now.timestamp_millis()))
    }

    /// The record as no later election can undo it. `None` if there is no document.
    ///
    /// Not a plain read: just after an election, even one with majority read concern may show what was before a
    /// confirmed write.
    pub(super) async fn look(
        &self,
        key: &Key,
        timeout: Duration,
    ) -> mongodb::error::Result<Option<Answer>> {
        self.find_and_modify(key, unchanged(), Upsert::No, timeout)
            .await
    }
}

/// What leaves a record as it is, and shows it.
pub(super) fn unchanged() -> Vec<Document> {
    vec![doc! { "$replaceWith": "$$ROOT" }]
}

/// What writes `next` if the record is still the one that was `seen`. Whoever sends it compares the answer with `next`.
///
/// Fields that are none of a record's stay as they are.
pub(super) fn swap(
    key: &Key,
    seen: Option<&LockRecord>,
    next: &LockRecord,
) -> Result<(Vec<Document>, Upsert)> {
    let (is_same, upsert) = match seen {
        // Only where there is nothing at all: a user's document has no `rev` either.
        None => (absent(key), Upsert::Yes),
        // The token as well, because `rev` starts anew after a deletion. No upsert, or a record that was deleted
        // meanwhile comes back as an empty shell.
        Some(seen) => {
            let rev = record::signed("rev", seen.rev)?;
            let token = record::signed("token", seen.token)?;
            let same = bson!({ "$and": [{ "$eq": ["$rev", rev] }, { "$eq": ["$token", token] }] });
            (same, Upsert::No)
        }
    };
    let foreign = bson!({ "$arrayToObject": { "$filter": {
        "input": { "$objectToArray": "$$ROOT" },
        "as": "field",
        "cond": { "$not": [{ "$in": ["$$field.k", { "$literal": record::FIELDS.to_vec() }] }] },
    } } });
    let written = bson!({ "$mergeObjects": [
        { "_id": "$_id" },
        { "$literal": record::encode(next)? },
        foreign,
    ] });
    let pipeline = vec![doc! { "$replaceWith": { "$cond": [is_same, written, "$$ROOT"] } }];
    Ok((pipeline, upsert))
}

/// A pipeline that replaces the document by `decision`. There, `$$id` is this acquisition, and `$$mine` its holder or
/// missing.
pub(super) fn with_mine(id: &str, decision: Bson) -> Vec<Document> {
    let mine = bson!({ "$first": { "$filter": {
        // Before anything is known of the document.
        "input": { "$cond": [{ "$isArray": "$holders" }, "$holders", []] },
        "as": "h",
        "cond": { "$eq": ["$$h.id", "$$id"] },
    } } });
    let decided = bson!({ "$let": { "vars": { "mine": mine }, "in": decision } });
    vec![doc! { "$replaceWith": { "$let": {
        "vars": { "id": literal(id) },
        "in": decided,
    } } }]
}

/// There is nothing under this key, or nothing but the key.
pub(super) fn absent(key: &Key) -> Bson {
    bson!({ "$eq": ["$$ROOT", { "$literal": { "_id": key.as_str() } }] })
}

/// Whatever the collection's own collation is: keys, owners and ids are compared as they are.
pub(super) fn simple() -> Collation {
    Collation::builder().locale("simple").build()
}

/// Whatever the client's own write concern is. The server gives up a little before the caller does, so that the
/// caller learns what became of the write.
pub(super) fn majority(timeout: Duration) -> WriteConcern {
    // Zero would mean for ever.
    let wait = (timeout * 9 / 10).max(Duration::from_millis(1));
    WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .w_timeout(wait)
        .build()
}
