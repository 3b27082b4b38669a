use std::time::SystemTime;

use anyhow::Result;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Credentials;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use doclock::{DynamoBackend, LockClient};

use crate::race::Race;
use crate::{KEY, TTL, take_and_release};

const TABLE: &str = "bench";

pub(crate) async fn race(race: Race, server: &str, endpoint: &str) -> Result<()> {
    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new("local", "local", None, None, "bench"))
        .load()
        .await;
    let client = Client::new(&config);
    let locks = LockClient::new(DynamoBackend::new(client.clone(), TABLE));
    locks.setup().await?;
    race.run(
        server,
        async || take_and_release(&locks).await,
        async || take_and_release_by_hand(&client).await,
    )
    .await
}

/// The least that a lock needs.
async fn take_and_release_by_hand(client: &Client) -> Result<()> {
    let key = AttributeValue::S(format!("{KEY}-by-hand"));
    let owner = AttributeValue::S(uuid::Uuid::new_v4().to_string());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let number = |millis: u128| AttributeValue::N(millis.to_string());
    client
        .update_item()
        .table_name(TABLE)
        .key("pk", key.clone())
        .update_expression("SET #owner = :owner, expires_at = :end ADD #token :one")
        .condition_expression("attribute_not_exists(#owner) OR expires_at <= :now")
        .expression_attribute_names("#owner", "owner")
        .expression_attribute_names("#token", "token")
        .expression_attribute_values(":owner", owner.clone())
        .expression_attribute_values(":now", number(now.as_millis()))
        .expression_attribute_values(":end", number((now + TTL).as_millis()))
        .expression_attribute_values(":one", number(1))
        .return_values(ReturnValue::AllNew)
        .send()
        .await?;
    client
        .update_item()
        .table_name(TABLE)
        .key("pk", key)
        .update_expression("REMOVE #owner")
        .condition_expression("#owner = :owner")
        .expression_attribute_names("#owner", "owner")
        .expression_attribute_values(":owner", owner)
        .send()
        .await?;
    Ok(())
}
