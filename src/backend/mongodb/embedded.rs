//! Where a record stands: a document of its own, or a field of somebody else's.
//!
//! Every pipeline of this backend is one `$replaceWith` of an expression over the record's fields. Moved into a field, the
//! expression reads the record from a variable instead of the document, and what it says is put back into the field: so
//! nothing is said twice.

use std::sync::Arc;

use mongodb::bson::{Bson, Document, bson, doc};
use serde_json::json;

use super::record;
use super::shape::{all, literal};
use crate::backend::granted::Granted;
use crate::{Error, Key, LeaseId, LockRecord, Result};

#[cfg(test)]
mod tests;

/// Where a record stands.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// It is the document whose `_id` is the key.
    Document,
    /// It is in a field of the document whose `_id` the key tells, as extended JSON.
    Field {
        name: Arc<str>,
        granted: Granted<Document>,
    },
}

impl Place {
    pub(super) fn field(name: &str) -> Self {
        Self::Field {
            name: name.into(),
            granted: Granted::default(),
        }
    }

    pub(super) fn is_field(&self) -> bool {
        matches!(self, Self::Field { .. })
    }

    /// The document that a key means.
    pub(super) fn filter(&self, key: &Key) -> Document {
        match self {
            Self::Document => doc! { "_id": key.as_str() },
            Self::Field { .. } => doc! { "_id": id(key) },
        }
    }

    /// The path of a field of the record, in a filter or an update with operators.
    pub(super) fn path(&self, field: &str) -> String {
        match self {
            Self::Document => field.to_owned(),
            Self::Field { name, .. } => format!("{name}.{field}"),
        }
    }

    /// The pipeline that does to the record what this one would do to a document.
    pub(super) fn moved(&self, key: &Key, pipeline: Vec<Document>) -> Vec<Document> {
        let Self::Field { name, .. } = self else {
            return pipeline;
        };
        let stages = pipeline.into_iter();
        stages
            .map(|stage| {
                let moved = |(stage, next)| (stage, into_field(name, key, next));
                stage.into_iter().map(moved).collect()
            })
            .collect()
    }

    /// What is read of a document of which only the record is wanted.
    pub(super) fn projection(&self) -> Document {
        match self {
            Self::Document => Document::new(),
            Self::Field { name, .. } => doc! { name.to_string(): 1_i32 },
        }
    }

    /// The record in a document.
    pub(super) fn record(&self, document: &Document) -> Result<Option<LockRecord>> {
        let Self::Field { name, .. } = self else {
            return record::decode(document);
        };
        match document.get(&**name) {
            None => Ok(None),
            Some(Bson::Document(record)) if record.is_empty() || record.contains_key("_id") => {
                Err(Error::corrupt(name, "is empty, or a document of its own"))
            }
            Some(Bson::Document(record)) => {
                record::decode(record).map_err(|error| error.within(name))
            }
            Some(_) => Err(Error::corrupt(name, "is not a document")),
        }
    }

    /// The record as it reads once it is written: nothing collects a field.
    pub(super) fn stored(&self, mut next: LockRecord) -> LockRecord {
        if self.is_field() {
            next.purge_at = None;
        }
        next
    }

    /// Keeps the document of a grant for whoever was granted.
    pub(super) fn keep(&self, id: &LeaseId, document: &Document) {
        if let Self::Field { granted, .. } = self {
            granted.keep(id, document.clone());
        }
    }

    /// The document of a grant, once.
    pub(super) fn take(&self, id: &LeaseId) -> Option<Document> {
        match self {
            Self::Field { granted, .. } => granted.take(id),
            Self::Document => None,
        }
    }

    pub(super) fn forget(&self, id: &LeaseId) {
        drop(self.take(id));
    }
}

/// An `_id` as extended JSON. It need not tell one type of number from another, which the database takes for the same.
pub(crate) fn id_json(id: &Bson) -> Option<String> {
    match id {
        // Read as text, to its last bit: as JSON's own number it may become the next one.
        Bson::Double(id) => Some(json!({ "$numberDouble": id.to_string() }).to_string()),
        _ => serde_json::to_string(id).ok(),
    }
}

/// The `_id` that a key tells; a key that is no JSON is the string itself.
pub(super) fn id(key: &Key) -> Bson {
    serde_json::from_str(key.as_str()).unwrap_or_else(|_| key.as_str().into())
}

/// The document with `next` of the record in its field. Where the record stays, so does every byte of the document.
fn into_field(field: &str, key: &Key, next: Bson) -> Bson {
    let path = format!("${field}");
    // What a document with nothing but its key is to an expression: no record yet.
    let nothing = bson!({ "$literal": { "_id": key.as_str() } });
    // No record, and not nothing either: every expression leaves it as it is.
    let broken = bson!({ "$literal": { "_id": key.as_str(), "v": null } });
    let is_record = all(vec![
        bson!({ "$eq": [{ "$type": &path }, "object"] }),
        bson!({ "$ne": [&path, { "$literal": {} }] }),
        bson!({ "$eq": [{ "$type": format!("{path}._id") }, "missing"] }),
    ]);
    let record = bson!({ "$cond": [
        { "$eq": [{ "$type": &path }, "missing"] },
        &nothing,
        { "$cond": [is_record, { "$mergeObjects": [&nothing, &path] }, broken] },
    ] });
    // They are the document's: its own key, and a time to collect it.
    let written = ["_id", "purgeAt"].iter().fold(
        bson!("$$n"),
        |record, name| bson!({ "$unsetField": { "field": *name, "input": record } }),
    );
    let replaced = bson!({ "$setField": {
        "field": literal(field),
        "input": "$$ROOT",
        "value": written,
    } });
    let decided = bson!({ "$cond": [{ "$eq": ["$$n", "$$r"] }, "$$ROOT", replaced] });
    let decided = bson!({ "$let": { "vars": { "n": rebase(next) }, "in": decided } });
    bson!({ "$let": { "vars": { "r": record }, "in": decided } })
}

/// The same expression over the variable `$$r` instead of the document.
fn rebase(expression: Bson) -> Bson {
    match expression {
        Bson::String(text) => moved_path(text).into(),
        Bson::Array(items) => Bson::Array(items.into_iter().map(rebase).collect()),
        Bson::Document(document) => {
            let moved = document.into_iter().map(|(name, value)| match &*name {
                "$literal" => (name, value),
                _ => (name, rebase(value)),
            });
            Bson::Document(moved.collect())
        }
        other => other,
    }
}

fn moved_path(path: String) -> String {
    match path.strip_prefix('$') {
        Some("$ROOT") => "$$r".to_owned(),
        Some(field) if !field.is_empty() && !field.starts_with('$') => format!("$$r.{field}"),
        Some(_) | None => match path.strip_prefix("$$ROOT.") {
            Some(field) => format!("$$r.{field}"),
            None => path,
        },
    }
}
