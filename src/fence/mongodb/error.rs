//! The driver's errors of a user's own writes.

use ::mongodb::error::{Error as Native, ErrorKind as NativeKind};

use crate::backend::mongodb::error::{Access, kind_of};
use crate::{Error, ErrorKind};

/// The source is the driver's whole error: the data is its caller's own.
pub(super) fn failed(error: Native, access: Access) -> Error {
    let kind = kind_of(&error, access);
    let (kind, message) = match kind {
        ErrorKind::OutcomeUnknown => (
            kind,
            "no certain answer, so the write may have been applied: read the data before you repeat it",
        ),
        ErrorKind::Unavailable => (
            kind,
            "the database cannot be reached, or is busy; nothing was written: try again",
        ),
        ErrorKind::Throttled => (kind, "the database asks to slow down; nothing was written"),
        ErrorKind::PermissionDenied => (
            kind,
            "the database refuses it to these credentials: grant `find` on the collection of the data too",
        ),
        ErrorKind::Closed => (kind, "the MongoDB client was shut down: create a new one"),
        ErrorKind::InvalidInput => (kind, "the driver cannot send it: see the source"),
        _ if matches!(*error.kind, NativeKind::Custom(_)) => (
            ErrorKind::Other,
            "the body failed, and nothing was written: see the source",
        ),
        // What these mean for a lock says nothing about other data.
        _ => (
            ErrorKind::Other,
            "the database refused the write: see the source",
        ),
    };
    Error::new(kind, message).with_source(error)
}
