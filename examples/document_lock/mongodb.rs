//! Accounts as documents of a MongoDB collection.

use anyhow::{Context, Result};
use doclock::document::mongodb::Documents;
use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::{ACCOUNTS, BALANCE, Bank, THINKING, id};

#[derive(Serialize, Deserialize)]
struct Account {
    #[serde(rename = "_id")]
    id: String,
    balance: i64,
}

pub(crate) struct InCollection {
    collection: Collection<Account>,
    accounts: Documents<Account>,
}

impl InCollection {
    pub(crate) async fn open(url: &str) -> Result<Self> {
        let client = Client::with_uri_str(url).await?;
        let database = client.default_database();
        let database = database.unwrap_or_else(|| client.database("test"));
        let collection = database.collection("locks");
        Ok(Self {
            accounts: Documents::new(collection.clone()),
            collection,
        })
    }
}

impl Bank for InCollection {
    async fn transfer(&self, from: &str, to: &str, amount: i64) -> Result<()> {
        // In the order of their names: two who lock the same accounts in opposite orders would wait for each other.
        let (first, second) = (from.min(to), from.max(to));
        let first_account = self.accounts.lock(id(first)).acquire().await?;
        let second_account = self.accounts.lock(id(second)).acquire().await?;
        let (less, more) = if first == from {
            (first_account, second_account)
        } else {
            (second_account, first_account)
        };
        sleep(THINKING).await;
        if less.document().balance < amount {
            less.unlock().await?;
            return Ok(more.unlock().await?);
        }
        let left = less.document().balance - amount;
        let sum = more.document().balance + amount;
        less.update_and_unlock(set(left)).await?;
        more.update_and_unlock(set(sum)).await?;
        Ok(())
    }

    async fn transfer_carelessly(&self, from: &str, to: &str, amount: i64) -> Result<()> {
        let (less, more) = (self.balance(from).await?, self.balance(to).await?);
        sleep(THINKING).await;
        let raw = self.collection.clone_with_type::<Document>();
        raw.update_one(doc! { "_id": id(from) }, set(less - amount))
            .await?;
        raw.update_one(doc! { "_id": id(to) }, set(more + amount))
            .await?;
        Ok(())
    }

    async fn reset(&self) -> Result<()> {
        for account in ACCOUNTS {
            let update = self
                .collection
                .update_one(doc! { "_id": id(account) }, set(BALANCE));
            update.upsert(true).await?;
        }
        Ok(())
    }

    async fn balance(&self, account: &str) -> Result<i64> {
        let raw = self.collection.clone_with_type::<Document>();
        let found = raw.find_one(doc! { "_id": id(account) }).await?;
        Ok(found.context("no such account")?.get_i64("balance")?)
    }

    async fn close(&self) {
        self.accounts.shutdown().await;
    }
}

fn set(balance: i64) -> Document {
    doc! { "$set": { "balance": balance } }
}
