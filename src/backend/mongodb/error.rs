//! The driver's errors as this crate's: by code, wherever it stands.

use mongodb::bson::{Bson, Document};
use mongodb::error::{Error as Native, ErrorKind as NativeKind, NO_WRITES_PERFORMED, WriteFailure};

use super::write::Answer;
use crate::{Error, ErrorKind};

/// What a failed request was to do: a read that failed took no effect, whatever became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// Where a code stands decides what is known: a write concern error comes after the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    Refused(i32),
    Unconfirmed(i32),
}

/// Two documents with one `_id`: code 11000, or 11001 of older servers.
pub(crate) fn is_duplicate(error: &Native) -> bool {
    matches!(code(error), Some(Code::Refused(11000 | 11001)))
}

/// The document that a `findAndModify` answered beside a write concern error.
pub(super) fn answer_beside(error: &Native) -> Option<Answer> {
    if !matches!(code(error), Some(Code::Unconfirmed(_))) {
        return None;
    }
    let mut response = Document::try_from(&**error.server_response()?).ok()?;
    match response.remove("value") {
        Some(Bson::Document(answer)) => Some(Answer::read(answer)),
        _ => None,
    }
}

/// No change stream can be had from this server, or with these rights: 40573 is a server without a replica set.
pub(super) fn is_unwatchable(error: &Native) -> bool {
    let kind = kind_of(error, Access::Read);
    let never = matches!(kind, ErrorKind::PermissionDenied | ErrorKind::Unsupported);
    never || matches!(code(error), Some(Code::Refused(40573)))
}

/// The driver's error as this crate's.
///
/// The source is the driver's `ErrorKind`, not its `Error`: that one repeats the server's whole answer, and with it the
/// payloads in the record.
pub(super) fn convert(error: Native, access: Access) -> Error {
    let message = classify(&error).1;
    Error::new(kind_of(&error, access), message).with_source(*error.kind)
}

/// What is known of a failed request.
pub(crate) fn kind_of(error: &Native, access: Access) -> ErrorKind {
    let untouched = error.contains_label(NO_WRITES_PERFORMED);
    match classify(error).0 {
        ErrorKind::OutcomeUnknown if access == Access::Read || untouched => ErrorKind::Unavailable,
        kind => kind,
    }
}

fn code(error: &Native) -> Option<Code> {
    match &*error.kind {
        NativeKind::Command(command) => Some(Code::Refused(command.code)),
        NativeKind::Write(WriteFailure::WriteError(write)) => Some(Code::Refused(write.code)),
        NativeKind::Write(WriteFailure::WriteConcernError(concern)) => {
            Some(Code::Unconfirmed(concern.code))
        }
        NativeKind::InsertMany(many) => {
            let first = many.write_errors.iter().flatten().next();
            let concern = many.write_concern_error.as_ref();
            first
                .map(|write| Code::Refused(write.code))
                .or(concern.map(|concern| Code::Unconfirmed(concern.code)))
        }
        NativeKind::BulkWrite(bulk) => {
            let first = bulk.write_errors.values().next();
            let concern = bulk.write_concern_errors.first();
            first
                .map(|write| Code::Refused(write.code))
                .or(concern.map(|concern| Code::Unconfirmed(concern.code)))
        }
        _ => None,
    }
}

fn classify(error: &Native) -> (ErrorKind, &'static str) {
    match code(error) {
        Some(Code::Refused(code)) => by_code(code),
        Some(Code::Unconfirmed(_)) => (
            ErrorKind::OutcomeUnknown,
            "no majority confirmed the write in time: check that most members of the replica set are up",
        ),
        None => by_kind(&error.kind),
    }
}

fn by_code(code: i32) -> (ErrorKind, &'static str) {
    match code {
        13 | 18 | 8000 => PERMISSION,
        // What a time-out, a step-down or a network error between servers leaves open. Not even "not primary" says that
        // nothing was written: before MongoDB 6.1 it may answer the driver's own retry of a write that was.
        50 | 64 | 11600 | 11602 | 11601 | 91 | 189 | 10107 | 13435 | 13436 | 10058 | 6 | 7 | 89
        | 9001 | 134 | 262 => (
            ErrorKind::OutcomeUnknown,
            "the server gave up in the middle, or is not the primary any more: try again",
        ),
        112 | 24 | 46 | 133 => (
            ErrorKind::Unavailable,
            "the server is busy or has no primary: try again",
        ),
        462 | 16500 | 429 => (
            ErrorKind::Throttled,
            "the database asks to slow down: poll less often, or raise its capacity",
        ),
        9 | 14 | 40 | 59 | 72 | 115 | 168 | 303 | 304 | 17276 | 31325 | 40323 | 40324 | 40415 => (
            ErrorKind::Unsupported,
            "this server does not run update pipelines with `$$NOW`: use MongoDB 5.0 or newer; Amazon DocumentDB and \
             Azure Cosmos DB are not supported",
        ),
        61 | 166 | 121 | 10003 | 11000 | 11001 => (
            ErrorKind::NotSetUp,
            "the collection cannot keep locks: use an ordinary one of their own, without validator, and sharded by \
             `_id` if at all",
        ),
        10334 | 17419 | 17280 => (
            ErrorKind::InvalidInput,
            "the document would be larger than the database allows: use smaller payloads",
        ),
        _ => OTHER,
    }
}

fn by_kind(kind: &NativeKind) -> (ErrorKind, &'static str) {
    match kind {
        NativeKind::Authentication { .. } => PERMISSION,
        NativeKind::ServerSelection { .. } | NativeKind::DnsResolve { .. } => (
            ErrorKind::Unavailable,
            "no primary found: check the address, the network and the replica set's state",
        ),
        NativeKind::Io(_)
        | NativeKind::ConnectionPoolCleared { .. }
        // An answer that cannot be read may be that of a write.
        | NativeKind::InvalidResponse { .. }
        | NativeKind::BsonDeserialization(_) => (
            ErrorKind::OutcomeUnknown,
            "the connection broke before the answer: try again",
        ),
        NativeKind::Shutdown => (
            ErrorKind::Closed,
            "the MongoDB client was shut down: create a new one",
        ),
        NativeKind::IncompatibleServer { .. } | NativeKind::SessionsNotSupported => (
            ErrorKind::Unsupported,
            "the driver does not support this server: use MongoDB 5.0 or newer",
        ),
        NativeKind::InvalidTlsConfig { .. } | NativeKind::InvalidArgument { .. } => (
            ErrorKind::InvalidInput,
            "the MongoDB client is configured in a way that cannot work: see the source",
        ),
        _ => OTHER,
    }
}

const PERMISSION: (ErrorKind, &str) = (
    ErrorKind::PermissionDenied,
    "the database refuses it to these credentials: grant `find`, `insert` and `update` on the collection of the locks, \
     and `createIndex` and `remove` for `setup()`",
);
const OTHER: (ErrorKind, &str) = (
    ErrorKind::Other,
    "the database reports an error: see the source",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_decides_wherever_it_stands() {
        for (code, kind) in [
            (13, ErrorKind::PermissionDenied),
            (50, ErrorKind::OutcomeUnknown),
            (10107, ErrorKind::OutcomeUnknown),
            (168, ErrorKind::Unsupported),
            (11000, ErrorKind::NotSetUp),
            (1, ErrorKind::Other),
        ] {
            assert_eq!(by_code(code).0, kind, "{code}");
        }
    }

    #[test]
    fn a_lost_answer_is_unknown_for_a_write_only() {
        let lost = || Native::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        let write = convert(lost(), Access::Write);
        assert_eq!(write.kind(), ErrorKind::OutcomeUnknown);
        let read = convert(lost(), Access::Read);
        assert_eq!(read.kind(), ErrorKind::Unavailable);
    }
}
