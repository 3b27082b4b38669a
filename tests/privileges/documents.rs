//! Locks inside of documents, with exactly the page's rights on these.

use ::mongodb::Client;
use ::mongodb::bson::{self, Document, doc};
use anyhow::{Context, Result};
use aws_sdk_dynamodb::types::AttributeValue;
use doclock::document::{dynamodb, mongodb};
use doclock::{Backend, DynamoBackend, ErrorKind, LeaseId};

use super::blocks;
use super::dynamodb::Policy;
use super::mongodb::{DATABASE, make_user, root_url, url};
use crate::support::servers;

const HEADING: &str = "### Locks in documents";

/// Locks, writes twice, and ends a lease by force.
macro_rules! everything {
    ($documents:expr, $id:expr, $update:expr) => {
        async {
            let (documents, id, update) = (&$documents, $id, $update);
            let mut locked = documents.lock(id).acquire().await?;
            locked.update(update.clone()).await?;
            locked.lease().renew().await?;
            locked.update_and_unlock(update).await?;
            let _left = documents.lock(id).acquire().await?;
            documents.inspect(id).await?;
            documents.force_release(id).await
        }
    };
}

fn role(name: &str, actions: &[&str]) -> Result<Document> {
    let mut role = bson::to_document(&blocks(HEADING).swap_remove(0))?;
    role.insert("createRole", name);
    let privilege = role.get_array_mut("privileges")?.first_mut();
    let privilege = privilege.and_then(bson::Bson::as_document_mut);
    privilege
        .context("no privilege")?
        .insert("actions", actions);
    Ok(role)
}

#[tokio::test]
async fn a_lock_in_a_document_needs_to_find_and_to_update() -> Result<()> {
    if servers::without("mongodb") {
        return Ok(());
    }
    let root = Client::with_uri_str(root_url()).await?;
    let accounts = root.database(DATABASE).collection("accounts");
    let id = LeaseId::random().to_string();
    accounts.insert_one(doc! { "_id": &id }).await?;
    let page = bson::to_document(&blocks(HEADING).swap_remove(0))?;
    let page = page.get_array("privileges")?[0].as_document();
    let page = page.context("no privilege")?.get_array("actions")?;
    assert_eq!(page, &["find", "update"].map(bson::Bson::from));
    for (name, actions) in [
        ("accountant", &["find", "update"][..]),
        ("reader", &["find"]),
        ("writer", &["update"]),
    ] {
        let user = make_user(&root.database("admin"), role(name, actions)?).await?;
        let client = Client::with_uri_str(url(&user)).await?;
        let accounts = client.database(DATABASE).collection::<Document>("accounts");
        let documents = mongodb::Documents::new(accounts);
        let ended = everything!(documents, id.as_str(), doc! { "$inc": { "n": 1 } }).await;
        let ended = ended
            .map(drop)
            .map_err(|error: doclock::Error| error.kind());
        let expected = if actions.len() == 2 {
            Ok(())
        } else {
            Err(ErrorKind::PermissionDenied)
        };
        assert_eq!(ended, expected, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn a_lock_in_an_item_needs_to_get_and_to_update() -> Result<()> {
    if servers::without("dynoxide") {
        return Ok(());
    }
    let url = servers::dynoxide_url();
    let root = crate::conformance::dynamodb::client(url);
    let table = format!("accounts-{}", LeaseId::random());
    DynamoBackend::new(root.clone(), &table).setup().await?;
    let id = AttributeValue::S("a".to_owned());
    root.put_item()
        .table_name(&table)
        .item("pk", id.clone())
        .send()
        .await?;
    let policy = Policy::of(&blocks(HEADING).swap_remove(1));
    let client = super::dynamodb::client(url, policy);
    let documents = dynamodb::Documents::new(client, &table);
    let one = AttributeValue::N("1".to_owned());
    let update = dynamodb::Update::new().add("n :one").value(":one", one);
    let ended: doclock::Result<_> = everything!(documents, "a", update).await;
    ended?;
    Ok(())
}
