//! A renewal as a statement of `PartiQL`, of which many fit into one request.
//!
//! `PartiQL` says what expressions say in other words, and knows neither `if_not_exists` nor as many alternatives: the
//! statement asks for a record without a schedule, and what it refuses is renewed by itself.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::Mode;

use super::expression::Expression;
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

    /// The statement that does this to an item, where the names are bound to `names`.
    pub(super) fn statement(
        &self,
        table: &str,
        key: &Item,
        names: &HashMap<String, String>,
    ) -> Statement {
        let mut written = Writer {
            text: format!("UPDATE {} ", quoted(table)),
            parameters: Vec::new(),
            names,
            values: self.all_values(),
        };
        written.expression(&self.update);
        written.text.push_str(" WHERE ");
        for (name, value) in key {
            written.text.push_str(&quoted(name));
            written.text.push_str(" = ? AND ");
            written.parameters.push(value.clone());
        }
        written.expression(&self.condition);
        (written.text, written.parameters)
    }
}

struct Writer<'a> {
    text: String,
    parameters: Vec<AttributeValue>,
    names: &'a HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Writer<'_> {
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
        if let Some(name) = self.names.get(placeholder) {
            match placeholder {
                // No reserved word. The embedded emulator reads a term of a sum without quotes only.
                "#rev" => self.text.push_str(name),
                _ => self.text.push_str(&quoted(name)),
            }
            return;
        }
        match placeholder {
            // A type is part of the statement.
            ":map" => self.text.push_str("'M'"),
            ":text" => self.text.push_str("'S'"),
            _ => {
                self.text.push('?');
                self.parameters
                    .extend(self.values.get(placeholder).cloned());
            }
        }
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::dynamodb::record::{number, text};

    #[test]
    fn names_are_quoted_and_values_are_parameters() {
        let expression = Expression::new(
            "SET #holders.#me.#seq = :seq, #rev = #rev + :one",
            "attribute_type(#holders, :map) AND (attribute_not_exists(#holders.#me) OR #seq BETWEEN :zero AND :seq)",
        )
        .name("me", "a\"b")
        .value("seq", number(7));
        let key = Item::from([("pk".to_owned(), text("it's"))]);
        let (statement, parameters) = expression.statement("locks", &key, &expression.all_names());
        assert_eq!(
            statement,
            r#"UPDATE "locks" SET "holders"."a""b"."seq" = ?, rev = rev + ? WHERE "pk" = ? AND attribute_type("holders", 'M') AND ("holders"."a""b" IS MISSING OR "seq" BETWEEN ? AND ?)"#
        );
        assert_eq!(
            parameters,
            [number(7), number(1), text("it's"), number(0), number(7)]
        );
    }

    /// The server's limit.
    #[test]
    fn the_longest_names_fit() {
        let renewal = Expression::renewal(true, true, true, None).unscheduled(Mode::Exclusive);
        let name = |length| "\"".repeat(length);
        let key = Item::from([
            (name(255), text("k")),
            (format!("{}s", name(254)), text("k")),
        ]);
        let mut names = renewal.all_names();
        names.insert("#me".to_owned(), "m".repeat(64));
        let (statement, _) = renewal.statement(&"t".repeat(1024), &key, &names);
        assert!(statement.len() <= 8192, "{}: {statement}", statement.len());
    }

    #[test]
    fn nothing_is_left_that_a_statement_cannot_say() {
        for mode in [Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 3 }] {
            let renewal = Expression::renewal(false, mode == Mode::Exclusive, true, None);
            let renewal = renewal.unscheduled(mode);
            let (statement, _) = renewal.statement("locks", &Item::new(), &renewal.all_names());
            for word in ["if_not_exists", "attribute_not_exists", "IN (", "#", ":"] {
                assert!(!statement.contains(word), "{word}: {statement}");
            }
            assert_eq!(statement.matches(" OR ").count(), 6, "{statement}");
        }
    }
}
