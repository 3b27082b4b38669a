//! Several processes of the function at once.

use anyhow::Result;
use futures_util::future::try_join_all;

use crate::world::{STOCK, World};

const PROCESSES: u32 = 4;
const ORDERS: u32 = 4;

#[tokio::test]
async fn never_two_invocations_are_inside() -> Result<()> {
    let world = World::new().await?;
    let processes = (0..PROCESSES).map(async |process| {
        let function = world.function().await?;
        for order in 0..ORDERS {
            world.sell(&function, &format!("{process}-{order}")).await?;
        }
        anyhow::Ok(())
    });
    let sold = try_join_all(processes).await;
    assert_eq!(world.payments.log().most_inside, 1);
    sold?;
    let orders = PROCESSES * ORDERS;
    assert_eq!(world.payments.log().charged.len(), orders as usize);
    assert_eq!(world.stock().await?, STOCK - orders);
    Ok(())
}
