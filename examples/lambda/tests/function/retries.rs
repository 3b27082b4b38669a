//! Lambda tries an asynchronous invocation again, with the same request id.

use anyhow::Result;

use crate::world::{LONG, STOCK, World, apples};

#[tokio::test]
async fn a_retry_has_its_own_lock_back_at_once() -> Result<()> {
    let world = World::new().await?;
    world.payments.hold("1");
    let first = world.function().await?;
    first.begin("request-1", &apples("1"), LONG)?;
    world.payments.entered(1).await?;
    first.kill().await?;
    let held = world.holder().await?;
    assert!(held.is_some(), "nobody was left to release it");

    let sent = ["UpdateItem", "GetItem"].map(|operation| world.proxy.requests(operation));
    let again = world.function().await?;
    let begun = again.begin("request-1", &apples("1"), LONG)?;
    world.payments.entered(2).await?;
    let now = ["UpdateItem", "GetItem"].map(|operation| world.proxy.requests(operation));
    // A refusal that brings the record, and the take-over. Of the reads both are the shop's, and none a waiter's.
    assert_eq!([now[0] - sent[0], now[1] - sent[1]], [2, 2]);
    let tokens: Vec<_> = world.payments.log().entries.iter().map(|e| e.1).collect();
    assert!(tokens[0] < tokens[1], "{tokens:?}");

    world.payments.go_on("1");
    assert_eq!(begun.answered().await?.unwrap(), "sold");
    // The event comes once more.
    let begun = again.begin("request-1", &apples("1"), LONG)?;
    assert_eq!(begun.answered().await?.unwrap(), "sold_before");
    assert_eq!(world.stock().await?, STOCK - 1);
    Ok(())
}
