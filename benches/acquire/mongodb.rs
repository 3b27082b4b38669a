use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context, Result};
use doclock::{LockClient, MongoBackend};
use mongodb::bson::{DateTime, Document, doc};
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::{Acknowledgment, ClientOptions, Collation, ReturnDocument, WriteConcern};
use mongodb::{Client, Collection, Database};

use crate::race::Race;
use crate::{KEY_A, KEY_B, KEY_C, TTL, take_and_release};

pub(crate) async fn race(race: Race, url: &str) -> Result<()> {
    let database = Client::with_uri_str(url).await?.database("bench");
    let locks = LockClient::new(MongoBackend::new(database.clone()));
    locks.setup().await?;
    let recorded = record(url).await?;
    let mut rounds = recorded.chunks_exact(2).cycle();
    race.run(
        "MongoDB, three nodes",
        async || take_and_release(&locks, KEY_A).await,
        async || resend(&database, rounds.next().context("nothing recorded")?).await,
        async || take_and_release_by_hand(&database.collection("by_hand")).await,
    )
    .await
}

/// The commands of two rounds; after the other, neither looks like a late duplicate of itself.
async fn record(url: &str) -> Result<Vec<Document>> {
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
    let database = Client::with_options(options)?.database("bench");
    let locks = LockClient::new(MongoBackend::new(database));
    take_and_release(&locks, KEY_A).await?;
    take_and_release(&locks, KEY_B).await?;
    sent.lock().unwrap_or_else(PoisonError::into_inner).clear();
    take_and_release(&locks, KEY_A).await?;
    take_and_release(&locks, KEY_A).await?;
    let sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(sent.clone())
}

async fn resend(database: &Database, round: &[Document]) -> Result<()> {
    let collection = database.collection::<Document>("locks");
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
        .find_one_and_update(doc! { "_id": KEY_B }, pipeline(take, "update")?)
        .upsert(true)
        .return_document(ReturnDocument::After)
        .projection(take.get_document("fields")?.clone())
        .collation(simple.clone())
        .write_concern(durable())
        .await?
        .context("held by another")?;
    let holders = taken.get_document("record")?.get_array("holders")?;
    anyhow::ensure!(holders.len() == 1, "not granted");
    let update = release.get_array("updates")?[0].as_document();
    let update = update.context("an update")?;
    let mut filter = update.get_document("q")?.clone();
    filter.insert("_id", KEY_B);
    let released = collection
        .update_one(filter, pipeline(update, "u")?)
        .collation(simple)
        .write_concern(durable())
        .await?;
    anyhow::ensure!(released.modified_count == 1, "not released");
    Ok(())
}

async fn take_and_release_by_hand(collection: &Collection<Document>) -> Result<()> {
    let owner = uuid::Uuid::new_v4().to_string();
    let now = SystemTime::now();
    let [now, expires_at] = [now, now + TTL].map(DateTime::from);
    collection
        .find_one_and_update(
            doc! { "_id": KEY_C, "$or": [{ "owner": null }, { "expiresAt": { "$lte": now } }] },
            doc! { "$set": { "owner": &owner, "expiresAt": expires_at }, "$inc": { "token": 1_i64 } },
        )
        .upsert(true)
        .return_document(ReturnDocument::After)
        .write_concern(durable())
        .await?
        .context("held by another")?;
    let released = collection
        .update_one(
            doc! { "_id": KEY_C, "owner": owner },
            doc! { "$set": { "owner": null } },
        )
        .write_concern(durable())
        .await?;
    anyhow::ensure!(released.modified_count == 1, "not released");
    Ok(())
}

fn durable() -> WriteConcern {
    WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .build()
}
