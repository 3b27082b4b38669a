use std::time::SystemTime;

use anyhow::{Context, Result};
use doclock::{LockClient, MongoBackend};
use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::{Acknowledgment, ReturnDocument, WriteConcern};
use mongodb::{Client, Collection};

use crate::race::Race;
use crate::{TTL, take_and_release};

pub(crate) async fn race(race: Race, url: &str) -> Result<()> {
    let database = Client::with_uri_str(url).await?.database("bench");
    let locks = LockClient::new(MongoBackend::new(database.clone()));
    locks.setup().await?;
    let by_hand = database.collection::<Document>("by_hand");
    race.run(
        "MongoDB, three nodes",
        async || take_and_release(&locks).await,
        async || take_and_release_by_hand(&by_hand).await,
    )
    .await
}

/// The least that a lock needs, with the durability that it needs.
async fn take_and_release_by_hand(collection: &Collection<Document>) -> Result<()> {
    let durable = WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .build();
    let owner = uuid::Uuid::new_v4().to_string();
    let now = SystemTime::now();
    let [now, expires_at] = [now, now + TTL].map(DateTime::from);
    collection
        .find_one_and_update(
            doc! { "_id": crate::KEY, "$or": [{ "owner": null }, { "expiresAt": { "$lte": now } }] },
            doc! { "$set": { "owner": &owner, "expiresAt": expires_at }, "$inc": { "token": 1_i64 } },
        )
        .upsert(true)
        .return_document(ReturnDocument::After)
        .write_concern(durable.clone())
        .await?
        .context("held by another")?;
    collection
        .update_one(
            doc! { "_id": crate::KEY, "owner": owner },
            doc! { "$set": { "owner": null } },
        )
        .write_concern(durable)
        .await?;
    Ok(())
}
