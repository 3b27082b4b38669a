//! Any URL is taken apart or refused, and no error shows what it may have of a password.

use std::error::Error as _;

use bolero::TypeGenerator;

use super::{dynamodb, mongodb};
use crate::fuzz::TRIES;
use crate::{Error, ErrorKind, Result};

const SECRET: &str = "hunter2";

/// What a URL is put together from.
#[derive(Clone, Debug, TypeGenerator)]
enum Piece {
    Sign(u8),
    Word(u8),
    Secret,
    Any(String),
}

const SIGNS: &str = "://@?&=,%+.#[]$ ";
const WORDS: [&str; 20] = [
    "mongodb",
    "dynamodb",
    "http",
    "eu-west-1",
    "locks",
    "127.0.0.1",
    "[::1]",
    "localhost:1",
    "endpoint",
    "partition_key",
    "sort_key",
    "sort_value",
    "collection",
    "authSource",
    "authMechanism",
    "replicaSet",
    "w",
    "tls",
    "user",
    "://u:p@",
];

impl Piece {
    fn push(&self, url: &mut String) {
        match self {
            Self::Sign(which) => url.extend(SIGNS.chars().nth(usize::from(*which) % SIGNS.len())),
            Self::Word(which) => url.push_str(WORDS[usize::from(*which) % WORDS.len()]),
            Self::Secret => url.push_str(SECRET),
            Self::Any(text) => url.push_str(text),
        }
    }
}

/// Whole URLs with a password, in the middle of which something else stands.
const URLS: [(&str, &str); 8] = [
    ("mongodb://user:hunter2@localhost:1/db", "?collection=locks"),
    (
        "mongodb://user:hunter2@localhost:1/db?authSource=",
        "&collection=locks",
    ),
    ("mongodb://user:hunter2", "@localhost:1/db?collection=locks"),
    ("mongodb://localhost:1/db?", "=hunter2"),
    (
        "dynamodb://eu-west-1/locks?endpoint=http://user:hunter2",
        "@localhost:1",
    ),
    ("dynamodb://user:hunter2@eu-west-1/", "?partition_key=id"),
    (
        "dynamodb://eu-west-1/locks?endpoint=http://user:",
        "hunter2@localhost:1",
    ),
    ("", ""),
];

#[test]
fn a_url_is_taken_apart_or_refused_unseen() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    bolero::check!()
        .with_type::<(u8, Vec<Piece>)>()
        .with_iterations(TRIES)
        .for_each(|(which, pieces)| {
            let (head, tail) = URLS[usize::from(*which) % URLS.len()];
            let mut url = head.to_owned();
            for piece in pieces {
                piece.push(&mut url);
            }
            url.push_str(tail);
            is_unseen(dynamodb::Parts::parse(&url));
            // That scheme asks a name server.
            if !url.starts_with("mongodb+srv") {
                is_unseen(runtime.block_on(mongodb::Parts::parse(&url)));
            }
        });
}

fn is_unseen<T>(parsed: Result<T>) {
    let Err(error) = parsed else { return };
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let shown = everything(&error);
    assert!(!shown.contains(SECRET), "{shown}");
}

fn everything(error: &Error) -> String {
    let mut shown = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(cause) = source {
        shown = format!("{shown} {cause} {cause:?}");
        source = cause.source();
    }
    shown
}
