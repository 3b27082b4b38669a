//! Documents by every kind of id, other names of the field, and types.

use std::collections::HashMap;

use anyhow::Result;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType,
    ScalarAttributeType,
};
use doclock::document::dynamodb::{self, ItemKey, Update};
use doclock::document::mongodb::Documents;
use doclock::{ErrorKind, LeaseId};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, DateTime, Document, Regex, Uuid, bson, doc};
use mongodb::{Client, Collection};

use super::kind;
use crate::support::servers;

const ODD: &str = "$$ROOT \u{7f}\u{85}\n\"'\\ {\"$oid\": 1}";

async fn collection<T: Send + Sync>() -> Result<Collection<T>> {
    let client = Client::with_uri_str(servers::mongodb_url()).await?;
    let name = format!("ids-{}", LeaseId::random());
    Ok(client.database("doclock_documents").collection(&name))
}

#[tokio::test]
async fn a_mongodb_document_has_any_id() -> Result<()> {
    if servers::without("mongodb") {
        return Ok(());
    }
    let raw = collection::<Document>().await?;
    let documents = Documents::new(raw.clone());
    let ids: [Bson; 12] = [
        ObjectId::new().into(),
        "a".into(),
        ODD.into(),
        "7".into(),
        7_i32.into(),
        (1_i64 << 60).into(),
        0.1.into(),
        true.into(),
        Bson::Null,
        DateTime::now().into(),
        Uuid::new().into(),
        bson!({ "b": 1_i32, "a": { "c": "$b" } }),
    ];
    for id in &ids {
        raw.insert_one(doc! { "_id": id, "n": 1 }).await?;
    }
    let mut locked = Vec::new();
    for id in &ids {
        let document = documents.lock(id.clone()).acquire().await?;
        assert_eq!(document.document(), &doc! { "_id": id, "n": 1 });
        locked.push(document);
    }
    for document in locked {
        document
            .update_and_unlock(doc! { "$inc": { "n": 1 } })
            .await?;
    }
    assert_eq!(raw.count_documents(doc! { "n": 2 }).await?, 12);
    Ok(())
}

#[tokio::test]
async fn what_is_no_id_or_field_in_mongodb_is_refused() -> Result<()> {
    // Nothing is sent.
    let client = Client::with_uri_str("mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=1").await?;
    let raw = client.database("none").collection::<Document>("none");
    let documents = Documents::new(raw);
    let regex = Regex {
        pattern: ".*".into(),
        options: String::new(),
    };
    for id in [
        bson!({ "$gt": "" }),
        bson!({ "a": 1, "$where": "true" }),
        regex.into(),
        bson!(["a"]),
        "k".repeat(1023).into(),
    ] {
        let locked = documents.lock(id.clone()).acquire().await;
        assert_eq!(kind(locked), Some(ErrorKind::InvalidInput), "{id}");
    }
    for field in ["", "_id", "a.b", "$a", "a\0"] {
        let locked = documents.clone().field(field).lock("a").acquire().await;
        assert_eq!(kind(locked), Some(ErrorKind::InvalidInput), "{field}");
    }
    Ok(())
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    #[serde(rename = "_id")]
    id: i32,
    balance: i64,
}

#[tokio::test]
async fn a_mongodb_document_is_read_as_its_type() -> Result<()> {
    if servers::without("mongodb") {
        return Ok(());
    }
    let raw = collection::<Account>().await?;
    raw.insert_one(Account { id: 1, balance: 2 }).await?;
    // A name that would be an operator anywhere but at its place.
    let documents = Documents::new(raw.clone()).field("sperre für uns");
    let mut account = documents.lock(1).acquire().await?;
    assert_eq!(account.document(), &Account { id: 1, balance: 2 });
    account.update(doc! { "$inc": { "balance": 1 } }).await?;
    assert_eq!(account.document().balance, 3);
    // The database's own objection, to what cannot be seen before.
    let refused = account.update(doc! { "$inc": { "balance.x": 1 } }).await;
    assert_eq!(kind(refused), Some(ErrorKind::Other));
    account
        .update_and_unlock(doc! { "$set": { "balance": "much" } })
        .await?;
    let untyped = documents.lock(1).acquire().await;
    assert_eq!(kind(untyped), Some(ErrorKind::Other));
    documents.shutdown().await;
    // Not read, so not kept locked either.
    let record = documents.inspect(1).await?;
    assert_eq!(record.map(|record| record.holders.len()), Some(0));
    Ok(())
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A table whose partition key is a string and whose sort key is a number, or the other way round.
async fn table(
    url: &str,
    kinds: [ScalarAttributeType; 2],
) -> Result<(aws_sdk_dynamodb::Client, String)> {
    let client = crate::conformance::dynamodb::client(url);
    let name = format!("ids-{}", LeaseId::random());
    let mut create = client.create_table().table_name(&name);
    let keys = [("customer", KeyType::Hash), ("order", KeyType::Range)];
    for ((name, key), kind) in keys.into_iter().zip(kinds) {
        let definition = AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(kind);
        let element = KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(key);
        create = create
            .attribute_definitions(definition.build()?)
            .key_schema(element.build()?);
    }
    create
        .billing_mode(BillingMode::PayPerRequest)
        .send()
        .await?;
    Ok((client, name))
}

async fn lock_items(url: &str) -> Result<()> {
    use ScalarAttributeType::{N, S};
    let by_name: [(ItemKey, _); 2] = [
        (("alice", 7).into(), [text("alice"), number(7)]),
        ((ODD, -1_i64).into(), [text(ODD), number(-1)]),
    ];
    let by_number: [(ItemKey, _); 1] = [((7_u64, "7").into(), [number(7), text("7")])];
    let tables = [([S, N], Vec::from(by_name)), ([N, S], Vec::from(by_number))];
    for (kinds, items) in tables {
        let (client, table) = table(url, kinds).await?;
        // The sort key's name is a reserved word, and so is the attribute's.
        let items_of = dynamodb::Documents::new(client.clone(), &table)
            .partition_key("customer")
            .sort_key("order")
            .field("lock.of:us #1");
        for (key, [partition, sort]) in items {
            let item = HashMap::from([
                ("customer".to_owned(), partition),
                ("order".to_owned(), sort),
                ("n".to_owned(), number(1)),
            ]);
            let put = client.put_item().table_name(&table);
            put.set_item(Some(item.clone())).send().await?;
            let locked = items_of.lock(key.clone()).acquire().await?;
            assert_eq!(locked.document(), &item);
            let more = Update::new().set("n = n + :one").value(":one", number(1));
            locked.update_and_unlock(more).await?;
            let locked = items_of.lock(key).acquire().await?;
            assert_eq!(locked.document().get("n"), Some(&number(2)));
            locked.unlock().await?;
        }
        let half = items_of.lock("alice").acquire().await;
        assert_eq!(kind(half), Some(ErrorKind::InvalidInput));
        let binary = AttributeValue::Bool(true);
        let odd = items_of.lock((binary, 1)).acquire().await;
        assert_eq!(kind(odd), Some(ErrorKind::InvalidInput));
        let at_key = items_of
            .clone()
            .field("order")
            .lock(("alice", 7))
            .acquire()
            .await;
        assert_eq!(kind(at_key), Some(ErrorKind::InvalidInput));
    }
    Ok(())
}

#[tokio::test]
async fn a_dynamodb_item_has_any_key_on_dynamodb_local() -> Result<()> {
    if servers::without("dynamodb-local") {
        return Ok(());
    }
    lock_items(servers::dynamodb_local_url()).await
}

#[tokio::test]
async fn a_dynamodb_item_has_any_key_on_dynoxide() -> Result<()> {
    if servers::without("dynoxide") {
        return Ok(());
    }
    lock_items(servers::dynoxide_url()).await
}

async fn every_clause(url: &str) -> Result<()> {
    let (client, table) = table(url, [ScalarAttributeType::S, ScalarAttributeType::N]).await?;
    let items = dynamodb::Documents::new(client.clone(), &table)
        .partition_key("customer")
        .sort_key("order");
    let tags = AttributeValue::Ss(vec!["new".to_owned(), "open".to_owned()]);
    let item = [
        ("customer", text("a")),
        ("order", number(1)),
        ("n", number(1)),
        ("former", number(1)),
        ("tags", tags),
    ];
    let item = item.map(|(name, value)| (name.to_owned(), value)).into();
    client
        .put_item()
        .table_name(&table)
        .set_item(Some(item))
        .send()
        .await?;
    let change = || {
        Update::new()
            .set("n = n + :one")
            .set("#id = :one")
            .add("visits :one")
            .remove("former")
            .delete("tags :gone")
            .condition("n = :one OR n = :two")
            // A name of this crate's own expressions.
            .name("#id", "rev")
            .value(":one", number(1))
            .value(":two", number(2))
            .value(":gone", AttributeValue::Ss(vec!["new".to_owned()]))
    };
    let mut locked = items.lock(("a", 1)).acquire().await?;
    locked.update(change()).await?;
    let after = locked.document();
    assert_eq!(
        (after.get("n"), after.get("rev")),
        (Some(&number(2)), Some(&number(1)))
    );
    assert_eq!(
        (after.get("visits"), after.get("former")),
        (Some(&number(1)), None)
    );
    assert_eq!(
        after.get("tags"),
        Some(&AttributeValue::Ss(vec!["open".to_owned()]))
    );
    locked.update_and_unlock(change()).await?;

    // Now it is 3: the condition is not met, though the lock is held.
    let mut locked = items.lock(("a", 1)).acquire().await?;
    assert_eq!(
        kind(locked.update(change()).await),
        Some(ErrorKind::ConditionFailed)
    );
    assert!(locked.lease().is_held());
    let outcome = locked.update_and_unlock(change()).await;
    assert_eq!(kind(outcome), Some(ErrorKind::ConditionFailed));
    items.shutdown().await;
    let record = items.inspect(("a", 1)).await?;
    assert_eq!(record.map(|record| record.holders.len()), Some(0));
    Ok(())
}

#[tokio::test]
async fn every_clause_goes_together_with_the_locks_own_on_dynamodb_local() -> Result<()> {
    if servers::without("dynamodb-local") {
        return Ok(());
    }
    every_clause(servers::dynamodb_local_url()).await
}

#[tokio::test]
async fn every_clause_goes_together_with_the_locks_own_on_dynoxide() -> Result<()> {
    if servers::without("dynoxide") {
        return Ok(());
    }
    every_clause(servers::dynoxide_url()).await
}
