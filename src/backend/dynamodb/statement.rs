//! A renewal as a statement of `PartiQL`, of which many fit into one request.
//!
//! `PartiQL` says what expressions say in other words, and knows neither `if_not_exists` nor as many alternatives: the
//! statement asks for a record without a schedule, and what it refuses is renewed by itself.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::Mode;

use super::expression::Expression;
use super::keys::Keys;
use super::record::Item;

/// The text of a statement, and its parameters.
pub(super) type Statement = (String, Vec<AttributeValue>);

impl Expression {
    /// The same in fewer words, of a record that no scheduled job ever used.
    pub(super) fn unscheduled(mut self, mode: Mode) -> Self {
        let any = "((#mode IN (:exclusive, :shared) AND #limit = :zero) \
            OR (#mode = :permit AND #limit BETWEEN :one AND :cap))";
        let limit = match mode {
            Mode::Permit { .. } => "#limit BETWEEN :one AND :cap",
            Mode::Exclusive | Mode::Shared => "#limit = :zero",
        };
        self.condition = self.condition.replace(any, limit);
        for field in ["slot_started", "slot_done", "pinned"] {
            let absent = format!("attribute_not_exists(#{field})");
            let either = format!("({absent} OR #{field} BETWEEN :zero AND :most)");
            self.condition = self.condition.replace(&either, &absent);
        }
        self.update = self
            .update
            .replace("if_not_exists(#pinned, :purge)", ":purge");
        self
    }
}

/// A statement that many leases share: only the key of the lease's own entry and the parameters are still to come.
pub(super) struct Template {
    /// What stands around that key.
    text: Vec<String>,
    /// In their order.
    parameters: Vec<Parameter>,
}

enum Parameter {
    /// Of the item's key, by the attribute's name.
    Key(String),
    /// By its placeholder, without the colon.
    Value(String),
}

impl Template {
    pub(super) fn new(table: &str, keys: &Keys, expression: &Expression) -> Self {
        let mut written = Writer {
            text: format!("UPDATE {} ", quoted(table)),
            done: Vec::new(),
            parameters: Vec::new(),
            names: keys.names(expression),
        };
        written.expression(&expression.update);
        written.text.push_str(" WHERE ");
        let sort = keys.sort.as_ref().map(|(name, _)| name);
        for name in [&keys.partition].into_iter().chain(sort) {
            written.text.push_str(&quoted(name));
            written.text.push_str(" = ? AND ");
            written.parameters.push(Parameter::Key(name.clone()));
        }
        written.expression(&expression.condition);
        written.end_piece();
        Self {
            text: written.done,
            parameters: written.parameters,
        }
    }

    /// The statement for the item under this key, by what is bound in `lease`.
    pub(super) fn statement(&self, key: &Item, lease: &Expression) -> Statement {
        let value = |parameter: &Parameter| match parameter {
            Parameter::Key(name) => key.get(name).cloned(),
            Parameter::Value(word) => lease.bound(word),
        };
        let me = quoted(lease.named("me"));
        let parameters = self.parameters.iter().filter_map(value);
        (self.text.join(&me), parameters.collect())
    }
}

struct Writer {
    text: String,
    done: Vec<String>,
    parameters: Vec<Parameter>,
    names: HashMap<String, String>,
}

impl Writer {
    fn expression(&mut self, mut text: &str) {
        const ABSENT: &str = "attribute_not_exists(";
        while let Some((before, rest)) = text.split_once(ABSENT) {
            self.plain(before);
            let (path, after) = rest.split_once(')').unwrap_or((rest, ""));
            self.plain(path);
            self.text.push_str(" IS MISSING");
            text = after;
        }
        self.plain(text);
    }

    /// Text without that function.
    fn plain(&mut self, mut text: &str) {
        while let Some(at) = text.find(['#', ':']) {
            let (before, rest) = text.split_at(at);
            self.text.push_str(before);
            let end =
                rest.find(|c: char| !matches!(c, '#' | ':' | '_') && !c.is_ascii_alphanumeric());
            let (placeholder, after) = rest.split_at(end.unwrap_or(rest.len()));
            self.placeholder(placeholder);
            text = after;
        }
        self.text.push_str(text);
    }

    fn placeholder(&mut self, placeholder: &str) {
        match placeholder {
            "#me" => self.end_piece(),
            // No reserved word. The embedded emulator reads a term of a sum without quotes only.
            "#rev" => self.text.push_str("rev"),
            // A type is part of the statement.
            ":map" => self.text.push_str("'M'"),
            ":text" => self.text.push_str("'S'"),
            _ => {
                if let Some(name) = self.names.get(placeholder) {
                    self.text.push_str(&quoted(name));
                } else {
                    self.text.push('?');
                    let word = placeholder.trim_start_matches(':').to_owned();
                    self.parameters.push(Parameter::Value(word));
                }
            }
        }
    }

    fn end_piece(&mut self) {
        self.done.push(std::mem::take(&mut self.text));
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::dynamodb::record::{number, text};

    fn keys(partition: &str, sort: Option<&str>) -> Keys {
        Keys {
            partition: partition.to_owned(),
            sort: sort.map(|name| (name.to_owned(), "k".to_owned())),
        }
    }

    #[test]
    fn names_are_quoted_and_values_are_parameters() {
        let expression = Expression::new(
            "SET #holders.#me.#seq = :seq, #rev = #rev + :one",
            "attribute_type(#holders, :map) AND (attribute_not_exists(#holders.#me) OR #seq BETWEEN :zero AND :seq)",
        );
        let template = Template::new("locks", &keys("id", Some("so\"rt")), &expression);
        let lease = |me, seq, key| {
            let lease = Expression::default().name("me", me);
            let key = [("id", key), ("so\"rt", "it's")];
            let key = key.map(|(name, value)| (name.to_owned(), text(value)));
            template.statement(&Item::from(key), &lease.value("seq", number(seq)))
        };
        let (statement, parameters) = lease("a\"b", 7, "one");
        assert_eq!(
            statement,
            r#"UPDATE "locks" SET "holders"."a""b"."seq" = ?, rev = rev + ? WHERE "id" = ? AND "so""rt" = ? AND attribute_type("holders", 'M') AND ("holders"."a""b" IS MISSING OR "seq" BETWEEN ? AND ?)"#
        );
        let one = [
            number(7),
            number(1),
            text("one"),
            text("it's"),
            number(0),
            number(7),
        ];
        assert_eq!(parameters, one);
        let (another, parameters) = lease("c", 8, "two");
        assert_eq!(another, statement.replace("a\"\"b", "c"));
        assert_eq!(parameters[..3], [number(8), number(1), text("two")]);
    }

    /// The server's limit.
    #[test]
    fn the_longest_names_fit() {
        let renewal = Expression::renewal(true, true, true, None).unscheduled(Mode::Exclusive);
        let name = |length| "\"".repeat(length);
        let keys = keys(&name(255), Some(&format!("{}s", name(254))));
        let template = Template::new(&"t".repeat(1024), &keys, &renewal);
        let lease = Expression::default().name("me", "m".repeat(64));
        let (statement, _) = template.statement(&Item::new(), &lease);
        assert!(statement.len() <= 8192, "{}: {statement}", statement.len());
    }

    #[test]
    fn nothing_is_left_that_a_statement_cannot_say() {
        for mode in [Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 3 }] {
            let renewal = Expression::renewal(false, mode == Mode::Exclusive, true, None);
            let template = Template::new("locks", &keys("pk", None), &renewal.unscheduled(mode));
            let lease = Expression::default().name("me", "m");
            let (statement, _) = template.statement(&Item::new(), &lease);
            for word in ["if_not_exists", "attribute_not_exists", "IN (", "#", ":"] {
                assert!(!statement.contains(word), "{word}: {statement}");
            }
            assert_eq!(statement.matches(" OR ").count(), 6, "{statement}");
        }
    }
}
