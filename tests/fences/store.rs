//! Data beside the locks, in either database, and every guarded way to write it.

use std::collections::HashMap;

use anyhow::{Context, Result};
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::types::{AttributeValue, Put, ReturnValue, TransactWriteItem};
use doclock::fence::Guarded;
use doclock::{DynamoBackend, ErrorKind, Lease, LockClient, LockClientBuilder, MongoBackend};
use mongodb::bson::{Document, doc};
use mongodb::options::{FindOneAndUpdateOptions, ReturnDocument};
use mongodb::{ClientSession, Collection};

use super::mongodb::write;
use crate::processes::skewed;

pub enum Store {
    Mongo(Collection<Document>, Collection<Document>),
    Dynamo(aws_sdk_dynamodb::Client, String),
}

impl Store {
    pub async fn of(url: &str) -> Result<Self> {
        if url.starts_with("mongodb") {
            let locks = skewed::collection(url).await?;
            let name = format!("{}-items", locks.name());
            let items = locks
                .client()
                .database(&locks.namespace().db)
                .collection(&name);
            return Ok(Self::Mongo(locks, items));
        }
        let (client, table) = skewed::table(url)?;
        Ok(Self::Dynamo(client, table.to_owned()))
    }

    /// Locks by the same database client as the data.
    pub fn locks(&self) -> LockClientBuilder {
        match self {
            Self::Mongo(locks, _) => {
                LockClient::builder(MongoBackend::with_collection(locks.clone()))
            }
            Self::Dynamo(client, table) => {
                LockClient::builder(DynamoBackend::new(client.clone(), table))
            }
        }
    }

    /// Every guarded way to write.
    pub fn forms(&self) -> Vec<&'static str> {
        match self {
            Self::Mongo(..) => {
                [&super::mongodb::FORMS[..], &["assert held", "transaction"]].concat()
            }
            Self::Dynamo(..) => vec!["put", "update", "delete", "condition check"],
        }
    }

    /// Writes `late` in one of these ways: whether it was applied.
    pub async fn write(&self, lease: &Lease, form: &str, id: &str) -> Result<bool> {
        match self {
            Self::Mongo(_, items) => match form {
                "assert held" => assert_held(items, lease, id).await,
                "transaction" => transaction(items, lease, id).await,
                _ => Ok(write(items, lease, form, id).await?),
            },
            Self::Dynamo(client, table) => {
                let fence = lease.fence().dynamodb()?;
                let key = text(id);
                Ok(match form {
                    "put" => {
                        let put = client.put_item().table_name(table).item("pk", key);
                        let put = fence.guarded_put(put.item("by", text("late"))).await?;
                        put.applied().is_some()
                    }
                    "update" => {
                        let update = client.update_item().table_name(table).key("pk", key);
                        let update = update
                            .update_expression("SET #by = :by")
                            .expression_attribute_names("#by", "by")
                            .expression_attribute_values(":by", text("late"));
                        fence.guarded_update(update).await?.applied().is_some()
                    }
                    "delete" => {
                        let delete = client.delete_item().table_name(table).key("pk", key);
                        fence.guarded_delete(delete).await?.applied().is_some()
                    }
                    _ => {
                        let check = lease.condition_check(client).await?;
                        let put = Put::builder().table_name(table).item("pk", key);
                        let put = put.item("by", text("late")).build()?;
                        let check = TransactWriteItem::builder().condition_check(check).build();
                        let put = TransactWriteItem::builder().put(put).build();
                        let sent = client
                            .transact_write_items()
                            .transact_items(check)
                            .transact_items(put);
                        let sent = sent.send().await.map_err(SdkError::into_service_error);
                        match sent {
                            Ok(_) => true,
                            Err(error) if error.is_transaction_canceled_exception() => false,
                            Err(error) => return Err(error.into()),
                        }
                    }
                })
            }
        }
    }

    /// Writes without any guard.
    pub async fn write_unguarded(&self, id: &str, by: &str) -> Result<()> {
        match self {
            Self::Mongo(_, items) => {
                let update = items.update_one(doc! { "_id": id }, doc! { "$set": { "by": by } });
                update.upsert(true).await?;
            }
            Self::Dynamo(client, table) => {
                let update = client.update_item().table_name(table).key("pk", text(id));
                let update = update
                    .update_expression("SET #by = :by")
                    .expression_attribute_names("#by", "by")
                    .expression_attribute_values(":by", text(by));
                update.send().await?;
            }
        }
        Ok(())
    }

    pub async fn by(&self, id: &str) -> Result<String> {
        match self {
            Self::Mongo(_, items) => {
                let item = items
                    .find_one(doc! { "_id": id })
                    .await?
                    .context("no item")?;
                Ok(item.get_str("by")?.to_owned())
            }
            Self::Dynamo(client, table) => {
                let get = client.get_item().table_name(table).key("pk", text(id));
                let item = get
                    .consistent_read(true)
                    .send()
                    .await?
                    .item
                    .context("no item")?;
                item["by"].as_s().cloned().ok().context("no text")
            }
        }
    }

    /// Reads a number so that no older holder can change it from then on; `None` if a newer one has it.
    pub async fn read(&self, lease: &Lease, id: &str) -> doclock::Result<Option<i64>> {
        match self {
            Self::Mongo(_, items) => {
                let options = FindOneAndUpdateOptions::builder()
                    .upsert(true)
                    .return_document(ReturnDocument::After)
                    .build();
                let fence = lease.fence().mongodb()?;
                let read = fence
                    .guarded_find_one_and_update(items, doc! { "_id": id }, doc! {}, options)
                    .await?;
                let n = |item: Option<Document>| item.and_then(|item| item.get_i64("n").ok());
                Ok(read.applied().map(|item| n(item).unwrap_or(0)))
            }
            Self::Dynamo(client, table) => {
                let update = client.update_item().table_name(table).key("pk", text(id));
                let update = update.return_values(ReturnValue::AllNew);
                let read = lease.fence().dynamodb()?.guarded_update(update).await?;
                let n = |item: HashMap<String, AttributeValue>| {
                    item.get("n")?.as_n().ok()?.parse().ok()
                };
                Ok(read
                    .applied()
                    .map(|read| read.attributes.and_then(n).unwrap_or(0)))
            }
        }
    }

    /// Writes a number back: whether it was applied.
    pub async fn write_back(&self, lease: &Lease, id: &str, n: i64) -> doclock::Result<bool> {
        match self {
            Self::Mongo(_, items) => {
                let set = doc! { "$set": { "n": n } };
                let fence = lease.fence().mongodb()?;
                let set = fence
                    .guarded_update_one(items, doc! { "_id": id }, set, None)
                    .await?;
                Ok(set.applied().is_some())
            }
            Self::Dynamo(client, table) => {
                let update = client.update_item().table_name(table).key("pk", text(id));
                let update = update
                    .update_expression("SET n = :n")
                    .expression_attribute_values(":n", AttributeValue::N(n.to_string()));
                let set = lease.fence().dynamodb()?.guarded_update(update).await?;
                Ok(set.applied().is_some())
            }
        }
    }
}

async fn late(
    items: &Collection<Document>,
    session: &mut ClientSession,
    id: &str,
) -> mongodb::error::Result<()> {
    let update = items.update_one(doc! { "_id": id }, doc! { "$set": { "by": "late" } });
    update.upsert(true).session(session).await.map(|_| ())
}

async fn assert_held(items: &Collection<Document>, lease: &Lease, id: &str) -> Result<bool> {
    let mut session = items.client().start_session().await?;
    let run = session.start_transaction().and_run2(async |session| {
        late(items, &mut *session, id).await?;
        lease.assert_held(session).await
    });
    match run.await {
        Ok(()) => Ok(true),
        Err(error) => {
            let kind = error
                .get_custom::<doclock::Error>()
                .map(doclock::Error::kind);
            anyhow::ensure!(
                kind == Some(ErrorKind::LeaseLost) && lease.is_held(),
                "{error}"
            );
            Ok(false)
        }
    }
}

async fn transaction(items: &Collection<Document>, lease: &Lease, id: &str) -> Result<bool> {
    let mut session = items.client().start_session().await?;
    let fence = lease.fence().mongodb()?;
    let run = fence.transaction(&mut session, async |session| late(items, session, id).await);
    Ok(run.await? == Guarded::Applied(()))
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}
