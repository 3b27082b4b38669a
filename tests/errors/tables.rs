//! DynamoDB tables that are missing, or have other keys.

use std::time::Duration;

use anyhow::{Result, ensure};
use doclock::{ErrorKind, LeaseId};

use super::assert_caused;
use crate::processes::site::dynamodb_url;
use crate::support::raw::{dynamodb_request, exchange};
use crate::support::servers;
use crate::support::wire::Wire;

/// A table with these keys, of type string: name and role each.
async fn create(endpoint: &str, table: &str, keys: &[(&str, &str)]) -> Result<()> {
    let schema: Vec<String> = keys
        .iter()
        .map(|(name, role)| format!(r#"{{"AttributeName":"{name}","KeyType":"{role}"}}"#))
        .collect();
    let types: Vec<String> = keys
        .iter()
        .map(|(name, _)| format!(r#"{{"AttributeName":"{name}","AttributeType":"S"}}"#))
        .collect();
    let body = format!(
        r#"{{"TableName":"{table}","BillingMode":"PAY_PER_REQUEST","KeySchema":[{}],"AttributeDefinitions":[{}]}}"#,
        schema.join(","),
        types.join(",")
    );
    let request = dynamodb_request("CreateTable", &body);
    let reply = exchange(Wire::Http, servers::addr_of(endpoint)?, &request).await?;
    ensure!(
        reply.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&reply)
    );
    Ok(())
}

async fn case(endpoint: &str) -> Result<()> {
    let table = format!("errors-{}", LeaseId::random());
    let url = dynamodb_url(endpoint, &table);
    let locks = doclock::connect(&url).await?;
    let lock = || locks.lock("k").wait(Duration::from_secs(2));
    let says = [&table, "does not exist", "call `setup()`"];
    let error = lock().acquire().await.unwrap_err();
    assert_caused(&error, ErrorKind::NotSetUp, &says);
    let error = locks.inspect("k").await.unwrap_err();
    assert_caused(&error, ErrorKind::NotSetUp, &says);

    for keys in [&[("id", "HASH")][..], &[("pk", "HASH"), ("sk", "RANGE")]] {
        let table = format!("errors-{}", LeaseId::random());
        create(endpoint, &table, keys).await?;
        let locks = doclock::connect(&dynamodb_url(endpoint, &table)).await?;
        let error = locks.lock("k").acquire().await.unwrap_err();
        assert_caused(
            &error,
            ErrorKind::NotSetUp,
            &[&table, "`pk`", "`partition_key`"],
        );
        let error = locks.setup().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotSetUp, "{error:?}");
    }
    // What the error says helps.
    let table = format!("errors-{}", LeaseId::random());
    create(endpoint, &table, &[("id", "HASH")]).await?;
    let url = format!("{}&partition_key=id", dynamodb_url(endpoint, &table));
    let lease = doclock::connect(&url).await?.lock("k").acquire().await?;
    lease.release().await?;
    Ok(())
}

#[tokio::test]
async fn dynamodb_local_has_no_such_table() -> Result<()> {
    if servers::without("dynamodb-local") {
        return Ok(());
    }
    case(servers::dynamodb_local_url()).await
}

#[tokio::test]
async fn dynoxide_has_no_such_table() -> Result<()> {
    if servers::without("dynoxide") {
        return Ok(());
    }
    case(servers::dynoxide_url()).await
}
