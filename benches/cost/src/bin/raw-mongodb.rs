//! The least lock in two calls of the driver.

use std::env;
use std::time::SystemTime;

use cost::{TABLE, TTL, granted, serve};
use lambda_runtime::Error;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::{Acknowledgment, ReturnDocument, WriteConcern};
use mongodb::{Client, Collection};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::with_uri_str(env::var("DOCLOCK_URL")?).await?;
    let database = client
        .default_database()
        .ok_or("the URL names no database")?;
    let collection = database.collection(TABLE);
    serve(|| take_and_release(&collection)).await
}

async fn take_and_release(collection: &Collection<Document>) -> Result<(), Error> {
    let owner = ObjectId::new();
    let now = SystemTime::now();
    let [now, expires_at] = [now, now + TTL].map(DateTime::from);
    collection
        .find_one_and_update(
            doc! { "_id": "raw", "$or": [{ "owner": null }, { "expiresAt": { "$lte": now } }] },
            doc! { "$set": { "owner": owner, "expiresAt": expires_at }, "$inc": { "token": 1_i64 } },
        )
        .upsert(true)
        .return_document(ReturnDocument::After)
        .write_concern(durable())
        .await?;
    granted();
    collection
        .update_one(
            doc! { "_id": "raw", "owner": owner },
            doc! { "$set": { "owner": null } },
        )
        .write_concern(durable())
        .await?;
    Ok(())
}

fn durable() -> WriteConcern {
    WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .build()
}
