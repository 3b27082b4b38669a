//! Setting up, and what the database's own collection of garbage does to a lock.

use std::time::Duration;

use anyhow::Result;
use doclock::{Backend, ErrorKind, Mode, ReleaseRequest};
use futures_util::future::join_all;
use mongodb::IndexModel;
use mongodb::bson::doc;

use super::fixture::{Fixture, past, request};
use crate::support::poll;

#[tokio::test]
async fn setting_up_may_be_repeated_and_raced() -> Result<()> {
    let locks = Fixture::new().await?;
    locks.raw.drop().await?;
    let racers = join_all((0..8).map(|_| locks.backend.setup())).await;
    for outcome in racers {
        outcome?;
    }
    locks.backend.setup().await?;

    assert_eq!(
        locks.raw.count_documents(doc! {}).await?,
        0,
        "the probe's own"
    );
    let mut indexes = locks.raw.list_indexes().await?;
    let mut ttl = Vec::new();
    while indexes.advance().await? {
        let index: IndexModel = indexes.deserialize_current()?;
        ttl.extend(index.options.and_then(|options| options.expire_after));
    }
    assert_eq!(ttl, [Duration::ZERO]);
    Ok(())
}

#[tokio::test]
async fn another_index_in_the_way_is_named() -> Result<()> {
    let locks = Fixture::new().await?;
    let plain = IndexModel::builder().keys(doc! { "purgeAt": 1 }).build();
    locks.raw.create_index(plain).await?;
    let error = locks.backend.setup().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotSetUp, "{error}");
    assert!(
        error.to_string().contains("another index on `purgeAt`"),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn the_token_survives_a_purge() -> Result<()> {
    let locks = Fixture::new().await?;
    locks.backend.setup().await?;
    let first = request("k", Mode::Exclusive);
    let before = locks.granted(&first).await?.token;
    let release = ReleaseRequest::new(&first.key, &first.owner, &first.id);
    locks.backend.release(&release).await?;

    locks.set("k", doc! { "purgeAt": past() }).await?;
    // Once a minute, where the server was not told otherwise.
    poll::until(
        "the server purges the record",
        Duration::from_secs(90),
        || async { matches!(locks.document("k").await, Ok(None)) },
    )
    .await?;
    let after = locks.granted(&request("k", Mode::Exclusive)).await?.token;
    assert!(after > before, "{after} > {before}");
    Ok(())
}

#[tokio::test]
async fn the_token_survives_a_deletion() -> Result<()> {
    let locks = Fixture::new().await?;
    let mut last = 0;
    for _ in 0..20 {
        let token = locks.granted(&request("k", Mode::Exclusive)).await?.token;
        assert!(token > last, "{token} > {last}");
        last = token;
        locks.raw.delete_one(doc! { "_id": "k" }).await?;
    }
    Ok(())
}
