use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::BeforeSerializationInterceptorContextRef;
use aws_sdk_dynamodb::config::{Builder, ConfigBag, Credentials, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemInput;
use aws_sdk_dynamodb::types::AttributeValue;
use doclock::{DynamoBackend, LockClient};

use crate::support::servers;
use crate::{KEY, TTL};

const TABLE: &str = "instructions";
const RESENT: &str = "resent";

pub(crate) async fn backend() -> DynamoBackend {
    DynamoBackend::new(Client::new(&config().await), TABLE)
}

pub(crate) async fn resend(rounds: usize) -> Result<()> {
    let config = config().await;
    let recorded = record(&config).await?;
    let client = Client::new(&config);
    // After the other, neither looks like a late duplicate of itself.
    for round in recorded.chunks_exact(2).cycle().take(rounds + 1) {
        send(&client, round).await?;
    }
    Ok(())
}

async fn config() -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .endpoint_url(servers::dynamodb_local_url())
        .credentials_provider(Credentials::new("local", "local", None, None, "bench"))
        .load()
        .await
}

/// The requests of two rounds.
async fn record(config: &SdkConfig) -> Result<Vec<UpdateItemInput>> {
    let recorder = Recorder::default();
    let config = Builder::from(config).interceptor(recorder.clone()).build();
    let locks = LockClient::new(DynamoBackend::new(Client::from_conf(config), TABLE));
    locks.setup().await?;
    for key in [RESENT, KEY, KEY, KEY] {
        let lease = locks.lock(key).ttl(TTL).try_acquire().await?;
        lease.context("held by another")?.release().await?;
    }
    let sent = recorder.take();
    let newest = sent.len().checked_sub(4).context("fewer requests")?;
    Ok(sent[newest..].to_vec())
}

async fn send(client: &Client, round: &[UpdateItemInput]) -> Result<()> {
    for request in round.iter().cloned() {
        client
            .update_item()
            .set_table_name(request.table_name)
            .key("pk", AttributeValue::S(RESENT.to_owned()))
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
