//! Accounts as items of a table.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::AttributeValue;
use doclock::document::LockedDocument;
use doclock::document::dynamodb::{Documents, InTable, Update};
use doclock::{Backend, DynamoBackend, Lease, LockRecord};

use super::{Account, Bank, Options, START};
use crate::conformance::dynamodb::sorted;
use crate::support::counter::Counter;

type Item = HashMap<String, AttributeValue>;

pub struct Table {
    url: String,
    name: String,
    documents: Documents,
    sent: Arc<AtomicUsize>,
    /// Its requests are not counted.
    raw: Client,
}

impl Table {
    pub async fn make(url: &str, name: &str) -> Result<Self> {
        let table = Self::at(url, name);
        DynamoBackend::new(table.raw.clone(), name).setup().await?;
        Ok(table)
    }

    pub fn at(url: &str, name: &str) -> Self {
        let config = || {
            aws_sdk_dynamodb::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new("eu-west-1"))
                .credentials_provider(Credentials::new("doclock", "doclock", None, None, "tests"))
                .endpoint_url(url)
        };
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = config().interceptor(Counter(Arc::clone(&sent))).build();
        Self {
            url: url.to_owned(),
            name: name.to_owned(),
            documents: Documents::new(Client::from_conf(counted), name),
            sent,
            raw: Client::from_conf(config().build()),
        }
    }

    async fn item(&self, id: &str) -> Result<Item> {
        let get = self.raw.get_item().table_name(&self.name);
        let get = get.key("pk", text(id)).consistent_read(true);
        get.send().await?.item.context("no item")
    }

    async fn put(&self, item: Item) -> Result<()> {
        let put = self.raw.put_item().table_name(&self.name);
        put.set_item(Some(item)).send().await?;
        Ok(())
    }
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn account(id: &str, balance: i64) -> Item {
    let nested = AttributeValue::M(HashMap::from([("lock".to_owned(), text("mine"))]));
    // Attributes that a record has as well.
    HashMap::from([
        ("pk".to_owned(), text(id)),
        ("balance".to_owned(), number(balance)),
        ("token".to_owned(), text("mine")),
        (
            "holders".to_owned(),
            AttributeValue::L(vec![nested.clone(), AttributeValue::Null(true)]),
        ),
        ("nested".to_owned(), nested),
    ])
}

fn add(amount: i64) -> Update {
    let update = Update::new().add("#balance :amount");
    update
        .name("#balance", "balance")
        .value(":amount", number(amount))
}

#[async_trait]
impl Account for LockedDocument<InTable> {
    fn balance(&self) -> i64 {
        assert!(!self.document().contains_key("lock"));
        let balance = self.document()["balance"].as_n().unwrap();
        balance.parse().unwrap()
    }

    fn lease(&self) -> &Lease {
        self.lease()
    }

    async fn add(&mut self, amount: i64) -> doclock::Result<()> {
        self.update(add(amount)).await
    }

    async fn add_and_unlock(self: Box<Self>, amount: i64) -> doclock::Result<()> {
        self.update_and_unlock(add(amount)).await
    }

    async fn set_and_unlock(self: Box<Self>, balance: i64) -> doclock::Result<()> {
        let set = Update::new().set("balance = :balance");
        let set = set.value(":balance", number(balance));
        self.update_and_unlock(set).await
    }

    async fn meddle(&mut self) -> Vec<(String, doclock::Result<()>)> {
        let one = || Update::new().value(":one", number(1));
        let mut outcomes = Vec::new();
        for update in [
            Update::new(),
            Update::new()
                .condition("balance > :one")
                .value(":one", number(1)),
            one().set("lock = :one"),
            one().set("a = :one").set("lock.token=:one"),
            one()
                .set("#l.#t = :one")
                .name("#l", "lock")
                .name("#t", "token"),
            one().set("a = :one REMOVE lock"),
            one().add("a :one, lock.rev :one"),
            Update::new().remove("lock"),
            Update::new().remove("lock.holders"),
            one().delete("lock.tags :one"),
            one().set("pk = :one"),
            one().set("a = :one").condition("a = :one) OR (a = :one"),
            one().set("a = :doclock_id").value(":doclock_id", number(1)),
            one().set("#doclock_rev = :one").name("#doclock_rev", "a"),
        ] {
            outcomes.push((format!("{update:?}"), self.update(update).await));
        }
        outcomes
    }

    async fn unlock(self: Box<Self>) -> doclock::Result<()> {
        LockedDocument::unlock(*self).await
    }
}

#[async_trait]
impl Bank for Table {
    async fn another(&self) -> Result<Box<dyn Bank>> {
        Ok(Box::new(Self::at(&self.url, &self.name)))
    }

    async fn acquire(&self, id: &str, options: Options) -> doclock::Result<Box<dyn Account>> {
        Ok(Box::new(
            self.documents.lock(id).with(options).acquire().await?,
        ))
    }

    async fn try_acquire(&self, id: &str) -> doclock::Result<Option<Box<dyn Account>>> {
        let taken = self.documents.lock(id).try_acquire().await?;
        Ok(taken.map(|account| Box::new(account) as Box<dyn Account>))
    }

    async fn inspect(&self, id: &str) -> doclock::Result<Option<LockRecord>> {
        self.documents.inspect(id).await
    }

    async fn force(&self, id: &str) -> doclock::Result<()> {
        let ended = self.documents.force_release(id).await?;
        assert_eq!(ended.len(), 1);
        Ok(())
    }

    async fn shutdown(&self) {
        self.documents.shutdown().await;
    }

    fn sent(&self) -> usize {
        self.sent.swap(0, Ordering::SeqCst)
    }

    async fn create(&self, id: &str) -> Result<()> {
        self.put(account(id, START)).await
    }

    async fn replace(&self, id: &str, balance: i64) -> Result<()> {
        self.put(account(id, balance)).await
    }

    async fn delete(&self, id: &str) -> Result<()> {
        let delete = self.raw.delete_item().table_name(&self.name);
        delete.key("pk", text(id)).send().await?;
        Ok(())
    }

    async fn expire(&self, id: &str) -> Result<()> {
        let mut item = self.item(id).await?;
        let Some(AttributeValue::M(lock)) = item.get_mut("lock") else {
            bail!("no lock");
        };
        let holder = crate::conformance::dynamodb::only_entry(lock, "holders");
        holder.insert("expires_at".to_owned(), number(1));
        self.put(item).await
    }

    async fn spoil(&self, id: &str, nth: usize) -> Result<Option<&'static str>> {
        let map = |name: &str, value| AttributeValue::M(HashMap::from([(name.to_owned(), value)]));
        let broken = [
            (AttributeValue::Null(true), "lock"),
            (number(7), "lock"),
            (text("locked"), "lock"),
            (AttributeValue::L(vec![]), "lock"),
            (AttributeValue::M(HashMap::new()), "`v`"),
            (map("by", text("alice")), "`v`"),
            (map("v", number(2)), "`v`"),
        ];
        let Some((lock, names)) = broken.into_iter().nth(nth) else {
            return Ok(None);
        };
        let mut item = self.item(id).await?;
        item.insert("lock".to_owned(), lock);
        self.put(item).await?;
        Ok(Some(names))
    }

    async fn image(&self, id: &str) -> Result<String> {
        Ok(format!("{:?}", sorted(&self.item(id).await?)))
    }

    async fn rest(&self, id: &str) -> Result<String> {
        let mut item = self.item(id).await?;
        item.remove("lock");
        Ok(format!("{:?}", sorted(&item)))
    }

    async fn fields(&self, id: &str) -> Result<Vec<String>> {
        let item = self.item(id).await?;
        let lock = item.get("lock").and_then(|lock| lock.as_m().ok());
        Ok(lock.context("no lock")?.keys().cloned().collect())
    }
}
