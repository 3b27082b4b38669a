//! What an `UpdateItem` does and under which condition, with placeholders for every name and value.
//!
//! `token mode limit state owner data` and more are reserved words, so each name is a `#placeholder`; an owner's
//! map key is one too. A placeholder that is not bound stands for the attribute of the same name.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::record::{FORMAT, MAX_PARTIES, MAX_TTL};

use super::record::{number, text};

/// A well-formed record. The optional fields too: a record that is free but broken is refused by the server, and
/// what it returns then decodes to the error.
pub(super) const SHAPE: &str = "#v = :v \
    AND attribute_type(#holders, :map) AND attribute_type(#queue, :map) AND attribute_type(#tickets, :map) \
    AND #token BETWEEN :zero AND :last AND #rev BETWEEN :zero AND :last \
    AND ((#mode IN (:exclusive, :shared) AND #limit = :zero) \
        OR (#mode = :permit AND #limit BETWEEN :one AND :cap)) \
    AND (attribute_not_exists(#free_at) OR #free_at BETWEEN :zero AND :most) \
    AND (attribute_not_exists(#slot_started) OR #slot_started BETWEEN :zero AND :most) \
    AND (attribute_not_exists(#slot_done) OR #slot_done BETWEEN :zero AND :most) \
    AND (attribute_not_exists(#pinned) OR #pinned BETWEEN :zero AND :most) \
    AND (attribute_not_exists(#purge_at) OR #purge_at BETWEEN :zero AND :most) \
    AND (attribute_not_exists(#state) OR attribute_type(#state, :text)) \
    AND (attribute_not_exists(#closed) OR attribute_type(#closed, :text))";

/// The acquisition was not released yet: this is no late duplicate.
pub(super) const OPEN: &str = "(attribute_not_exists(#closed) OR #closed <> :id)";

/// Nobody queues.
const NO_QUEUE: &str = "size(#queue) = :zero AND size(#tickets) = :zero";

/// My entry is mine and well-formed.
pub(super) const MINE: &str = "#holders.#me.#id = :id AND #holders.#me.#owner = :owner \
    AND #holders.#me.#acquired_at BETWEEN :zero AND :most \
    AND #holders.#me.#expires_at BETWEEN :zero AND :most \
    AND #holders.#me.#ttl_ms BETWEEN :one AND :max_ttl \
    AND #holders.#me.#seq BETWEEN :zero AND :most \
    AND (attribute_not_exists(#holders.#me.#label) OR attribute_type(#holders.#me.#label, :text)) \
    AND (attribute_not_exists(#holders.#me.#data) OR attribute_type(#holders.#me.#data, :text))";

/// What every grant and renewal writes of the record's end. Where nothing is collected, it is left out.
pub(super) const PURGE: &str = "#purge_at = if_not_exists(#pinned, :purge)";

/// The token that follows on the record's.
pub(super) const NEXT: &str = "#token + :one";

/// The record's token is less than the one that it gets.
const BELOW: &str = " AND #token < :floor";

/// An update and its condition.
#[derive(Clone, Debug, Default)]
pub(super) struct Expression {
    pub(super) update: String,
    pub(super) condition: String,
    /// So few that to hash them takes longer than to look through them. The last of a name counts.
    names: Vec<(Cow<'static, str>, String)>,
    values: Vec<(Cow<'static, str>, AttributeValue)>,
}

impl Expression {
    pub(super) fn new(update: impl Into<String>, condition: impl Into<String>) -> Self {
        Self {
            update: update.into(),
            condition: condition.into(),
            names: Vec::new(),
            values: Vec::new(),
        }
    }

    /// An exclusive grant of what nobody holds; `create`: or of what does not exist. `floor`: its token, where the
    /// record's is less.
    pub(super) fn exclusive(create: bool, floor: Option<u64>) -> Self {
        let absent = if create {
            "attribute_not_exists(#pk) OR "
        } else {
            ""
        };
        let (token, below) = next_token(floor, "if_not_exists(#token, :seed) + :one");
        Self::new(
            format!(
                "SET #v = :v, #mode = :exclusive, #limit = :zero, #holders = :mine, #token = {token}, \
                 #rev = if_not_exists(#rev, :zero) + :one, \
                 #queue = if_not_exists(#queue, :empty), #tickets = if_not_exists(#tickets, :empty), \
                 #purge_at = if_not_exists(#pinned, :purge)"
            ),
            format!(
                "{absent}({SHAPE} AND {OPEN} AND size(#holders) = :zero AND {NO_QUEUE}{below})"
            ),
        )
        .with_floor(floor)
    }

    /// A grant beside others of the same mode, or of what nobody holds. `floor`: its token, where the record's is less.
    pub(super) fn sharable(floor: Option<u64>) -> Self {
        let (token, below) = next_token(floor, NEXT);
        Self::new(
            format!(
                "SET #mode = :mode, #limit = :limit, #holders.#me = :holder, #token = {token}, \
                 #rev = #rev + :one, #purge_at = if_not_exists(#pinned, :purge)"
            ),
            format!(
                "{SHAPE} AND {OPEN} AND {NO_QUEUE} AND attribute_not_exists(#holders.#me) \
                 AND (size(#holders) = :zero OR (#mode = :mode AND size(#holders) < :room)){below}"
            ),
        )
        .with_floor(floor)
    }

    /// A new token for a sharer whose grant's answer got lost, or two leases would have the same.
    pub(super) fn retoken() -> Self {
        Self::new(
            "SET #token = #token + :one, #rev = #rev + :one",
            format!("{SHAPE} AND {MINE} AND #mode = :mode"),
        )
    }

    /// A longer life for my entry. The ttl is never lowered, and on request neither is the expiry. `raise`: and this
    /// token, where the record's is less.
    pub(super) fn renewal(
        restamp: bool,
        exclusive: bool,
        keep_later: bool,
        raise: Option<u64>,
    ) -> Self {
        let newer = if raise.is_some() { "<=" } else { "<" };
        Self::new(
            format!(
                "SET #holders.#me.#expires_at = :expires, #holders.#me.#ttl_ms = :ttl, \
                 #holders.#me.#seq = :seq, #rev = #rev + :one, \
                 #purge_at = if_not_exists(#pinned, :purge){}{}",
                when(restamp, ", #holders.#me.#acquired_at = :now"),
                when(raise.is_some(), ", #token = :floor"),
            ),
            format!(
                "{SHAPE} AND {MINE} AND #mode = :mode AND #holders.#me.#seq {newer} :seq \
                 AND #holders.#me.#ttl_ms <= :ttl{}{}{}",
                when(exclusive, " AND #token = :token"),
                when(keep_later, " AND #holders.#me.#expires_at <= :expires"),
                when(raise.is_some(), BELOW),
            ),
        )
        .with_floor(raise)
    }

    /// The end of my entry. `linger`: something stays in its place; `slot`: a slot's run succeeded; `attempt`: the
    /// acquisition goes on, and a later attempt of it stays.
    pub(super) fn release(linger: bool, slot: bool, attempt: Option<u64>) -> Self {
        Self::new(
            format!(
                "SET #rev = #rev + :one, #free_at = :now{}{}{} REMOVE #holders.#me",
                when(attempt.is_none(), ", #closed = :id"),
                when(linger, ", #holders.#linger = :linger"),
                when(slot, ", #slot_done = :slot"),
            ),
            format!(
                "{SHAPE} AND {MINE}{}{}",
                when(
                    slot,
                    " AND (attribute_not_exists(#slot_done) OR #slot_done <= :slot)"
                ),
                when(attempt.is_some(), " AND #holders.#me.#seq <= :attempt"),
            ),
        )
        .value("attempt", number(attempt.unwrap_or_default()))
    }

    pub(super) fn with_floor(self, floor: Option<u64>) -> Self {
        self.value("floor", number(floor.unwrap_or_default()))
    }

    /// Nothing is changed; my entry is that of the one exclusive holder.
    pub(super) fn exclusive_holder() -> Self {
        Self::new(
            "",
            format!(
                "{SHAPE} AND {MINE} AND #mode = :exclusive AND #token = :token AND size(#holders) = :one"
            ),
        )
    }

    /// And for the one run that the key ever has, in [`exclusive`](Self::exclusive).
    pub(super) fn once(self, until_done: bool) -> Self {
        // Of a record that does not exist, both hold.
        let may_run = if until_done {
            "attribute_not_exists(#slot_done) \
             AND (attribute_not_exists(#slot_started) OR #slot_started = :zero)"
        } else {
            "attribute_not_exists(#slot_started)"
        };
        self.set("#slot_started = :zero").and(may_run)
    }

    /// And sets this.
    pub(super) fn set(mut self, assignment: &str) -> Self {
        if let Some(others) = self.update.strip_prefix("SET ") {
            self.update = format!("SET {assignment}, {others}");
        }
        self
    }

    /// Under one condition more.
    pub(super) fn and(mut self, condition: &str) -> Self {
        self.condition.push_str(" AND ");
        self.condition.push_str(condition);
        self
    }

    /// And without this.
    pub(super) fn remove(mut self, path: &str) -> Self {
        let more = self.update.contains(" REMOVE ");
        self.update.push_str(if more { ", " } else { " REMOVE " });
        self.update.push_str(path);
        self
    }

    pub(super) fn name(
        mut self,
        placeholder: impl Into<Cow<'static, str>>,
        name: impl Into<String>,
    ) -> Self {
        self.names.push((placeholder.into(), name.into()));
        self
    }

    pub(super) fn value(
        mut self,
        placeholder: impl Into<Cow<'static, str>>,
        value: AttributeValue,
    ) -> Self {
        self.values.push((placeholder.into(), value));
        self
    }

    /// Every name that the texts mention, and no other: the server refuses one that is not used.
    pub(super) fn all_names(&self) -> HashMap<String, String> {
        let (known, texts) = self.around_shape(&SHAPE_NAMES);
        mentioned(known, texts, '#', |word| Some(self.named(word).to_owned()))
    }

    /// Every value that the texts mention, and no other.
    pub(super) fn all_values(&self) -> HashMap<String, AttributeValue> {
        let (known, texts) = self.around_shape(&SHAPE_VALUES);
        mentioned(known, texts, ':', |word| self.bound(word))
    }

    /// The name that a placeholder stands for.
    pub(super) fn named<'a>(&'a self, word: &'a str) -> &'a str {
        let mut bound = self.names.iter().rev();
        let name = bound.find(|(placeholder, _)| placeholder == word);
        name.map_or(word, |(_, name)| name)
    }

    /// The value that a placeholder stands for.
    pub(super) fn bound(&self, word: &str) -> Option<AttributeValue> {
        let mut bound = self.values.iter().rev();
        let value = bound.find(|(placeholder, _)| placeholder == word);
        value.map_or_else(|| constant(word), |(_, value)| Some(value.clone()))
    }

    /// What [`SHAPE`] needs, if it is there, and the rest of the texts. It is most of nearly every text, and always the
    /// same.
    fn around_shape<T: Clone>(
        &self,
        of_shape: &HashMap<String, T>,
    ) -> (HashMap<String, T>, [&str; 3]) {
        let (known, before, after) = match split_at_shape(&self.condition) {
            Some((before, after)) => (of_shape.clone(), before, after),
            None => (HashMap::with_capacity(ROOM), &*self.condition, ""),
        };
        (known, [&*self.update, before, after])
    }
}

/// What stands before and after [`SHAPE`]. To search for all of it would take longer than to look through the text.
fn split_at_shape(text: &str) -> Option<(&str, &str)> {
    let at = text.find("#v = :v")?;
    Some((text.get(..at)?, text.get(at..)?.strip_prefix(SHAPE)?))
}

/// For the placeholders of nearly any text: a map that grows hashes all that it has again.
const ROOM: usize = 28;

static SHAPE_NAMES: LazyLock<HashMap<String, String>> = LazyLock::new(|| {
    let none = HashMap::with_capacity(ROOM);
    mentioned(none, [SHAPE], '#', |word| Some(word.to_owned()))
});

/// All of them are constants.
static SHAPE_VALUES: LazyLock<HashMap<String, AttributeValue>> =
    LazyLock::new(|| mentioned(HashMap::with_capacity(ROOM), [SHAPE], ':', constant));

/// What is known, and what the other placeholders of one kind mean that the texts mention.
fn mentioned<T, const N: usize>(
    mut known: HashMap<String, T>,
    texts: [&str; N],
    sigil: char,
    meaning: impl Fn(&str) -> Option<T>,
) -> HashMap<String, T> {
    // Most are mentioned again and again, and so few that to hash them takes longer than to look through them.
    let mut seen = Vec::with_capacity(ROOM);
    let is_part = |byte: &u8| *byte == b'_' || byte.is_ascii_alphanumeric();
    for text in texts {
        for (at, _) in text.match_indices(sigil) {
            let rest = text.get(at..).unwrap_or_default();
            let end = rest.bytes().skip(1).take_while(is_part).count();
            let placeholder = rest.get(..=end).unwrap_or(rest);
            if seen.contains(&placeholder) {
                continue;
            }
            seen.push(placeholder);
            if !known.contains_key(placeholder)
                && let Some(meaning) = meaning(placeholder.trim_start_matches(sigil))
            {
                known.insert(placeholder.to_owned(), meaning);
            }
        }
    }
    known
}

/// The token of a grant, and the condition that goes with it: an update cannot take the greater of two.
pub(super) fn next_token(floor: Option<u64>, next: &'static str) -> (&'static str, &'static str) {
    match floor {
        Some(_) => (":floor", BELOW),
        None => (next, ""),
    }
}

fn when(on: bool, text: &'static str) -> &'static str {
    if on { text } else { "" }
}

fn constant(word: &str) -> Option<AttributeValue> {
    Some(match word {
        "zero" => number(0),
        "one" => number(1),
        "v" => number(FORMAT),
        "cap" => number(MAX_PARTIES),
        "most" => number(i64::MAX),
        // What is raised by one stays readable.
        "last" => number(i64::MAX - 1),
        "max_ttl" => number(MAX_TTL.as_millis()),
        "map" => text("M"),
        "text" => text("S"),
        "exclusive" | "shared" | "permit" => text(word),
        "empty" => AttributeValue::M(HashMap::new()),
        _ => return None,
    })
}
