//! What the three writes have in common: the fence in their condition, and how they end.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::time::Duration;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::delete_item::builders::DeleteItemFluentBuilder;
use aws_sdk_dynamodb::operation::delete_item::{DeleteItemError, DeleteItemOutput};
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemOutput};
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::error::ConditionalCheckFailedException;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};

use super::super::{Guarded, held, invalid, no_token};
use super::error::failed;
use super::expression::grouped;
use super::{DynamoFence, NAME, NUMBER, TOKEN};
use crate::backend::dynamodb::request::{Tap, once};
use crate::{Error, ErrorKind, Result};

type Item = HashMap<String, AttributeValue>;

/// A request with a condition.
pub(super) trait Write: Sized {
    type Answer;
    type Failure: ProvideErrorMetadata + StdError + Send + Sync + 'static;

    fn names(&self) -> Option<&HashMap<String, String>>;
    fn values(&self) -> Option<&Item>;
    fn guarded(self, fence: &DynamoFence<'_>) -> Self;
    fn send_once(
        self,
        timeout: Duration,
        tap: &Tap,
    ) -> impl Future<Output = std::result::Result<Self::Answer, SdkError<Self::Failure>>> + Send;
    /// That the condition failed, if so.
    fn refusal(failure: &Self::Failure) -> Option<&ConditionalCheckFailedException>;
}

macro_rules! write {
    ($builder:ty, $answer:ty, $failure:ident) => {
        impl Write for $builder {
            type Answer = $answer;
            type Failure = $failure;

            fn names(&self) -> Option<&HashMap<String, String>> {
                self.get_expression_attribute_names().as_ref()
            }

            fn values(&self) -> Option<&Item> {
                self.get_expression_attribute_values().as_ref()
            }

            fn guarded(mut self, fence: &DynamoFence<'_>) -> Self {
                let condition = match self.get_condition_expression() {
                    Some(own) => format!("{} AND {}", grouped(own), fence.condition()),
                    None => fence.condition(),
                };
                for (placeholder, name) in fence.names() {
                    self = self.expression_attribute_names(placeholder, name);
                }
                for (placeholder, value) in fence.values() {
                    self = self.expression_attribute_values(placeholder, value);
                }
                self.condition_expression(condition)
                    .return_values_on_condition_check_failure(
                        ReturnValuesOnConditionCheckFailure::AllOld,
                    )
            }

            async fn send_once(
                self,
                timeout: Duration,
                tap: &Tap,
            ) -> std::result::Result<$answer, SdkError<$failure>> {
                let once = tap.listening(once(timeout));
                self.customize().config_override(once).send().await
            }

            fn refusal(failure: &$failure) -> Option<&ConditionalCheckFailedException> {
                match failure {
                    $failure::ConditionalCheckFailedException(refusal) => Some(refusal),
                    _ => None,
                }
            }
        }
    };
}

write!(PutItemFluentBuilder, PutItemOutput, PutItemError);
write!(UpdateItemFluentBuilder, UpdateItemOutput, UpdateItemError);
write!(DeleteItemFluentBuilder, DeleteItemOutput, DeleteItemError);

impl DynamoFence<'_> {
    pub(super) async fn send<W: Write>(&self, write: W) -> Result<Guarded<W::Answer>> {
        let names = write.names().is_some_and(|names| names.contains_key(NAME));
        let values = write.values();
        let values =
            values.is_some_and(|values| values.contains_key(TOKEN) || values.contains_key(NUMBER));
        if names || values {
            return Err(invalid(format!(
                "the request uses {NAME}, {TOKEN} or {NUMBER}, which are the fence's: rename yours"
            )));
        }
        let client = self.lease.hold.client.inner();
        let tap = Tap::new(&client.clock);
        let guarded = write.guarded(self);
        held(self.lease)?;
        match guarded.send_once(client.request_timeout, &tap).await {
            Ok(answer) => Ok(Guarded::Applied(answer)),
            Err(error) => match error.as_service_error().and_then(W::refusal) {
                Some(refusal) if self.is_newer(refusal.item())? => Ok(Guarded::Fenced),
                Some(_) => Err(own_condition(error)),
                None => Err(failed(error, tap.effect())),
            },
        }
    }

    /// Whether the item that refused a write has a newer token.
    fn is_newer(&self, item: Option<&Item>) -> Result<bool> {
        let Some(token) = item.and_then(|item| item.get(&self.field)) else {
            return Ok(false);
        };
        let AttributeValue::N(digits) = token else {
            return Err(no_token(&self.field, "no number"));
        };
        match digits.parse::<i128>() {
            Ok(token) => Ok(token > i128::from(self.token)),
            Err(_) => Err(no_token(&self.field, digits)),
        }
    }
}

fn own_condition<E>(error: SdkError<E>) -> Error
where
    E: StdError + Send + Sync + 'static,
{
    let failed = Error::new(
        ErrorKind::ConditionFailed,
        "the request's own condition does not hold, and no newer holder has written: nothing was written",
    );
    match error.into_source() {
        Ok(source) => failed.with_source(source),
        Err(error) => failed.with_source(error.to_string()),
    }
}
