//! The lock record inside of a user's transaction.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::ConditionCheck;

use super::DynamoBackend;
use super::expression::Expression;
use super::grant::mine;
use super::record::number;
use crate::{Error, ErrorKind, Key, LeaseId, Owner, Result};

impl DynamoBackend {
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// That the record is an exclusive lock's and still has this holder.
    pub(crate) fn condition_check(
        &self,
        key: &Key,
        (owner, id): (&Owner, &LeaseId),
        token: i64,
    ) -> Result<ConditionCheck> {
        let expression =
            mine(Expression::exclusive_holder(), owner, id).value("token", number(token));
        let expression = self.place.moved(&expression);
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(self.place.key(&self.keys, key)))
            .condition_expression(&expression.condition)
            .set_expression_attribute_names(Some(self.keys.names(&expression)))
            .set_expression_attribute_values(Some(expression.all_values()))
            .build();
        check.map_err(|error| {
            let message = "the SDK does not build the check: please report this bug";
            Error::new(ErrorKind::Other, message).with_source(error)
        })
    }
}
