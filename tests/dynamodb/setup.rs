//! Making the table, and what is said where it is missing or another one.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    TimeToLiveSpecification, TimeToLiveStatus,
};
use doclock::{Backend, ErrorKind, Mode, ReleaseRequest, RenewRequest};
use futures_util::future::try_join_all;

use super::*;
use crate::support::dynamodb_local::DynamoDbLocal;
use crate::support::{poll, servers};

on_both! {
    async fn setup_may_run_again_and_by_many(server: Server) {
        let table = unique("locks");
        let backends: Vec<_> = (0..8).map(|_| server.cold(&table)).collect();
        try_join_all(backends.iter().map(Backend::setup)).await?;
        backends[0].setup().await?;
        let ttl = server.client.describe_time_to_live().table_name(&table).send().await?;
        let ttl = ttl.time_to_live_description.context("no TTL")?;
        assert_eq!(ttl.attribute_name.as_deref(), Some("purge_at"));
        assert_eq!(ttl.time_to_live_status, Some(TimeToLiveStatus::Enabled));
        granted(&backends[1], &request("key", Mode::Exclusive)?).await?;
    }

    async fn a_missing_table_says_what_to_do(server: Server) {
        let table = unique("missing");
        let backend = server.cold(&table);
        let mine = request("key", Mode::Exclusive)?;
        let errors = [
            backend.acquire(&mine).await.err(),
            backend.renew(&RenewRequest::new(&mine, 1, 2)).await.err(),
            backend.release(&ReleaseRequest::new(&mine.key, &mine.owner, &mine.id)).await.err(),
            backend.inspect(&mine.key).await.err(),
            backend.list("", None).await.err(),
        ];
        for error in errors {
            let error = error.context("no error")?;
            assert_eq!(error.kind(), ErrorKind::NotSetUp);
            let advice = format!("table `{table}` does not exist: create it or call `setup()`");
            assert!(error.to_string().contains(&advice), "{error}");
        }
    }

    async fn another_key_schema_is_refused(server: Server) {
        for (name, kind) in [("id", ScalarAttributeType::S), ("pk", ScalarAttributeType::N)] {
            let table = unique("other");
            create(&server, &table, name, kind.clone()).await?;
            let error = server.cold(&table).setup().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotSetUp);
            let found = format!("partition key `{name}` ({kind}) and sort key none");
            assert!(error.to_string().contains(&found), "{error}");
            assert!(error.to_string().contains("partition key `pk` (S) and no sort key"), "{error}");
            let error = server.cold(&table).acquire(&request("key", Mode::Exclusive)?).await;
            let error = error.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotSetUp, "{error:?}");
        }
        let (_, table) = server.backend().await?;
        let error = server.cold(&table).sort_key("sk", "lock").setup().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotSetUp, "{error}");
    }

    async fn ttl_on_another_attribute_is_refused(server: Server) {
        let table = unique("other");
        create(&server, &table, "pk", ScalarAttributeType::S).await?;
        let ttl = TimeToLiveSpecification::builder().attribute_name("expiry").enabled(true).build()?;
        let update = server.client.update_time_to_live().table_name(&table);
        update.time_to_live_specification(ttl).send().await?;
        let error = server.cold(&table).setup().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotSetUp);
        assert!(error.to_string().contains("TTL on attribute `expiry`"), "{error}");
    }

    async fn an_unreachable_server_is_unavailable(server: Server) {
        let config = server.client.config().to_builder().endpoint_url("http://127.0.0.1:1");
        let backend = DynamoBackend::new(Client::from_conf(config.build()), "locks");
        let mine = request("key", Mode::Exclusive)?;
        let (sent, result) = server.count(backend.acquire(&mine)).await;
        let error = result.unwrap_err();
        assert_eq!((sent, error.kind()), (1, ErrorKind::Unavailable), "{error:?}");
    }

    async fn an_item_over_the_limit_is_named(server: Server) {
        let (backend, table) = server.backend().await?;
        let mine = request("key", Mode::Exclusive)?;
        let grant = granted(&backend, &mine).await?;
        let mut item = server.item(&table, "key").await?.context("no item")?;
        item.insert("mine".into(), text("x".repeat(400 * 1024 - 460)));
        server.put(&table, item).await?;
        backend.release(&ReleaseRequest::new(&mine.key, &mine.owner, &mine.id)).await?;
        let mut big = request("key", Mode::Exclusive)?;
        big.data = Some(doclock::Payload::new(&"x".repeat(4000))?);
        let error = backend.acquire(&big).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
        assert!(error.to_string().contains("400 KB"), "{error}");
        assert_eq!(record(&backend, &mine.key).await?.token, grant.token);
    }
}

/// The database's own TTL takes the item; the next token is greater all the same.
#[tokio::test]
async fn a_purged_key_starts_above_its_last_token() -> Result<()> {
    if servers::without("dynamodb-local") {
        return Ok(());
    }
    // Of its own: with TTL on a hundred tables it takes minutes.
    let emulator = DynamoDbLocal::start().await?;
    let server = Server::at(&emulator.url());
    let (backend, table) = server.backend().await?;
    let mine = request("key", Mode::Exclusive)?;
    let grant = granted(&backend, &mine).await?;
    backend
        .release(&ReleaseRequest::new(&mine.key, &mine.owner, &mine.id))
        .await?;
    let mut item = server.item(&table, "key").await?.context("no item")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    item.insert("purge_at".into(), number(now.as_secs() - 60));
    server.put(&table, item).await?;
    poll::until("the item is purged", Duration::from_mins(1), || async {
        matches!(server.item(&table, "key").await, Ok(None))
    })
    .await?;
    // In truth the database's TTL takes two days.
    until_past(grant.token).await?;
    let next = granted(&backend, &request("key", Mode::Exclusive)?).await?;
    assert!(next.token > grant.token);
    Ok(())
}

async fn create(server: &Server, table: &str, name: &str, kind: ScalarAttributeType) -> Result<()> {
    let definition = AttributeDefinition::builder()
        .attribute_name(name)
        .attribute_type(kind)
        .build()?;
    let element = KeySchemaElement::builder()
        .attribute_name(name)
        .key_type(KeyType::Hash)
        .build()?;
    let create = server.client.create_table().table_name(table);
    create
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(definition)
        .key_schema(element)
        .send()
        .await?;
    Ok(())
}
