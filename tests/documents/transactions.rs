//! Transactions on other documents that rest on the lock inside of one.

use ::mongodb::bson::{Document, doc};
use ::mongodb::{Client, Collection};
use anyhow::{Context, Result};
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};
use doclock::document::{dynamodb, mongodb};
use doclock::fence::Guarded;
use doclock::{Backend, DynamoBackend, Lease, LeaseId, Lock};

use crate::support::servers;

/// Counts in `b`, if this lease stands.
async fn count_in(client: &Client, raw: &Collection<Document>, lease: &Lease) -> Result<bool> {
    let mut session = client.start_session().await?;
    let fence = lease.fence().mongodb()?;
    let counted = fence.transaction(&mut session, async |session| {
        let one = doc! { "$inc": { "n": 1 } };
        let counted = raw.update_one(doc! { "_id": "b" }, one);
        counted.session(&mut *session).await
    });
    Ok(matches!(counted.await?, Guarded::Applied(_)))
}

#[tokio::test]
async fn a_mongodb_transaction_rests_on_the_lock_of_a_document() -> Result<()> {
    if servers::without("mongodb") {
        return Ok(());
    }
    let client = Client::with_uri_str(servers::mongodb_url()).await?;
    let name = format!("transactions-{}", LeaseId::random());
    let raw = client.database("doclock_documents").collection(&name);
    raw.insert_many([doc! { "_id": "a", "n": 0 }, doc! { "_id": "b", "n": 0 }])
        .await?;
    let documents = mongodb::Documents::new(raw.clone());
    let held = documents.lock("a").with(Lock::manual_renewal);
    let held = held.acquire().await?;
    assert!(count_in(&client, &raw, held.lease()).await?);
    documents.force_release("a").await?;
    assert!(!count_in(&client, &raw, held.lease()).await?);
    let counted = raw.find_one(doc! { "_id": "b" }).await?;
    assert_eq!(counted.context("no document")?, doc! { "_id": "b", "n": 1 });
    let free = documents.lock("a").acquire().await?;
    assert_eq!(free.document(), &doc! { "_id": "a", "n": 0 });
    Ok(())
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

async fn items_rest_on_a_lock(url: &str) -> Result<()> {
    let client = crate::conformance::dynamodb::client(url);
    let table = format!("transactions-{}", LeaseId::random());
    DynamoBackend::new(client.clone(), &table).setup().await?;
    for id in ["a", "b"] {
        let put = client.put_item().table_name(&table).item("pk", text(id));
        put.send().await?;
    }
    let items = dynamodb::Documents::new(client.clone(), &table);
    let held = items.lock("a").with(Lock::manual_renewal).acquire().await?;
    let count = || {
        let one = Update::builder().table_name(&table).key("pk", text("b"));
        one.update_expression("ADD n :one")
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
            .build()
    };
    for stands in [true, false] {
        let check = held.lease().condition_check(&client).await?;
        let transaction = client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().condition_check(check).build())
            .transact_items(TransactWriteItem::builder().update(count()?).build());
        assert_eq!(transaction.send().await.is_ok(), stands);
        items.force_release("a").await?;
    }
    let other = client.get_item().table_name(&table).key("pk", text("b"));
    let other = other.consistent_read(true).send().await?.item;
    let counted = other.as_ref().and_then(|item| item.get("n"));
    assert_eq!(counted, Some(&AttributeValue::N("1".to_owned())));
    Ok(())
}

#[tokio::test]
async fn a_dynamodb_transaction_rests_on_the_lock_of_an_item_on_dynamodb_local() -> Result<()> {
    if servers::without("dynamodb-local") {
        return Ok(());
    }
    items_rest_on_a_lock(servers::dynamodb_local_url()).await
}

#[tokio::test]
async fn a_dynamodb_transaction_rests_on_the_lock_of_an_item_on_dynoxide() -> Result<()> {
    if servers::without("dynoxide") {
        return Ok(());
    }
    items_rest_on_a_lock(servers::dynoxide_url()).await
}
