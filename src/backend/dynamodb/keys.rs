//! How the table's own keys are called.

use std::collections::HashMap;
use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::Key;

use super::expression::Expression;
use super::record::text;

/// The names of a table's keys, and the sort key's one value if it has one.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) partition: String,
    pub(super) sort: Option<(String, String)>,
}

impl Keys {
    /// The whole key of an item.
    pub(super) fn of(&self, key: &Key) -> HashMap<String, AttributeValue> {
        let mut whole = HashMap::from([(self.partition.clone(), text(key.as_str()))]);
        if let Some((name, value)) = &self.sort {
            whole.insert(name.clone(), text(value));
        }
        whole
    }

    /// The names in an expression.
    pub(super) fn names(&self, expression: &Expression) -> HashMap<String, String> {
        let mut names = expression.all_names();
        if let Some(name) = names.get_mut("#pk") {
            name.clone_from(&self.partition);
        }
        names
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition key `{}` (S)", self.partition)?;
        match &self.sort {
            Some((name, _)) => write!(f, " and sort key `{name}` (S)"),
            None => write!(f, " and no sort key"),
        }
    }
}
