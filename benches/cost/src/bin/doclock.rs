//! A lock by a URL. With the argument `setup` makes the table, or the index.

use std::env;

use cost::{TTL, granted, serve};
use doclock::LockClient;
use lambda_runtime::Error;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let locks = doclock::connect_from_env().await?;
    if env::args().any(|argument| argument == "setup") {
        return Ok(locks.setup().await?);
    }
    serve(|| take_and_release(&locks)).await
}

async fn take_and_release(locks: &LockClient) -> Result<(), Error> {
    let lease = locks.lock("doclock").ttl(TTL).acquire().await?;
    granted();
    lease.release().await?;
    Ok(())
}
