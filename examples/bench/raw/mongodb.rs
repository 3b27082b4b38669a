use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use mongodb::bson::{DateTime, Document, doc};
use mongodb::error::ErrorKind;
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::{Acknowledgment, ClientOptions, Collation, ReturnDocument, WriteConcern};
use mongodb::{Client, Collection, Database};

use super::{TTL, take_and_release};
use crate::server::{DATABASE, Driver, TABLE};

/// What an upsert meets whose filter does not match the document that is there.
const DUPLICATE_KEY: i32 = 11_000;

pub(super) async fn take(database: &Database, key: &str, owner: &str) -> Result<bool> {
    let now = SystemTime::now();
    let [now, expires_at] = [now, now + TTL].map(DateTime::from);
    let taken = by_hand(database)
        .find_one_and_update(
            doc! { "_id": key, "$or": [{ "owner": null }, { "expiresAt": { "$lte": now } }] },
            doc! { "$set": { "owner": owner, "expiresAt": expires_at }, "$inc": { "token": 1_i64 } },
        )
        .upsert(true)
        .return_document(ReturnDocument::After)
        .write_concern(durable())
        .await;
    match taken {
        Ok(taken) => Ok(taken.is_some()),
        Err(error) if matches!(*error.kind, ErrorKind::Command(ref why) if why.code == DUPLICATE_KEY) => {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn give_back(database: &Database, key: &str, owner: &str) -> Result<()> {
    let released = by_hand(database)
        .update_one(
            doc! { "_id": key, "owner": owner },
            doc! { "$set": { "owner": null } },
        )
        .write_concern(durable())
        .await?;
    ensure!(released.modified_count == 1, "not released");
    Ok(())
}

fn by_hand(database: &Database) -> Collection<Document> {
    database.collection("by_hand")
}

pub(super) async fn record(url: &str, key: &str) -> Result<Vec<Document>> {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&sent);
    let mut options = ClientOptions::parse(url).await?;
    options.command_event_handler = Some(EventHandler::callback(move |event| {
        if let CommandEvent::Started(started) = event {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            if ["findAndModify", "update"].contains(&started.command_name.as_str()) {
                log.push(started.command);
            }
        }
    }));
    let database = Client::with_options(options)?.database(DATABASE);
    let locks = Driver::Mongo(database).locks();
    for _ in 0..3 {
        take_and_release(&locks, key).await?;
    }
    let sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
    // The first round made the record.
    Ok(sent[2..].to_vec())
}

pub(super) async fn resend(database: &Database, key: &str, round: &[Document]) -> Result<()> {
    let collection = database.collection::<Document>(TABLE);
    let simple = Collation::builder().locale("simple").build();
    let [take, release] = round else {
        anyhow::bail!("a round is two commands");
    };
    let pipeline = |update: &Document, field: &str| -> Result<Vec<Document>> {
        let stages = update.get_array(field)?.iter();
        Ok(stages
            .filter_map(|stage| stage.as_document().cloned())
            .collect())
    };
    let taken = collection
        .find_one_and_update(doc! { "_id": key }, pipeline(take, "update")?)
        .upsert(true)
        .return_document(ReturnDocument::After)
        .projection(take.get_document("fields")?.clone())
        .collation(simple.clone())
        .write_concern(durable())
        .await?
        .context("held by another")?;
    let holders = taken.get_document("record")?.get_array("holders")?;
    ensure!(holders.len() == 1, "not granted");
    let update = release.get_array("updates")?[0].as_document();
    let update = update.context("an update")?;
    let mut filter = update.get_document("q")?.clone();
    filter.insert("_id", key);
    let released = collection
        .update_one(filter, pipeline(update, "u")?)
        .collation(simple)
        .write_concern(durable())
        .await?;
    ensure!(released.modified_count == 1, "not released");
    Ok(())
}

fn durable() -> WriteConcern {
    WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .build()
}
