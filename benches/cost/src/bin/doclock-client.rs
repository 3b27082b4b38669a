//! A lock by a client of the SDK that the service has anyhow.

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use cost::{TABLE, TTL, granted, serve};
use doclock::{DynamoBackend, LockClient};
use lambda_runtime::Error;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let locks = LockClient::new(DynamoBackend::new(Client::new(&config), TABLE));
    serve(|| take_and_release(&locks)).await
}

async fn take_and_release(locks: &LockClient) -> Result<(), Error> {
    let lease = locks.lock("doclock").ttl(TTL).acquire().await?;
    granted();
    lease.release().await?;
    Ok(())
}
