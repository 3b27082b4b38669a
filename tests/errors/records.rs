//! Something else lies where the lock should be: it is refused and stays as it is.

use anyhow::{Context, Result};
use doclock::{ErrorKind, LeaseId, LockClient};
use mongodb::bson::{Document, RawDocumentBuf, doc};

use super::assert_error;
use crate::processes::site::{dynamodb_url, mongodb_url};
use crate::support::raw::{dynamodb_request, exchange};
use crate::support::servers;
use crate::support::wire::Wire;

async fn is_refused(locks: &LockClient, key: &str, field: &str) {
    let field = format!("`{field}`");
    let says = [field.as_str(), "left as it is", "another key"];
    for error in [
        locks.lock(key).acquire().await.err().unwrap(),
        locks.lock(key).try_acquire().await.err().unwrap(),
        locks.inspect(key).await.unwrap_err(),
        locks.force_release(key).await.unwrap_err(),
    ] {
        assert_error(&error, ErrorKind::CorruptRecord, &says);
        assert_eq!(error.key().map(ToString::to_string).as_deref(), Some(key));
    }
}

#[tokio::test]
async fn mongodb_keeps_a_users_document() -> Result<()> {
    if servers::without("mongodb") {
        return Ok(());
    }
    let name = format!("corrupt-{}", LeaseId::random());
    let locks = doclock::connect(&mongodb_url(servers::mongodb_url(), &name)).await?;
    let client = mongodb::Client::with_uri_str(servers::mongodb_url()).await?;
    let collection = client.database("processes").collection::<Document>(&name);
    let raw = collection.clone_with_type::<RawDocumentBuf>();
    for (key, field, document) in [
        (
            "theirs",
            "v",
            doc! { "_id": "theirs", "secret": "payload-of-the-user" },
        ),
        (
            "future",
            "v",
            doc! { "_id": "future", "v": 2, "state": "payload-of-the-user" },
        ),
        (
            "halved",
            "rev",
            doc! {
                "_id": "halved", "v": 1, "token": 5_i64, "mode": "exclusive", "limit": 0_i64, "holders": [],
                "queue": [],
            },
        ),
    ] {
        collection.insert_one(document).await?;
        let before = raw.find_one(doc! { "_id": key }).await?;
        is_refused(&locks, key, field).await;
        assert_eq!(raw.find_one(doc! { "_id": key }).await?, before);
    }
    Ok(())
}

async fn on_dynamodb(endpoint: &str) -> Result<()> {
    let name = format!("corrupt-{}", LeaseId::random());
    let server = servers::addr_of(endpoint)?;
    let locks = doclock::connect(&dynamodb_url(endpoint, &name)).await?;
    locks.setup().await?;
    for (key, field, attributes) in [
        ("theirs", "v", r#""secret":{"S":"payload-of-the-user"}"#),
        (
            "future",
            "v",
            r#""v":{"N":"2"},"state":{"S":"payload-of-the-user"}"#,
        ),
        (
            "halved",
            "rev",
            r#""v":{"N":"1"},"token":{"N":"5"},"mode":{"S":"exclusive"},"limit":{"N":"0"},"holders":{"M":{}},
            "queue":{"M":{}},"tickets":{"M":{}}"#,
        ),
    ] {
        let item =
            format!(r#"{{"TableName":"{name}","Item":{{"pk":{{"S":"{key}"}},{attributes}}}}}"#);
        let put = exchange(Wire::Http, server, &dynamodb_request("PutItem", &item)).await?;
        anyhow::ensure!(
            put.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&put)
        );
        let get = format!(
            r#"{{"TableName":"{name}","Key":{{"pk":{{"S":"{key}"}}}},"ConsistentRead":true}}"#
        );
        let get = dynamodb_request("GetItem", &get);
        let stored = async || -> Result<serde_json::Value> {
            let reply = String::from_utf8(exchange(Wire::Http, server, &get).await?)?;
            let (_, body) = reply.split_once("\r\n\r\n").context("no body")?;
            Ok(serde_json::from_str(body)?)
        };
        let before = stored().await?;
        assert!(before["Item"].is_object(), "{before}");
        is_refused(&locks, key, field).await;
        assert_eq!(stored().await?, before);
    }
    Ok(())
}

#[tokio::test]
async fn dynamodb_local_keeps_a_users_item() -> Result<()> {
    if servers::without("dynamodb-local") {
        return Ok(());
    }
    on_dynamodb(servers::dynamodb_local_url()).await
}

#[tokio::test]
async fn dynoxide_keeps_a_users_item() -> Result<()> {
    if servers::without("dynoxide") {
        return Ok(());
    }
    on_dynamodb(servers::dynoxide_url()).await
}
