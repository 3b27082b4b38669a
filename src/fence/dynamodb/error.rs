//! The SDK's errors of a user's own writes.

use std::error::Error as StdError;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

use crate::backend::dynamodb::error::{Effect, kind_of};
use crate::{Error, ErrorKind};

pub(super) fn failed<E>(error: SdkError<E>, effect: Effect) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let kind = kind_of(&error, effect);
    let (kind, message) = match kind {
        ErrorKind::OutcomeUnknown => (
            kind,
            "no certain answer, so the write may have been applied: read the item before you repeat it",
        ),
        ErrorKind::Unavailable => (
            kind,
            "DynamoDB cannot be reached, or is at work on the item; nothing was written: try again",
        ),
        ErrorKind::Throttled => (kind, "DynamoDB throttles the table; nothing was written"),
        ErrorKind::PermissionDenied => (
            kind,
            "DynamoDB does not let these credentials write it: see the source",
        ),
        ErrorKind::NotSetUp => (
            kind,
            "the table does not exist, or has other keys than the request: see the source",
        ),
        ErrorKind::InvalidInput => (kind, "the item would be larger than DynamoDB allows"),
        // What these mean for a lock says nothing about other data.
        _ => (
            ErrorKind::Other,
            "DynamoDB refused the write: see the source",
        ),
    };
    let failed = Error::new(kind, message);
    match error.into_source() {
        Ok(source) => failed.with_source(source),
        Err(error) => failed.with_source(error.to_string()),
    }
}
