//! Sending: one request without the SDK's own retries, and what its response tells of the server's time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{
    Builder, ConfigBag, Intercept, RuntimeComponents, SharedInterceptor,
};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};

use crate::time::{Clock, Moment, Timestamp};
use crate::{Key, Result};

use super::DynamoBackend;
use super::error::{Effect, translate};
use super::expression::Expression;
use super::record::Item;

/// When a request was sent, and the server time in its response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange {
    pub(super) sent: Moment,
    pub(super) date: Option<Timestamp>,
}

/// How a conditional write ended.
#[derive(Debug)]
pub(super) enum Update {
    /// It was applied; the item as it is now, if that was asked for.
    Applied(Item, Exchange),
    /// Its condition failed; the item as it stands, unless there is none or something on the way dropped it.
    Refused(Option<Item>, Exchange),
}

impl DynamoBackend {
    /// Sends one conditional write of a record.
    pub(super) async fn update(
        &self,
        key: &Key,
        timeout: Duration,
        expression: &Expression,
        returns: ReturnValue,
    ) -> Result<Update> {
        let expression = self.place.moved(expression);
        let names = self.keys.names(&expression);
        let values = expression.all_values();
        let texts = (expression.update.as_str(), expression.condition.as_str());
        self.send(key, timeout, texts, (names, values), returns)
            .await
    }

    /// Sends one conditional write: its update and condition, its names and values.
    pub(super) async fn send(
        &self,
        key: &Key,
        timeout: Duration,
        (update, condition): (&str, &str),
        (names, values): (HashMap<String, String>, Item),
        returns: ReturnValue,
    ) -> Result<Update> {
        let tap = Tap::new(&self.local);
        let sent = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(self.place.key(&self.keys, key)))
            .update_expression(update)
            .condition_expression(condition)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .return_values(returns)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .customize()
            .config_override(tap.listening(once(timeout)))
            .send()
            .await;
        let exchange = self.observe(&tap);
        match sent {
            Ok(output) => Ok(Update::Applied(
                output.attributes.unwrap_or_default(),
                exchange,
            )),
            Err(error) => match refused(error) {
                Ok(item) => Ok(Update::Refused(item, exchange)),
                Err(error) => Err(translate(*error, tap.effect(), self)),
            },
        }
    }

    /// Reads an item: by a lock operation, within its `timeout` and without retries; otherwise as the client is
    /// configured.
    pub(super) async fn read(
        &self,
        key: &Key,
        consistent: bool,
        timeout: Option<Duration>,
    ) -> Result<Option<Item>> {
        let tap = Tap::new(&self.local);
        let sent = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(self.place.key(&self.keys, key)))
            .consistent_read(consistent)
            .customize()
            .config_override(tap.listening(timeout.map_or_else(Builder::default, once)))
            .send()
            .await;
        self.observe(&tap);
        let output = sent.map_err(|error| translate(error, Effect::Reads, self))?;
        Ok(output.item)
    }

    /// Hands what a response told to the estimate of server time.
    pub(super) fn observe(&self, tap: &Tap) -> Exchange {
        let seen = *tap.seen();
        let sent = seen.sent.unwrap_or_else(|| self.local.now());
        match (seen.received, seen.date) {
            (Some(received), Some(date)) => self.estimate().observe(sent, received, date),
            (Some(_), None) => self.estimate().observe_undated(),
            (None, _) => {}
        }
        Exchange {
            sent,
            date: seen.date,
        }
    }
}

/// Doclock retries by itself, with a request that is built anew: a resent one would write old times.
pub(crate) fn once(timeout: Duration) -> Builder {
    let timeouts = TimeoutConfig::builder().operation_timeout(timeout).build();
    Builder::default()
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
}

type UpdateError = aws_sdk_dynamodb::error::SdkError<UpdateItemError>;

fn refused(error: UpdateError) -> std::result::Result<Option<Item>, Box<UpdateError>> {
    let is_refusal = |error: &UpdateItemError| error.is_conditional_check_failed_exception();
    if !error.as_service_error().is_some_and(is_refusal) {
        return Err(Box::new(error));
    }
    match error.into_service_error() {
        UpdateItemError::ConditionalCheckFailedException(refusal) => {
            Ok(refusal.item.filter(|item| !item.is_empty()))
        }
        _ => Ok(None),
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    sent: Option<Moment>,
    received: Option<Moment>,
    date: Option<Timestamp>,
}

/// Listens to one operation, just before it is put on the wire and as soon as its headers are back.
#[derive(Clone, Debug)]
pub(crate) struct Tap {
    clock: Arc<dyn Clock>,
    seen: Arc<Mutex<Seen>>,
}

impl Tap {
    pub(crate) fn new(clock: &Arc<dyn Clock>) -> Self {
        Self {
            clock: Arc::clone(clock),
            seen: Arc::default(),
        }
    }

    /// The same configuration for the request that it is to listen to.
    pub(crate) fn listening(&self, mut config: Builder) -> Builder {
        // Whether another is disabled is looked up at each of 19 hooks.
        config.push_interceptor(SharedInterceptor::permanent(self.clone()));
        config
    }

    /// What a write without an answer may have done.
    pub(crate) fn effect(&self) -> Effect {
        self.seen().sent.map_or(Effect::None, |_| Effect::Writes)
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for Tap {
    fn name(&self) -> &'static str {
        "doclock::Tap"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        *self.seen() = Seen {
            sent: Some(self.clock.now()),
            ..Seen::default()
        };
        Ok(())
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response().headers();
        // Without the first it is not DynamoDB that answers, with the second not now.
        let usable = headers.contains_key("x-amzn-requestid") && !headers.contains_key("age");
        let date = headers.get("date").filter(|_| usable);
        let mut seen = self.seen();
        seen.received = Some(self.clock.now());
        seen.date = date
            .and_then(|date| httpdate::parse_http_date(date).ok())
            .map(Timestamp::from);
        Ok(())
    }
}
