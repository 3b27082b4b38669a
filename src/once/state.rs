//! What a record remembers of its one run: JSON in its `state`.

use std::fmt::Display;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use crate::record::Payload;
use crate::{Error, Result};

/// Of an error's text, the most that is kept: it fits a payload however many of its characters are escaped.
const MAX_TEXT: usize = 600;

/// What became of the run.
pub(super) enum State<T> {
    Done(T),
    /// It is done, and its result could not be kept; why.
    Unkept(String),
    Failed(String),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Done,
    Failed,
}

/// As a result is written.
#[derive(Serialize)]
struct Done<'a, T> {
    status: &'static str,
    result: &'a T,
}

/// As it is read, but for the result.
#[derive(Deserialize)]
struct Head {
    status: Kind,
    /// Whether there is one: `null` is one too.
    #[serde(default, rename = "result", deserialize_with = "is_there")]
    has_result: bool,
    unkept: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Body<T> {
    result: T,
}

fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// Of a run that succeeded. With an error, it does not have the result: what has happened must be remembered all the
/// same.
pub(super) fn done<T: Serialize>(result: &T) -> (Payload, Option<Error>) {
    let status = "done";
    match Payload::new(&Done { status, result }) {
        Ok(payload) => (payload, None),
        Err(error) => {
            let why = json!({ "status": status, "unkept": error.to_string() });
            (Payload::from_record(why.to_string()), Some(error))
        }
    }
}

/// Of a run that failed.
pub(super) fn failed(error: &impl Display) -> Payload {
    let mut text = error.to_string();
    if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(end);
        text.push('…');
    }
    let state = json!({ "status": "failed", "error": text });
    Payload::from_record(state.to_string())
}

/// Reads what a record has.
pub(super) fn read<T: DeserializeOwned>(state: Option<&Payload>) -> Result<State<T>> {
    let state = state.ok_or_else(|| wrong("is missing"))?;
    let head: Head = state.parse_as("state")?;
    match (head.status, head.error) {
        (Kind::Failed, Some(error)) => Ok(State::Failed(error)),
        (Kind::Failed, None) => Err(wrong("has no error")),
        (Kind::Done, _) if head.has_result => {
            let body: Body<T> = state.parse_as("state")?;
            Ok(State::Done(body.result))
        }
        (Kind::Done, _) => head
            .unkept
            .map(State::Unkept)
            .ok_or_else(|| wrong("has no result")),
    }
}

fn wrong(what: &str) -> Error {
    Error::corrupt("state", what)
}
