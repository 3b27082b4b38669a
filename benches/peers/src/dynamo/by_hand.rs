use anyhow::Result;
use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::FutureExt;
use tokio::time::sleep;
use uuid::Uuid;

use super::KEY;
use crate::measure::RETRY;
use crate::peer::{Peer, Release};

/// Whoever puts the item holds, until it deletes it. It never expires.
pub(super) struct ByHand {
    client: Client,
    table: String,
}

impl ByHand {
    pub(super) fn new(client: Client, table: &str) -> Self {
        let table = table.to_owned();
        Self { client, table }
    }

    /// False if it is held by another.
    async fn take(&self, key: &str, owner: &str) -> Result<bool> {
        let put = self.client.put_item().table_name(&self.table);
        let put = put
            .item(KEY, AttributeValue::S(key.to_owned()))
            .item("held_by", AttributeValue::S(owner.to_owned()))
            .condition_expression("attribute_not_exists(held_by)");
        match put.send().await.map_err(SdkError::into_service_error) {
            Ok(_) => Ok(true),
            Err(error) if error.is_conditional_check_failed_exception() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

#[async_trait]
impl Peer for ByHand {
    async fn acquire<'a>(&'a self, key: &'a str) -> Result<Release<'a>> {
        let owner = Uuid::new_v4().to_string();
        while !self.take(key, &owner).await? {
            sleep(RETRY).await;
        }
        let delete = self.client.delete_item().table_name(&self.table);
        let delete = delete
            .key(KEY, AttributeValue::S(key.to_owned()))
            .condition_expression("held_by = :owner")
            .expression_attribute_values(":owner", AttributeValue::S(owner));
        Ok(async { delete.send().await.map(drop).map_err(Into::into) }.boxed())
    }
}
