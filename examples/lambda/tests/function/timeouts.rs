//! An invocation's time runs out in the middle.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use doclock::Timestamp;

use crate::world::{STOCK, World, apples};

/// The function's timeout, of which the lease may use what the reserve leaves.
const TIME: Duration = Duration::from_secs(6);
/// Others see that a lease has expired so much later, at most: a `Date` of a second's resolution, and the skew of servers.
const LAG: Duration = Duration::from_millis(1_500);
/// When the lock is free, after the invocation's end.
const GRACE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn an_invocation_that_hangs_has_released_before_its_end() -> Result<()> {
    let world = World::new().await?;
    let function = world.function().await?;
    world.payments.hold("1");
    let begun = function.begin("request-1", &apples("1"), TIME)?;
    let deadline = begun.deadline;
    let error = begun.answered().await?.unwrap_err();
    assert!(SystemTime::now() < deadline, "{error}");
    let message = error["errorMessage"].as_str().unwrap_or_default();
    assert!(message.contains("ran out"), "{error}");
    assert_eq!(world.holder().await?, None, "it was released");

    world.payments.go_on("1");
    world.sell(&function, "1").await?;
    assert_eq!(world.stock().await?, STOCK - 1);
    Ok(())
}

#[tokio::test]
async fn a_process_that_stops_for_good_holds_no_longer_than_a_second_after_its_end() -> Result<()> {
    let world = World::new().await?;
    let function = world.function().await?;
    world.payments.hold("1");
    let begun = function.begin("request-1", &apples("1"), TIME)?;
    world.payments.entered(1).await?;
    function.freeze()?;
    let holder = world.holder().await?.context("nobody holds")?;
    let free = holder.expires_at.saturating_add(LAG);
    let end = Timestamp::from(begun.deadline);
    let late = free.saturating_since(end);
    assert!(late <= GRACE, "free {late:?} after the invocation's end");

    let other = world.function().await?;
    world.sell(&other, "2").await?;
    let (_, _, entered) = world.payments.log().entries[1].clone();
    let after = entered.duration_since(begun.deadline);
    println!("after the invocation's end: free {late:?} at the latest, taken {after:?}");
    function.kill().await?;
    assert_eq!(world.stock().await?, STOCK - 1);
    Ok(())
}
