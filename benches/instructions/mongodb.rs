use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use doclock::{LockClient, MongoBackend};
use mongodb::bson::{Document, doc};
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::{Acknowledgment, ClientOptions, Collation, ReturnDocument, WriteConcern};
use mongodb::{Client, Database};

use crate::support::servers;
use crate::{KEY, TTL};

const DATABASE: &str = "instructions";
const RESENT: &str = "resent";

pub(crate) async fn backend() -> Result<MongoBackend> {
    let client = Client::with_uri_str(servers::mongodb_url()).await?;
    Ok(MongoBackend::new(client.database(DATABASE)))
}

pub(crate) async fn resend(rounds: usize) -> Result<()> {
    let client = Client::with_uri_str(servers::mongodb_url()).await?;
    let database = client.database(DATABASE);
    let recorded = record().await?;
    // After the other, neither looks like a late duplicate of itself.
    for round in recorded.chunks_exact(2).cycle().take(rounds + 1) {
        send(&database, round).await?;
    }
    Ok(())
}

/// The commands of two rounds.
async fn record() -> Result<Vec<Document>> {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&sent);
    let mut options = ClientOptions::parse(servers::mongodb_url()).await?;
    options.command_event_handler = Some(EventHandler::callback(move |event| {
        if let CommandEvent::Started(started) = event
            && ["findAndModify", "update"].contains(&started.command_name.as_str())
        {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            log.push(started.command);
        }
    }));
    let database = Client::with_options(options)?.database(DATABASE);
    let locks = LockClient::new(MongoBackend::new(database));
    for key in [RESENT, KEY, KEY, KEY] {
        let lease = locks.lock(key).ttl(TTL).try_acquire().await?;
        lease.context("held by another")?.release().await?;
    }
    let sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(sent.get(4..).context("fewer requests")?.to_vec())
}

async fn send(database: &Database, round: &[Document]) -> Result<()> {
    let collection = database.collection::<Document>("locks");
    let simple = Collation::builder().locale("simple").build();
    let [take, release] = round else {
        anyhow::bail!("a round is two commands");
    };
    let taken = collection
        .find_one_and_update(doc! { "_id": RESENT }, pipeline(take, "update")?)
        .upsert(true)
        .return_document(ReturnDocument::After)
        .projection(take.get_document("fields")?.clone())
        .collation(simple.clone())
        .write_concern(durable())
        .await?
        .context("held by another")?;
    let holders = taken.get_document("record")?.get_array("holders")?;
    anyhow::ensure!(holders.len() == 1, "not granted");
    let [update] = release.get_array("updates")?.as_slice() else {
        anyhow::bail!("not one update");
    };
    let update = update.as_document().context("an update")?;
    let released = collection
        .update_one(doc! { "_id": RESENT }, pipeline(update, "u")?)
        .collation(simple)
        .write_concern(durable())
        .await?;
    anyhow::ensure!(released.modified_count == 1, "not released");
    Ok(())
}

fn pipeline(update: &Document, field: &str) -> Result<Vec<Document>> {
    let stages = update.get_array(field)?.iter();
    let stages = stages.filter_map(|stage| stage.as_document().cloned());
    Ok(stages.collect())
}

fn durable() -> WriteConcern {
    WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .build()
}
