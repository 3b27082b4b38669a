use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context, Result};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::BeforeSerializationInterceptorContextRef;
use aws_sdk_dynamodb::config::{Builder, ConfigBag, Credentials, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemInput;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use doclock::{DynamoBackend, LockClient};

use crate::race::Race;
use crate::{KEY_A, KEY_B, KEY_C, TTL, take_and_release};

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
    let recorded = record(&config).await?;
    let mut rounds = recorded.chunks_exact(2).cycle();
    race.run(
        server,
        async || take_and_release(&locks, KEY_A).await,
        async || resend(&client, rounds.next().context("nothing recorded")?).await,
        async || take_and_release_by_hand(&client).await,
    )
    .await
}

/// The requests of two rounds; after the other, neither looks like a late duplicate of itself.
async fn record(config: &SdkConfig) -> Result<Vec<UpdateItemInput>> {
    let recorder = Recorder::default();
    let config = Builder::from(config).interceptor(recorder.clone()).build();
    let backend = DynamoBackend::new(Client::from_conf(config), TABLE);
    let locks = LockClient::new(backend);
    take_and_release(&locks, KEY_A).await?;
    take_and_release(&locks, KEY_B).await?;
    recorder.take();
    take_and_release(&locks, KEY_A).await?;
    take_and_release(&locks, KEY_A).await?;
    Ok(recorder.take())
}

async fn resend(client: &Client, round: &[UpdateItemInput]) -> Result<()> {
    for request in round.iter().cloned() {
        client
            .update_item()
            .set_table_name(request.table_name)
            .key("pk", AttributeValue::S(KEY_B.to_owned()))
            .set_update_expression(request.update_expression)
            .set_condition_expression(request.condition_expression)
            .set_expression_attribute_names(request.expression_attribute_names)
            .set_expression_attribute_values(request.expression_attribute_values)
            .set_return_values(request.return_values)
            .set_return_values_on_condition_check_failure(
                request.return_values_on_condition_check_failure,
            )
            .send()
            .await?;
    }
    Ok(())
}

async fn take_and_release_by_hand(client: &Client) -> Result<()> {
    let key = AttributeValue::S(KEY_C.to_owned());
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

#[derive(Clone, Debug, Default)]
struct Recorder(Arc<Mutex<Vec<UpdateItemInput>>>);

impl Recorder {
    fn take(&self) -> Vec<UpdateItemInput> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Intercept for Recorder {
    fn name(&self) -> &'static str {
        "bench::Recorder"
    }

    fn read_before_serialization(
        &self,
        context: &BeforeSerializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(request) = context.input().downcast_ref::<UpdateItemInput>() {
            let mut requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            requests.push(request.clone());
        }
        Ok(())
    }
}
