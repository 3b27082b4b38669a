//! Guarded writes to DynamoDB, and the lock's part in a transaction.
//!
//! # Stability
//!
//! The types here are tied to `aws-sdk-dynamodb` 1.x: a new major version of the SDK is one of this crate.

mod error;
mod expression;
mod place;
mod write;

use std::any::Any;
use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemOutput;
use aws_sdk_dynamodb::operation::delete_item::builders::DeleteItemFluentBuilder;
use aws_sdk_dynamodb::operation::put_item::PutItemOutput;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::UpdateItemOutput;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck};

use super::{Fence, Guarded, held, invalid, number};
use crate::backend::Backend;
use crate::backend::dynamodb::DynamoBackend;
use crate::{Error, Lease, Result};

/// Ours, in expressions that are the user's: prefixed, and refused where they are used already.
const NAME: &str = "#doclock_fence";
const TOKEN: &str = ":doclock_token";
const NUMBER: &str = ":doclock_number";

/// Guards writes to DynamoDB by a lease. Made by [`Fence::dynamodb`].
///
/// The data may lie in any table, of any client. A guarded call takes the SDK's own request as you have built it, and sends
/// it once, with the fence in its condition: no request more than without a guard, also where it is refused. The SDK's
/// retries are off, for a repeated `ADD` whose first answer got lost would count twice.
///
/// ```no_run
/// # use aws_sdk_dynamodb::types::AttributeValue;
/// # async fn example(client: aws_sdk_dynamodb::Client, lease: doclock::Lease) -> doclock::Result<()> {
/// let deduct = client
///     .update_item()
///     .table_name("items")
///     .key("pk", AttributeValue::S("42".into()))
///     .update_expression("ADD stock :by")
///     .expression_attribute_values(":by", AttributeValue::N("-1".into()));
/// let deducted = lease.fence().dynamodb()?.guarded_update(deduct).await?;
/// # let _ = deducted;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Each call fails with
///
/// * [`ErrorKind::LeaseLost`](crate::ErrorKind::LeaseLost), and sends nothing, once the lease is lost;
/// * [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput), and sends nothing, if the request changes the fence's
///   attribute itself, or uses a placeholder that starts with `doclock_`;
/// * [`ErrorKind::CorruptRecord`](crate::ErrorKind::CorruptRecord) if the attribute is no whole number: the item is left as
///   it is;
/// * [`ErrorKind::OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) if there was no answer within the lock client's
///   [`request_timeout`](crate::LockClientBuilder::request_timeout) or the SDK client's own: read the item before you
///   repeat it;
/// * [`ErrorKind::ConditionFailed`](crate::ErrorKind::ConditionFailed) if your own condition failed. The SDK's error, such as
///   `UpdateItemError`, is the [`source`](std::error::Error::source) of this and any other.
///
/// # Cancel safety
///
/// A dropped call was applied or was not.
#[derive(Debug)]
pub struct DynamoFence<'a> {
    lease: &'a Lease,
    field: String,
    token: i64,
}

impl<'a> Fence<'a> {
    /// Guards writes to DynamoDB.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the field's name cannot be one.
    pub fn dynamodb(self) -> Result<DynamoFence<'a>> {
        let token = self.checked()?;
        Ok(DynamoFence {
            lease: self.lease,
            field: self.field,
            token,
        })
    }
}

/// Pieces for requests of your own, such as the parts of a transaction. They do not look whether the lease is held.
impl DynamoFence<'_> {
    /// That no newer token has written: for a `ConditionExpression`.
    #[must_use]
    pub fn condition(&self) -> String {
        format!(
            "(attribute_not_exists({NAME}) OR (attribute_type({NAME}, {NUMBER}) AND {NAME} <= {TOKEN}))"
        )
    }

    /// What leaves the token behind: for the `SET` clause of an `UpdateExpression`. A put has the token as an attribute,
    /// [`field`](Self::field).
    #[must_use]
    pub fn assignment(&self) -> String {
        format!("{NAME} = {TOKEN}")
    }

    /// The attribute that keeps the token, and the token.
    #[must_use]
    pub fn field(&self) -> (String, AttributeValue) {
        (
            self.field.clone(),
            AttributeValue::N(self.token.to_string()),
        )
    }

    /// The `ExpressionAttributeNames` of the pieces.
    #[must_use]
    pub fn names(&self) -> HashMap<String, String> {
        HashMap::from([(NAME.to_owned(), self.field.clone())])
    }

    /// The `ExpressionAttributeValues` of the pieces.
    #[must_use]
    pub fn values(&self) -> HashMap<String, AttributeValue> {
        HashMap::from([
            (TOKEN.to_owned(), self.field().1),
            (NUMBER.to_owned(), AttributeValue::S("N".to_owned())),
        ])
    }
}

impl DynamoFence<'_> {
    /// Puts an item, with the token. It replaces the whole item, and with it the fence of any other lock.
    pub async fn guarded_put(&self, put: PutItemFluentBuilder) -> Result<Guarded<PutItemOutput>> {
        let sent = async {
            if put
                .get_item()
                .as_ref()
                .is_some_and(|item| item.contains_key(&self.field))
            {
                return Err(touched(&self.field));
            }
            let (field, token) = self.field();
            self.send(put.item(field, token)).await
        };
        sent.await.map_err(|error| self.named(error, "guarded_put"))
    }

    /// Updates an item, and its token. It makes the item if there is none, unless a condition of yours forbids it.
    ///
    /// Without an update expression of its own it only leaves the token behind. With `ReturnValues` of `ALL_NEW` it so reads
    /// an item in a way that no older holder can change it from then on.
    pub async fn guarded_update(
        &self,
        update: UpdateItemFluentBuilder,
    ) -> Result<Guarded<UpdateItemOutput>> {
        let sent = async {
            if update
                .get_key()
                .as_ref()
                .is_some_and(|key| key.contains_key(&self.field))
            {
                return Err(touched(&self.field));
            }
            let text = update
                .get_update_expression()
                .as_deref()
                .unwrap_or_default();
            let names = update.get_expression_attribute_names();
            if expression::mentions(text, names.as_ref(), &self.field) {
                return Err(touched(&self.field));
            }
            let text = expression::with_assignment(text, &self.assignment());
            self.send(update.update_expression(text)).await
        };
        sent.await
            .map_err(|error| self.named(error, "guarded_update"))
    }

    /// Deletes an item. The fence goes with it: see the [module above](super#what-it-does-not-protect).
    pub async fn guarded_delete(
        &self,
        delete: DeleteItemFluentBuilder,
    ) -> Result<Guarded<DeleteItemOutput>> {
        let sent = async {
            if delete
                .get_key()
                .as_ref()
                .is_some_and(|key| key.contains_key(&self.field))
            {
                return Err(touched(&self.field));
            }
            self.send(delete).await
        };
        sent.await
            .map_err(|error| self.named(error, "guarded_delete"))
    }

    fn named(&self, error: Error, operation: &'static str) -> Error {
        error.with_operation(operation).with_key(self.lease.key())
    }
}

impl Lease {
    /// A part for a `TransactWriteItems` of yours: it is carried out only while the lock is held. Several items, all or
    /// nothing, without a fence in any of them.
    ///
    /// Of a [document lock](crate::document) it checks that very item, which can have no other part in the transaction.
    ///
    /// Sends nothing. The client is the one that will send the transaction; it must reach the lock's table, with the lock's
    /// region and endpoint, and with credentials of the same account. A transaction that is refused for this part alone has
    /// `ConditionalCheckFailed` at its place among the `CancellationReasons`: stop what the lock protected.
    ///
    /// ```no_run
    /// # use aws_sdk_dynamodb::types::{Put, TransactWriteItem};
    /// # async fn example(client: aws_sdk_dynamodb::Client, lease: doclock::Lease, put: Put) -> anyhow::Result<()> {
    /// let is_held = lease.condition_check(&client).await?;
    /// client
    ///     .transact_write_items()
    ///     .transact_items(TransactWriteItem::builder().condition_check(is_held).build())
    ///     .transact_items(TransactWriteItem::builder().put(put).build())
    ///     .send()
    ///     .await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::LeaseLost`](crate::ErrorKind::LeaseLost) if it is lost;
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the lock is in another kind of database, or the
    /// client's region or endpoint is another.
    pub async fn condition_check(&self, client: &Client) -> Result<ConditionCheck> {
        let made = async {
            let token = number(self)?;
            let backend: &dyn Backend = &*self.hold.client.inner().backend;
            let backend: &dyn Any = backend;
            let locks: &DynamoBackend = backend.downcast_ref().ok_or_else(|| {
                invalid(
                    "the lock is not in one DynamoDB, so a transaction there cannot check it: make the lock client by \
                     `DynamoBackend::new`, or guard each item",
                )
            })?;
            place::same(locks.client(), client).await?;
            held(self)?;
            locks.condition_check(self.key(), (self.owner(), self.id()), token)
        };
        let named = |error: Error| error.with_operation("condition_check").with_key(self.key());
        made.await.map_err(named)
    }
}

fn touched(field: &str) -> Error {
    invalid(format!(
        "attribute `{field}` keeps the fencing token, and is written by the fence alone: leave it out, or name another one \
         by `Fence::field`"
    ))
}
