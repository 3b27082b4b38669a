//! Documents with hardly any room for a lock.

use std::collections::HashMap;

use ::mongodb::Client;
use ::mongodb::bson::{Document, doc};
use anyhow::Result;
use aws_sdk_dynamodb::types::AttributeValue;
use doclock::document::{dynamodb, mongodb};
use doclock::{Backend, DynamoBackend, ErrorKind, LeaseId};

use super::kind;
use crate::support::servers;

/// What the database allows.
const DOCUMENT: usize = 16 * 1024 * 1024;
const ITEM: usize = 400 * 1024;
/// A lock, and what keys and names add.
const ROOM: usize = 1500;
const NO_ROOM: usize = 100;

#[tokio::test]
async fn a_mongodb_document_without_room_stays_unlocked() -> Result<()> {
    if servers::without("mongodb") {
        return Ok(());
    }
    let client = Client::with_uri_str(servers::mongodb_url()).await?;
    let name = format!("sizes-{}", LeaseId::random());
    let raw = client.database("doclock_documents").collection(&name);
    let documents = mongodb::Documents::new(raw.clone());
    for (id, room) in [("full", NO_ROOM), ("large", ROOM)] {
        let document: Document = doc! { "_id": id, "text": "x".repeat(DOCUMENT - room) };
        raw.insert_one(&document).await?;
        let locked = documents.lock(id).acquire().await;
        if room == NO_ROOM {
            assert_eq!(kind(locked), Some(ErrorKind::InvalidInput));
            assert_eq!(raw.find_one(doc! { "_id": id }).await?, Some(document));
            continue;
        }
        let mut locked = locked?;
        assert_eq!(locked.document(), &document);
        let more = doc! { "$set": { "more": "x".repeat(ROOM) } };
        let refused = locked.update(more).await;
        assert_eq!(kind(refused), Some(ErrorKind::InvalidInput));
        let less = doc! { "$set": { "text": "" } };
        locked.update_and_unlock(less).await?;
    }
    Ok(())
}

async fn items_without_room(url: &str) -> Result<()> {
    let client = crate::conformance::dynamodb::client(url);
    let table = format!("sizes-{}", LeaseId::random());
    DynamoBackend::new(client.clone(), &table).setup().await?;
    let items = dynamodb::Documents::new(client.clone(), &table);
    let text = |text: &str| AttributeValue::S(text.to_owned());
    for (id, room) in [("full", NO_ROOM), ("large", ROOM)] {
        let item = HashMap::from([
            ("pk".to_owned(), text(id)),
            ("text".to_owned(), text(&"x".repeat(ITEM - room))),
        ]);
        let put = client.put_item().table_name(&table);
        put.set_item(Some(item.clone())).send().await?;
        let locked = items.lock(id).acquire().await;
        if room == NO_ROOM {
            assert_eq!(kind(locked), Some(ErrorKind::InvalidInput));
            let found = client.get_item().table_name(&table).key("pk", text(id));
            assert_eq!(found.send().await?.item, Some(item));
            continue;
        }
        let mut locked = locked?;
        assert_eq!(locked.document(), &item);
        let change = |name: &str, value: &str| {
            let set = dynamodb::Update::new().set("#name = :value");
            set.name("#name", name).value(":value", text(value))
        };
        let refused = locked.update(change("more", &"x".repeat(ROOM))).await;
        assert_eq!(kind(refused), Some(ErrorKind::InvalidInput));
        locked.update_and_unlock(change("text", "")).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_dynamodb_item_without_room_stays_unlocked() -> Result<()> {
    if servers::without("dynamodb-local") {
        return Ok(());
    }
    items_without_room(servers::dynamodb_local_url()).await
}
