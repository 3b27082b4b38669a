//! Items of a DynamoDB table that carry their own lock.

mod item_key;
mod update;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;

use super::key::key;
use super::store::{Store, Written};
use crate::backend::dynamodb::embedded::key_json;
use crate::backend::dynamodb::guarded::{Held, holds};
use crate::client::invalid;
use crate::{DynamoBackend, Key, Lease, LeaseId, LockClient, Result};

pub use self::item_key::{ItemKey, KeyValue};
pub use self::update::Update;

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
                "a key has a value for the sort key if the table has one, and only then: name it with `sort_key`, and \
                 lock a pair of values",
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
        update.check(&self.attribute, self.backend.key_names())
    }

    async fn write(
        &self,
        lease: &Lease,
        update: &Update,
        unlocks: bool,
        timeout: Duration,
    ) -> Result<Written<Self::Raw>> {
        let written = self
            .backend
            .update_held(lease, update.change(), unlocks, timeout);
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
