//! Accounts as documents of a collection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use doclock::document::LockedDocument;
use doclock::document::mongodb::{Documents, InCollection};
use doclock::{Lease, LockRecord};
use mongodb::Client;
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::ClientOptions;

use super::{Account, Bank, Options, START};

pub struct Collection {
    url: String,
    name: String,
    documents: Documents,
    sent: Arc<AtomicUsize>,
    /// By a client of its own, whose commands are not counted.
    raw: mongodb::Collection<Document>,
}

impl Collection {
    pub async fn at(url: &str, name: &str) -> Result<Self> {
        let sent = Arc::new(AtomicUsize::new(0));
        let mut options = ClientOptions::parse(url).await?;
        let raw = collection(&Client::with_options(options.clone())?, name);
        let seen = Arc::clone(&sent);
        options.command_event_handler = Some(EventHandler::callback(move |event| {
            if let CommandEvent::Started(started) = event
                && ["findAndModify", "update", "find"].contains(&started.command_name.as_str())
            {
                seen.fetch_add(1, Ordering::SeqCst);
            }
        }));
        let counted = Client::with_options(options)?;
        Ok(Self {
            url: url.to_owned(),
            name: name.to_owned(),
            documents: Documents::new(collection(&counted, name)),
            sent,
            raw,
        })
    }

    async fn found(&self, id: &str) -> Result<Document> {
        let found = self.raw.find_one(doc! { "_id": id }).await?;
        found.context("no document")
    }

    async fn set(&self, id: &str, fields: Document) -> Result<()> {
        let set = doc! { "$set": fields };
        let updated = self.raw.update_one(doc! { "_id": id }, set).await?;
        ensure!(updated.modified_count == 1, "nothing was set");
        Ok(())
    }
}

fn collection(client: &Client, name: &str) -> mongodb::Collection<Document> {
    client.database("doclock_documents").collection(name)
}

fn account(id: &str, balance: i64) -> Document {
    // A field that a record has as well, nested ones, and an order that no alphabet has.
    doc! {
        "_id": id, "z": 1, "token": "mine", "balance": balance, "holders": [{ "name": "a" }, null],
        "nested": { "lock": true, "b": 1.5, "a": DateTime::MIN }, "a": "$balance",
    }
}

fn add(amount: i64) -> Document {
    doc! { "$inc": { "balance": amount } }
}

#[async_trait]
impl Account for LockedDocument<InCollection<Document>> {
    fn balance(&self) -> i64 {
        assert!(!self.document().contains_key("lock"));
        self.document().get_i64("balance").unwrap()
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
        let set = doc! { "$set": { "balance": balance } };
        self.update_and_unlock(set).await
    }

    async fn meddle(&mut self) -> Vec<(String, doclock::Result<()>)> {
        let mut outcomes = Vec::new();
        for update in [
            doc! {},
            doc! { "$set": { "lock": 1 } },
            doc! { "$set": { "a": 1, "lock.token": 1_i64 } },
            doc! { "$unset": { "lock": "" } },
            doc! { "$rename": { "a": "lock" } },
            doc! { "$rename": { "lock.token": "a" } },
            doc! { "$set": { "_id": 1 } },
            doc! { "$set": { "holders.$.name": "b" } },
            doc! { "$set": 1 },
            doc! { "balance": 1 },
        ] {
            outcomes.push((update.to_string(), self.update(update).await));
        }
        outcomes
    }

    async fn unlock(self: Box<Self>) -> doclock::Result<()> {
        LockedDocument::unlock(*self).await
    }
}

#[async_trait]
impl Bank for Collection {
    async fn another(&self) -> Result<Box<dyn Bank>> {
        Ok(Box::new(Self::at(&self.url, &self.name).await?))
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
        self.raw.insert_one(account(id, START)).await?;
        Ok(())
    }

    async fn replace(&self, id: &str, balance: i64) -> Result<()> {
        let replaced = self
            .raw
            .replace_one(doc! { "_id": id }, account(id, balance));
        ensure!(replaced.await?.modified_count == 1);
        Ok(())
    }

    async fn delete(&self, id: &str) -> Result<()> {
        self.raw.delete_one(doc! { "_id": id }).await?;
        Ok(())
    }

    async fn expire(&self, id: &str) -> Result<()> {
        let past = DateTime::from_millis(1_600_000_000_000);
        self.set(id, doc! { "lock.holders.0.expiresAt": past })
            .await
    }

    async fn spoil(&self, id: &str, nth: usize) -> Result<Option<&'static str>> {
        let later = doc! { "v": 2, "holders": [] };
        let broken: [(Bson, &str); 9] = [
            (Bson::Null, "lock"),
            (7.into(), "lock"),
            ("locked".into(), "lock"),
            (true.into(), "lock"),
            (Bson::Array(vec![]), "lock"),
            (Document::new().into(), "lock"),
            (doc! { "_id": 1, "v": 1 }.into(), "lock"),
            (doc! { "by": "alice" }.into(), "`v`"),
            (later.into(), "`v`"),
        ];
        let Some((lock, names)) = broken.get(nth) else {
            return Ok(None);
        };
        self.set(id, doc! { "lock": lock }).await?;
        Ok(Some(names))
    }

    async fn image(&self, id: &str) -> Result<String> {
        let raw = self.raw.clone_with_type::<mongodb::bson::RawDocumentBuf>();
        let found = raw.find_one(doc! { "_id": id }).await?;
        Ok(format!("{:?}", found.context("no document")?.as_bytes()))
    }

    async fn rest(&self, id: &str) -> Result<String> {
        let found = self.found(id).await?.into_iter();
        let rest: Document = found.filter(|(name, _)| name != "lock").collect();
        Ok(format!("{:?}", mongodb::bson::to_vec(&rest)?))
    }

    async fn fields(&self, id: &str) -> Result<Vec<String>> {
        let found = self.found(id).await?;
        Ok(found.get_document("lock")?.keys().cloned().collect())
    }
}
