//! What is written under the lock.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::Result;
use crate::backend::dynamodb::guarded::{Change, PREFIX};
use crate::client::invalid;

/// A change of an item: the clauses of an [update expression][expressions], what their placeholders mean, and a condition
/// if one is wanted.
///
/// The condition that the lock is held is added by this crate. Placeholders may have any name that does not begin with
/// `doclock_`.
///
/// ```
/// use aws_sdk_dynamodb::types::AttributeValue;
/// use doclock::document::dynamodb::Update;
///
/// let sale = Update::new()
///     .set("stock = stock - :one")
///     .set("#status = :sold")
///     .add("sales :one")
///     .remove("reservation")
///     .condition("stock > :zero")
///     .name("#status", "status") // a reserved word
///     .value(":sold", AttributeValue::S("sold".into()))
///     .value(":one", AttributeValue::N("1".into()))
///     .value(":zero", AttributeValue::N("0".into()));
/// ```
///
/// [expressions]: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.UpdateExpressions.html
#[derive(Clone, Debug, Default)]
#[must_use = "pass it to `update` or `update_and_unlock`"]
pub struct Update {
    set: Vec<String>,
    remove: Vec<String>,
    add: Vec<String>,
    delete: Vec<String>,
    condition: Option<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Update {
    /// Changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// `SET` this: `"balance = balance - :amount"`. May be called again, as each of the following.
    pub fn set(mut self, assignment: impl Into<String>) -> Self {
        self.set.push(assignment.into());
        self
    }

    /// `REMOVE` this attribute.
    pub fn remove(mut self, path: impl Into<String>) -> Self {
        self.remove.push(path.into());
        self
    }

    /// `ADD` this to a number or a set: `"visits :one"`.
    #[expect(clippy::should_implement_trait, reason = "it is named as its clause")]
    pub fn add(mut self, addition: impl Into<String>) -> Self {
        self.add.push(addition.into());
        self
    }

    /// `DELETE` this from a set: `"tags :old"`.
    pub fn delete(mut self, deletion: impl Into<String>) -> Self {
        self.delete.push(deletion.into());
        self
    }

    /// Written only if this holds as well; otherwise [`ErrorKind::ConditionFailed`](crate::ErrorKind::ConditionFailed).
    pub fn condition(mut self, condition: impl Into<String>) -> Self {
        self.condition = Some(condition.into());
        self
    }

    /// What a `#placeholder` stands for.
    pub fn name(mut self, placeholder: impl Into<String>, name: impl Into<String>) -> Self {
        self.names.insert(placeholder.into(), name.into());
        self
    }

    /// What a `:placeholder` stands for.
    pub fn value(mut self, placeholder: impl Into<String>, value: AttributeValue) -> Self {
        self.values.insert(placeholder.into(), value);
        self
    }

    fn clauses(&self) -> [(&'static str, &[String]); 4] {
        [
            ("SET", &self.set),
            ("REMOVE", &self.remove),
            ("ADD", &self.add),
            ("DELETE", &self.delete),
        ]
    }

    /// The caller's part of a write.
    pub(super) fn change(&self) -> Change<'_> {
        Change {
            clauses: self.clauses(),
            condition: self.condition.as_deref(),
            names: &self.names,
            values: &self.values,
        }
    }

    /// Refuses what can never work, and what would touch the lock or the key.
    pub(super) fn check(&self, lock: &str, (partition, sort): (&str, Option<&str>)) -> Result<()> {
        if self.clauses().iter().all(|(_, said)| said.is_empty()) {
            return Err(invalid("the update says nothing: name what is to change"));
        }
        for name in self.attributes() {
            let why = if name == lock {
                "the lock is changed by this crate only"
            } else if name == partition || Some(name) == sort {
                "the key of an item does not change"
            } else {
                continue;
            };
            return Err(invalid(format!("the update of `{name}`: {why}")));
        }
        // It is put in parentheses, and must not leave them.
        if !self.condition.as_deref().is_none_or(is_balanced) {
            return Err(invalid(
                "the condition of the update has a parenthesis too many",
            ));
        }
        let mut placeholders = self.names.keys().chain(self.values.keys());
        let is_ours = |name: &&String| name.get(1..).is_some_and(|name| name.starts_with(PREFIX));
        match placeholders.find(is_ours) {
            Some(ours) => Err(invalid(format!(
                "the placeholder `{ours}` is one of this crate's: name it otherwise"
            ))),
            None => Ok(()),
        }
    }

    /// The attributes of the item that its clauses name.
    fn attributes(&self) -> impl Iterator<Item = &str> {
        let clauses = self.clauses().into_iter();
        let texts = clauses.flat_map(|(_, said)| said.iter().map(String::as_str));
        texts
            .flat_map(heads)
            .map(|head| match head.strip_prefix('#') {
                Some(_) => self.names.get(head).map_or(head, String::as_str),
                None => head,
            })
    }
}

/// What begins a path in an expression, and its keywords and functions.
fn heads(text: &str) -> impl Iterator<Item = &str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '#' | ':' | '.');
    let words = text.split(move |c| !is_word(c));
    let heads = words.filter(|word| !word.starts_with([':', '.']));
    heads.filter_map(|word| word.split('.').next().filter(|head| !head.is_empty()))
}

/// Whether each parenthesis closes one of the text itself.
fn is_balanced(text: &str) -> bool {
    let depth = text.chars().try_fold(0_usize, |depth, char| match char {
        '(' => Some(depth + 1),
        ')' => depth.checked_sub(1),
        _ => Some(depth),
    });
    depth == Some(0)
}
