//! The process is frozen after its answer, and in the middle.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::support::poll;
use crate::world::{LONG, STOCK, World, apples};

/// The function's.
const TTL: Duration = Duration::from_secs(5);
/// Of a sale when the lock is free: acquire, two reads, a transaction, release.
const REQUESTS: usize = 5;

#[tokio::test]
async fn nothing_is_sent_between_invocations() -> Result<()> {
    let world = World::new().await?;
    let function = world.function().await?;
    world.payments.hold("1");
    let begun = function.begin("request-1", &apples("1"), LONG)?;
    world.payments.entered(1).await?;
    let seq = async || world.holder().await.ok().flatten().map(|holder| holder.seq);
    let granted = seq().await.context("nobody holds")?;
    // Or it would prove nothing that there is no renewal later.
    poll::until("it is renewed", LONG, || async {
        seq().await.is_some_and(|seq| seq > granted)
    })
    .await?;
    world.payments.go_on("1");
    assert_eq!(begun.answered().await?.unwrap(), "sold");

    let sent = world.requests();
    // Not frozen at first: whatever goes on in the process would show.
    tokio::time::sleep(TTL).await;
    assert_eq!(world.requests(), sent, "sent after the answer");
    function.freeze()?;
    tokio::time::sleep(TTL).await;
    function.thaw()?;
    world.sell(&function, "2").await?;
    assert_eq!(world.requests(), sent + REQUESTS);

    // Connections do not outlive a long freeze.
    function.freeze()?;
    world.proxy.reset_connections();
    function.thaw()?;
    world.sell(&function, "3").await?;
    assert_eq!(world.stock().await?, STOCK - 3);
    Ok(())
}

#[tokio::test]
async fn who_was_frozen_in_the_middle_sells_nothing() -> Result<()> {
    let world = World::new().await?;
    let [frozen, other] = [world.function().await?, world.function().await?];
    world.payments.hold("1");
    let begun = frozen.begin("request-1", &apples("1"), LONG)?;
    world.payments.entered(1).await?;
    frozen.freeze()?;
    world.sell(&other, "2").await?;

    world.payments.go_on("1");
    frozen.thaw()?;
    let error = begun.answered().await?.unwrap_err();
    let message = error["errorMessage"].as_str().unwrap_or_default();
    assert!(message.contains("ran out"), "{error}");
    assert_eq!(world.stock().await?, STOCK - 1, "but for the other's");

    // Lambda's retry.
    world.sell(&frozen, "1").await?;
    assert_eq!(world.stock().await?, STOCK - 2);
    Ok(())
}
