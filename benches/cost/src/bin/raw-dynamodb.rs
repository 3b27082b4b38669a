//! The least lock in two calls of the SDK.

use std::time::SystemTime;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use cost::{TABLE, TTL, granted, serve};
use lambda_runtime::Error;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let client = Client::new(&config);
    serve(|| take_and_release(&client)).await
}

async fn take_and_release(client: &Client) -> Result<(), Error> {
    let key = AttributeValue::S("raw".to_owned());
    let owner = AttributeValue::S(uuid::Uuid::new_v4().to_string());
    let now = SystemTime::UNIX_EPOCH.elapsed()?;
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
    granted();
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
