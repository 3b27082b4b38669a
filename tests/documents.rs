//! Locks inside of documents, on every server.

mod answers;
mod bank;
pub mod clerk;
mod conformance;
mod corrupt;
mod ids;
mod killed;
mod losing;
mod requests;
mod sizes;
mod together;

use doclock::{Error, ErrorKind};

/// What kind of error it is; a success is none.
fn kind<T>(result: Result<T, Error>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}
