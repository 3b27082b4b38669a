//! Where a record stands: an item of its own, or a map in somebody else's.
//!
//! The expressions of this backend name the record's attributes by placeholders. Moved into a map, each that begins a path
//! stands behind the map's own: so nothing is said twice.

use std::borrow::Cow;
use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};

use crate::backend::granted::Granted;
use crate::backend::store::Seen;
use crate::{Error, Key, LeaseId, LockRecord, Result};

use super::expression::{Expression, PURGE};
use super::grant::replacement;
use super::keys::Keys;
use super::record::{Item, encode, text};

#[cfg(test)]
mod tests;

/// Where a record stands.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// It is the item under the key.
    Item,
    /// It is in an attribute of the item whose own key the key tells, as JSON.
    Attribute {
        name: Arc<str>,
        granted: Granted<Item>,
    },
}

impl Place {
    pub(super) fn attribute(name: &str) -> Self {
        Self::Attribute {
            name: name.into(),
            granted: Granted::default(),
        }
    }

    pub(super) fn is_attribute(&self) -> bool {
        matches!(self, Self::Attribute { .. })
    }

    /// The key of the item that a lock's key means.
    pub(super) fn key(&self, keys: &Keys, key: &Key) -> Item {
        if !self.is_attribute() {
            return keys.of(key);
        }
        let names = [
            Some(&keys.partition),
            keys.sort.as_ref().map(|(name, _)| name),
        ];
        let names = names.into_iter().flatten().cloned();
        names.zip(item_key(key)).collect()
    }

    /// The expression that does to the record what this one would do to an item.
    pub(super) fn moved<'a>(&self, expression: &'a Expression) -> Cow<'a, Expression> {
        match self {
            Self::Item => Cow::Borrowed(expression),
            Self::Attribute { name, .. } => Cow::Owned(expression.moved(name)),
        }
    }

    /// What `read` makes of the record in an item. `None`: there is none.
    pub(super) fn record<T>(
        &self,
        item: Option<&Item>,
        read: impl FnOnce(&Item) -> Result<T>,
    ) -> Result<Option<T>> {
        match self {
            Self::Item => item.map(read).transpose(),
            Self::Attribute { name, .. } => match item.and_then(|item| item.get(&**name)) {
                None => Ok(None),
                Some(AttributeValue::M(record)) => {
                    let read = read(record).map_err(|error| error.within(name));
                    read.map(Some)
                }
                Some(_) => Err(Error::corrupt(name, "is no map")),
            },
        }
    }

    /// The whole record, under the condition that it is still the one that was seen.
    pub(super) fn replacement(&self, seen: &Seen, next: &LockRecord) -> Expression {
        if !self.is_attribute() {
            return replacement(seen, next);
        }
        let mut next = next.clone();
        next.purge_at = None;
        if seen.record.is_some() {
            return replacement(seen, &next);
        }
        // A path leads into a map that is there only.
        let fields = encode(&next).into_iter();
        let record = fields.filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Expression::new(
            "SET #lock = :lock",
            "attribute_exists(#pk) AND attribute_not_exists(#lock)",
        )
        .value("lock", AttributeValue::M(record.collect()))
    }

    /// Keeps the item of a grant for whoever was granted.
    pub(super) fn keep(&self, id: &LeaseId, item: &Item) {
        if let Self::Attribute { granted, .. } = self {
            granted.keep(id, item.clone());
        }
    }

    /// The item of a grant, once.
    pub(super) fn take(&self, id: &LeaseId) -> Option<Item> {
        match self {
            Self::Attribute { granted, .. } => granted.take(id),
            Self::Item => None,
        }
    }

    pub(super) fn forget(&self, id: &LeaseId) {
        drop(self.take(id));
    }
}

impl Expression {
    /// The same over the map `#lock` instead of the item.
    pub(super) fn moved(&self, attribute: &str) -> Self {
        let mut moved = self.clone();
        let [last, first] = [format!(", {PURGE}"), format!("{PURGE}, ")];
        moved.update = moved_paths(&self.update.replace(&last, "").replace(&first, ""));
        moved.condition = moved_paths(&self.condition);
        moved.name("lock", attribute)
    }
}

/// Each path of the record, behind `#lock`. What is the item's own stays.
fn moved_paths(text: &str) -> String {
    let mut moved = String::with_capacity(text.len() * 2);
    for (index, piece) in text.split('#').enumerate() {
        if index > 0 {
            let end = piece.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
            let word = piece.get(..end.unwrap_or(piece.len()));
            if !moved.ends_with('.') && !matches!(word, Some("pk" | "lock")) {
                moved.push_str("#lock.");
            }
            moved.push('#');
        }
        moved.push_str(piece);
    }
    moved
}

/// An item's key as JSON: a string as one, a number by its digits; in an array if there is a sort key.
pub(crate) fn key_json(
    partition: &AttributeValue,
    sort: Option<&AttributeValue>,
) -> Option<String> {
    let value = |value: &AttributeValue| match value {
        AttributeValue::S(text) => Some(json!(text)),
        AttributeValue::N(digits) => Some(json!({ "N": digits })),
        _ => None,
    };
    let json = match sort {
        None => value(partition)?,
        Some(sort) => json!([value(partition)?, value(sort)?]),
    };
    Some(json.to_string())
}

/// The values of an item's key; a key that is no such JSON is the string itself.
fn item_key(key: &Key) -> Vec<AttributeValue> {
    let value = |value: &Value| match value {
        Value::String(value) => Some(text(value)),
        Value::Object(number) => {
            let digits = number.get("N")?.as_str()?;
            Some(AttributeValue::N(digits.to_owned()))
        }
        _ => None,
    };
    let parsed = serde_json::from_str(key.as_str()).ok();
    let values = parsed.and_then(|parsed: Value| match &parsed {
        Value::Array(values) => values.iter().map(value).collect(),
        one => Some(vec![value(one)?]),
    });
    values.unwrap_or_else(|| vec![text(key.as_str())])
}
