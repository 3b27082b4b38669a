//! Items of a DynamoDB table that carry their own lock.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;

use super::key::key;
use super::store::{Store, Written};
use crate::backend::dynamodb::embedded::key_json;
use crate::backend::dynamodb::guarded::{Change, Held, PREFIX, holds};
use crate::client::invalid;
use crate::{DynamoBackend, Key, Lease, LeaseId, LockClient, Result};

/// The attribute unless the caller names another.
const ATTRIBUTE: &str = "lock";

/// Items of a table that carry their own lock, in a map.
///
/// ```no_run
/// # async fn example(client: aws_sdk_dynamodb::Client) -> doclock::Result<()> {
/// use aws_sdk_dynamodb::types::AttributeValue;
/// use doclock::document::dynamodb::{Documents, Update};
///
/// let accounts = Documents::new(client, "accounts").partition_key("id");
/// let account = accounts.lock("alice").acquire().await?; // locks and reads
/// println!("{:?}", account.document().get("balance"));
/// let less = Update::new()
///     .set("balance = balance - :amount")
///     .value(":amount", AttributeValue::N("20".into()));
/// account.update_and_unlock(less).await?;
/// # Ok(()) }
/// ```
///
/// # In the item
///
/// The attribute is added by the first lock, which takes two requests, and stays: it keeps the fencing token. Nothing else in
/// the item is touched. There is no TTL, and nothing to set up.
///
/// The map is a [record](crate::docs::protocol) without `purge_at`, and with the id of the last acquisition that ended by
/// [`update_and_unlock`](super::LockedDocument::update_and_unlock) in `written`. One that is not is refused with
/// [`CorruptRecord`](crate::ErrorKind::CorruptRecord) and left as it is.
///
/// The lock needs up to half a kilobyte of the item's 400 KB. Every write is charged by the size of the whole item: for
/// large items a [lock of its own](DynamoBackend) is cheaper.
///
/// # Permissions
///
/// `dynamodb:GetItem` and `dynamodb:UpdateItem` on the table.
pub type Documents = super::Documents<InTable>;

/// A table, as [`Documents`] sees it.
#[derive(Clone)]
pub struct InTable {
    backend: DynamoBackend,
    attribute: String,
}

impl Documents {
    /// The items of this table. Sends nothing yet.
    #[must_use]
    pub fn new(client: aws_sdk_dynamodb::Client, table: impl Into<String>) -> Self {
        Self::within(DynamoBackend::new(client, table), ATTRIBUTE)
    }

    /// The name of the table's partition key. Default: `pk`.
    #[must_use]
    pub fn partition_key(self, name: impl Into<String>) -> Self {
        self.with(|backend| backend.partition_key(name))
    }

    /// The name of the table's sort key. Default: no sort key.
    #[must_use]
    pub fn sort_key(self, name: impl Into<String>) -> Self {
        // Each item has a value of its own there, which its key tells.
        self.with(|backend| backend.sort_key(name, ""))
    }

    /// The attribute that the lock stands in, `lock` by default. The same in all programs that lock these items.
    #[must_use]
    pub fn field(self, name: &str) -> Self {
        Self::within(self.store.backend, name)
    }

    /// How far apart the clocks of two servers may be: [`DynamoBackend::clock_skew`].
    #[must_use]
    pub fn clock_skew(self, skew: Duration) -> Self {
        self.with(|backend| backend.clock_skew(skew))
    }

    fn with(self, change: impl FnOnce(DynamoBackend) -> DynamoBackend) -> Self {
        let InTable { backend, attribute } = self.store;
        Self::within(change(backend), &attribute)
    }

    fn within(backend: DynamoBackend, attribute: &str) -> Self {
        Self::over(InTable {
            backend: backend.in_attribute(attribute),
            attribute: attribute.to_owned(),
        })
    }
}

/// The key of an item: its partition key's value, and its sort key's if the table has one.
///
/// ```
/// use doclock::document::dynamodb::ItemKey;
///
/// let one: ItemKey = "alice".into();
/// let number: ItemKey = 42.into();
/// let both: ItemKey = ("alice", 2026).into();
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ItemKey {
    partition: AttributeValue,
    sort: Option<AttributeValue>,
}

/// One value of a key: a string or a number.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyValue(AttributeValue);

impl From<&str> for KeyValue {
    fn from(text: &str) -> Self {
        Self(AttributeValue::S(text.to_owned()))
    }
}

impl From<String> for KeyValue {
    fn from(text: String) -> Self {
        Self(AttributeValue::S(text))
    }
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl From<$number> for KeyValue {
            fn from(number: $number) -> Self {
                Self(AttributeValue::N(number.to_string()))
            }
        }
    )*};
}
numbers!(i32 i64 u32 u64);

/// Any attribute; one that is neither a string nor a number is reported when the item is locked.
impl From<AttributeValue> for KeyValue {
    fn from(value: AttributeValue) -> Self {
        Self(value)
    }
}

impl<P: Into<KeyValue>> From<P> for ItemKey {
    fn from(partition: P) -> Self {
        Self {
            partition: partition.into().0,
            sort: None,
        }
    }
}

impl<P: Into<KeyValue>, S: Into<KeyValue>> From<(P, S)> for ItemKey {
    fn from((partition, sort): (P, S)) -> Self {
        Self {
            partition: partition.into().0,
            sort: Some(sort.into().0),
        }
    }
}

/// A change of an item: the clauses of an [update expression][expressions], what their placeholders mean, and a condition
/// if one is wanted.
///
/// The condition that the lock is held is added by this crate. Placeholders may have any name that does not begin with
/// `doclock_`.
///
/// ```
/// use aws_sdk_dynamodb::types::AttributeValue;
/// use doclock::document::dynamodb::Update;
///
/// let sale = Update::new()
///     .set("stock = stock - :one")
///     .set("#status = :sold")
///     .add("sales :one")
///     .remove("reservation")
///     .condition("stock > :zero")
///     .name("#status", "status") // a reserved word
///     .value(":sold", AttributeValue::S("sold".into()))
///     .value(":one", AttributeValue::N("1".into()))
///     .value(":zero", AttributeValue::N("0".into()));
/// ```
///
/// [expressions]: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.UpdateExpressions.html
#[derive(Clone, Debug, Default)]
#[must_use = "pass it to `update` or `update_and_unlock`"]
pub struct Update {
    set: Vec<String>,
    remove: Vec<String>,
    add: Vec<String>,
    delete: Vec<String>,
    condition: Option<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Update {
    /// Changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// `SET` this: `"balance = balance - :amount"`. May be called again, as each of the following.
    pub fn set(mut self, assignment: impl Into<String>) -> Self {
        self.set.push(assignment.into());
        self
    }

    /// `REMOVE` this attribute.
    pub fn remove(mut self, path: impl Into<String>) -> Self {
        self.remove.push(path.into());
        self
    }

    /// `ADD` this to a number or a set: `"visits :one"`.
    #[expect(clippy::should_implement_trait, reason = "it is named as its clause")]
    pub fn add(mut self, addition: impl Into<String>) -> Self {
        self.add.push(addition.into());
        self
    }

    /// `DELETE` this from a set: `"tags :old"`.
    pub fn delete(mut self, deletion: impl Into<String>) -> Self {
        self.delete.push(deletion.into());
        self
    }

    /// Written only if this holds as well; otherwise [`ErrorKind::ConditionFailed`](crate::ErrorKind::ConditionFailed).
    pub fn condition(mut self, condition: impl Into<String>) -> Self {
        self.condition = Some(condition.into());
        self
    }

    /// What a `#placeholder` stands for.
    pub fn name(mut self, placeholder: impl Into<String>, name: impl Into<String>) -> Self {
        self.names.insert(placeholder.into(), name.into());
        self
    }

    /// What a `:placeholder` stands for.
    pub fn value(mut self, placeholder: impl Into<String>, value: AttributeValue) -> Self {
        self.values.insert(placeholder.into(), value);
        self
    }

    fn clauses(&self) -> [(&'static str, &[String]); 4] {
        [
            ("SET", &self.set),
            ("REMOVE", &self.remove),
            ("ADD", &self.add),
            ("DELETE", &self.delete),
        ]
    }

    /// The attributes of the item that its clauses name.
    fn attributes(&self) -> impl Iterator<Item = &str> {
        let clauses = self.clauses().into_iter();
        let texts = clauses.flat_map(|(_, said)| said.iter().map(String::as_str));
        texts
            .flat_map(heads)
            .map(|head| match head.strip_prefix('#') {
                Some(_) => self.names.get(head).map_or(head, String::as_str),
                None => head,
            })
    }
}

/// What begins a path in an expression, and its keywords and functions.
fn heads(text: &str) -> impl Iterator<Item = &str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '#' | ':' | '.');
    let words = text.split(move |c| !is_word(c));
    let heads = words.filter(|word| !word.starts_with([':', '.']));
    heads.filter_map(|word| word.split('.').next().filter(|head| !head.is_empty()))
}

/// Whether each parenthesis closes one of the text itself.
fn is_balanced(text: &str) -> bool {
    let depth = text.chars().try_fold(0_usize, |depth, char| match char {
        '(' => Some(depth + 1),
        ')' => depth.checked_sub(1),
        _ => Some(depth),
    });
    depth == Some(0)
}

#[async_trait]
impl Store for InTable {
    type Id = ItemKey;
    type Document = HashMap<String, AttributeValue>;
    type Raw = HashMap<String, AttributeValue>;
    type Update = Update;

    fn client(&self) -> LockClient {
        LockClient::new(self.backend.clone())
    }

    fn key(&self, id: ItemKey) -> Result<Key> {
        let (partition, sort) = self.backend.key_names();
        let attribute = &self.attribute;
        if attribute.is_empty() || attribute == partition || Some(attribute.as_str()) == sort {
            return Err(invalid(format!(
                "`{attribute}` cannot be the attribute of a lock: name one that is no key of the table"
            )));
        }
        if sort.is_some() != id.sort.is_some() {
            return Err(invalid(
                "a key has a value for the sort key if the table has one, and only then: name it with `sort_key`, and                  lock a pair of values",
            ));
        }
        let json = key_json(&id.partition, id.sort.as_ref());
        let json = json.ok_or_else(|| invalid("the values of a key are strings or numbers"))?;
        key(&json)
    }

    fn granted(&self, id: &LeaseId) -> Option<Self::Raw> {
        self.backend.granted(id)
    }

    async fn read(&self, lease: &Lease, timeout: Duration) -> Result<Option<Self::Raw>> {
        let found = self.backend.item(lease.key(), timeout).await?;
        Ok(found.filter(|item| self.record(item).is_some_and(|record| holds(record, lease))))
    }

    fn parse(&self, mut raw: Self::Raw) -> Result<Self::Document> {
        raw.remove(&self.attribute);
        Ok(raw)
    }

    fn check(&self, update: &Update) -> Result<()> {
        if update.clauses().iter().all(|(_, said)| said.is_empty()) {
            return Err(invalid("the update says nothing: name what is to change"));
        }
        let (partition, sort) = self.backend.key_names();
        for name in update.attributes() {
            if name == self.attribute {
                return Err(invalid(format!(
                    "the update of `{name}`: the lock is changed by this crate only"
                )));
            }
            if name == partition || Some(name) == sort {
                return Err(invalid(format!(
                    "the update of `{name}`: the key of an item does not change"
                )));
            }
        }
        if !update.condition.as_deref().is_none_or(is_balanced) {
            return Err(invalid(
                "the condition of the update has a parenthesis too many",
            ));
        }
        let mut placeholders = update.names.keys().chain(update.values.keys());
        if let Some(ours) =
            placeholders.find(|name| name.get(1..).is_some_and(|name| name.starts_with(PREFIX)))
        {
            return Err(invalid(format!(
                "the placeholder `{ours}` is one of this crate's: name it otherwise"
            )));
        }
        Ok(())
    }

    async fn write(
        &self,
        lease: &Lease,
        update: &Update,
        unlocks: bool,
        timeout: Duration,
    ) -> Result<Written<Self::Raw>> {
        let change = Change {
            clauses: update.clauses(),
            condition: update.condition.as_deref(),
            names: &update.names,
            values: &update.values,
        };
        let written = self.backend.update_held(lease, change, unlocks, timeout);
        Ok(match written.await? {
            Held::Written(item) => Written::Applied(item),
            Held::ConditionFailed => Written::ConditionFailed,
            Held::No => Written::NotHeld,
        })
    }

    async fn was_unlocked(&self, lease: &Lease, timeout: Duration) -> Result<Option<bool>> {
        let found = self.backend.item(lease.key(), timeout).await?;
        let record = found.as_ref().and_then(|item| self.record(item));
        Ok(record.and_then(|record| {
            let id = AttributeValue::S(lease.id().to_string());
            if record.get("written") == Some(&id) {
                return Some(true);
            }
            // A later acquisition may have written since.
            let token = AttributeValue::N(lease.token().to_string());
            (record.get("token") == Some(&token)).then_some(false)
        }))
    }
}

impl InTable {
    fn record<'a>(
        &self,
        item: &'a HashMap<String, AttributeValue>,
    ) -> Option<&'a HashMap<String, AttributeValue>> {
        item.get(&self.attribute)?.as_m().ok()
    }
}
