use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::Result;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::BeforeSerializationInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::{BoxError, SdkError};
use aws_sdk_dynamodb::operation::update_item::UpdateItemInput;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};

use super::{TTL, take_and_release};
use crate::server::{Driver, TABLE};

pub(super) async fn take(client: &Client, key: &str, owner: &str) -> Result<bool> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let number = |millis: u128| AttributeValue::N(millis.to_string());
    let taken = client
        .update_item()
        .table_name(TABLE)
        .key("pk", AttributeValue::S(key.to_owned()))
        .update_expression("SET #owner = :owner, expires_at = :end ADD #token :one")
        .condition_expression("attribute_not_exists(#owner) OR expires_at <= :now")
        .expression_attribute_names("#owner", "owner")
        .expression_attribute_names("#token", "token")
        .expression_attribute_values(":owner", AttributeValue::S(owner.to_owned()))
        .expression_attribute_values(":now", number(now.as_millis()))
        .expression_attribute_values(":end", number((now + TTL).as_millis()))
        .expression_attribute_values(":one", number(1))
        .return_values(ReturnValue::AllNew)
        .send()
        .await;
    match taken.map_err(SdkError::into_service_error) {
        Ok(_) => Ok(true),
        Err(error) if error.is_conditional_check_failed_exception() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn give_back(client: &Client, key: &str, owner: &str) -> Result<()> {
    client
        .update_item()
        .table_name(TABLE)
        .key("pk", AttributeValue::S(key.to_owned()))
        .update_expression("REMOVE #owner")
        .condition_expression("#owner = :owner")
        .expression_attribute_names("#owner", "owner")
        .expression_attribute_values(":owner", AttributeValue::S(owner.to_owned()))
        .send()
        .await?;
    Ok(())
}

pub(super) async fn record(client: &Client, key: &str) -> Result<Vec<UpdateItemInput>> {
    let recorder = Recorder::default();
    let config = client.config().to_builder();
    let client = Client::from_conf(config.interceptor(recorder.clone()).build());
    let locks = Driver::Dynamo(client).locks();
    take_and_release(&locks, key).await?;
    // The first round made the record.
    recorder.take();
    for _ in 0..2 {
        take_and_release(&locks, key).await?;
    }
    Ok(recorder.take())
}

pub(super) async fn resend(client: &Client, key: &str, round: &[UpdateItemInput]) -> Result<()> {
    for request in round.iter().cloned() {
        client
            .update_item()
            .set_table_name(request.table_name)
            .key("pk", AttributeValue::S(key.to_owned()))
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
