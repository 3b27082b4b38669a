//! A function for AWS Lambda that sells from a stock: one sale of an item at a time, however many invocations there are.
//!
//! What to copy is [`handle`]; the page `docs/serverless.md` explains each line.

mod shop;

use std::env;
use std::time::Duration;

use anyhow::{Context, Result};
use aws_config::BehaviorVersion;
use doclock::{DynamoBackend, LockClient};
use lambda_runtime::{LambdaEvent, service_fn};

use crate::shop::{Answer, Order, Shop};

/// After a crash the others wait for this, and for what they do not know of DynamoDB's time.
const TTL: Duration = Duration::from_secs(5);
/// How long an invocation waits for others.
const WAIT: Duration = Duration::from_secs(5);
/// What the lease leaves of the invocation's time: to release the lock and to answer. And if the process is killed before it
/// has released, others see that within 4.5 s after the lease's end: a second after the invocation's.
const RESERVE: Duration = Duration::from_millis(3_500);

async fn handle(
    dynamodb: &aws_sdk_dynamodb::Client,
    locks_table: &str,
    shop: &Shop,
    event: LambdaEvent<Order>,
) -> Result<Answer> {
    let (order, context) = event.into_parts();
    let locks = LockClient::new(DynamoBackend::new(dynamodb.clone(), locks_table));
    let sold = locks
        .lock(format!("stock:{}", order.item))
        .owner(&context.request_id)
        .deadline(context.deadline() - RESERVE)
        .ttl(TTL)
        .wait(WAIT)
        .run(async |lease| shop.sell(&order, lease).await)
        .await;
    // Nothing of it is left to go on when the function thaws.
    locks.shutdown().await;
    sold?
}

// One thread: at 256 MB a function has a fraction of a processor.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let dynamodb = aws_sdk_dynamodb::Client::new(&config);
    let locks_table = variable("LOCKS_TABLE")?;
    let shop = Shop::new(
        dynamodb.clone(),
        variable("SHOP_TABLE")?,
        variable("PAYMENTS_URL")?,
    );
    let function = service_fn(|event| handle(&dynamodb, &locks_table, &shop, event));
    lambda_runtime::run(function).await
}

fn variable(name: &str) -> Result<String> {
    env::var(name).with_context(|| format!("set the environment variable {name}"))
}
