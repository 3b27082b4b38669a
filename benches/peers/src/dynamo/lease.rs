use anyhow::Result;
use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use futures_util::FutureExt;

use crate::peer::{Peer, Release};

/// Expires after 60 s by its holder's clock, and is renewed. Asks again every second.
pub(super) struct DynamodbLease(dynamodb_lease::Client);

impl DynamodbLease {
    pub(super) async fn new(client: Client, table: &str) -> Result<Self> {
        let leases = dynamodb_lease::Client::builder().table_name(table);
        Ok(Self(leases.build_and_check_db(client).await?))
    }
}

#[async_trait]
impl Peer for DynamodbLease {
    async fn acquire<'a>(&'a self, key: &'a str) -> Result<Release<'a>> {
        Ok(self.0.acquire(key).await?.release().boxed())
    }
}
