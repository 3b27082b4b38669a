//! The SDK's errors as doclock's: what kind, and what to do next.

use std::error::Error as StdError;
use std::fmt::Display;
use std::io;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{BatchStatementError, BatchStatementErrorCodeEnum as Code};

use crate::{Error, ErrorKind};

use super::DynamoBackend;

/// Whether a request that got no answer may have changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It cannot: it never left.
    None,
    /// It cannot.
    Reads,
    /// It may.
    Writes,
}

/// Translates an error; the service's own error (not the raw response: it may have payloads) is its source.
pub(super) fn translate<E>(error: SdkError<E>, effect: Effect, backend: &DynamoBackend) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let (kind, message) = describe(&error, effect, &backend.table, &backend.keys);
    let translated = Error::new(kind, message);
    match error.into_source() {
        Ok(source) => translated.with_source(source),
        Err(error) => translated.with_source(error.to_string()),
    }
}

/// What is known of a failed request.
pub(crate) fn kind_of<E: ProvideErrorMetadata>(error: &SdkError<E>, effect: Effect) -> ErrorKind {
    describe(error, effect, "", &"").0
}

fn describe<E: ProvideErrorMetadata>(
    error: &SdkError<E>,
    effect: Effect,
    table: &str,
    keys: &dyn Display,
) -> (ErrorKind, String) {
    match error {
        SdkError::ServiceError(service) => {
            let code = service.err().code().unwrap_or_default();
            let message = service.err().message().unwrap_or_default();
            by_code(code, message, table, keys).unwrap_or_else(|| {
                if service.raw().status().is_server_error() {
                    unknown(effect, "DynamoDB failed internally: try again")
                } else {
                    (
                        ErrorKind::Other,
                        format!("DynamoDB refused the request ({code})"),
                    )
                }
            })
        }
        SdkError::DispatchFailure(failure) => {
            let source = failure.as_connector_error().and_then(StdError::source);
            if source.is_some_and(was_never_sent) {
                return (
                    ErrorKind::Unavailable,
                    "DynamoDB cannot be reached: check the network and the endpoint".into(),
                );
            }
            if effect == Effect::None {
                return (
                    ErrorKind::Unavailable,
                    "the request could not be sent: check the client's credentials and HTTP client"
                        .into(),
                );
            }
            unknown(effect, "the connection to DynamoDB broke: try again")
        }
        SdkError::ConstructionFailure(_) => (
            ErrorKind::Other,
            format!(
                "the request for table `{table}` could not be built: check the client's configuration"
            ),
        ),
        _ => unknown(
            effect,
            "no proper answer from DynamoDB in time: check that it is reachable",
        ),
    }
}

fn by_code(
    code: &str,
    message: &str,
    table: &str,
    keys: &dyn Display,
) -> Option<(ErrorKind, String)> {
    let mentions = |words: &[&str]| words.iter().any(|word| message.contains(word));
    Some(match code {
        "ResourceNotFoundException" => (
            ErrorKind::NotSetUp,
            format!("table `{table}` does not exist: create it or call `setup()`"),
        ),
        "ValidationException" if mentions(&["size has exceeded", "exceeded the maximum allowed size"]) => (
            ErrorKind::InvalidInput,
            "the item would exceed DynamoDB's limit of 400 KB: store less in labels, data and state, or \
             use fewer holders"
                .into(),
        ),
        "ValidationException" if mentions(&["key element",
                "required keys",
                "Type mismatch for key", "Missing the key", "schema", "part of the key", "The number of conditions on the keys"]) => (
            ErrorKind::NotSetUp,
            format!(
                "table `{table}` has other keys than {keys}: name its keys with `partition_key` and `sort_key`"
            ),
        ),
        "AccessDeniedException" | "AccessDenied" | "UnrecognizedClientException" | "ExpiredTokenException" | "ExpiredToken"
        | "MissingAuthenticationToken" | "MissingAuthenticationTokenException" | "IncompleteSignature"
        | "InvalidClientTokenId" | "NotAuthorized" | "OptInRequired" | "KMSAccessDeniedException" => (
            ErrorKind::PermissionDenied,
            format!(
                "DynamoDB does not let these credentials use table `{table}`: check them, and allow \
                 `dynamodb:GetItem` and `dynamodb:UpdateItem`"
            ),
        ),
        // The SDK has learned the difference from the answer: the next request is signed with the right time.
        "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => clock_is_wrong(),
        "InvalidSignatureException" | "SignatureDoesNotMatch"
            if mentions(&["expired", "not yet current"]) =>
        {
            clock_is_wrong()
        }
        "InvalidSignatureException" | "SignatureDoesNotMatch" => (
            ErrorKind::PermissionDenied,
            "DynamoDB does not accept the signature: check the credentials' secret key".into(),
        ),
        "ProvisionedThroughputExceededException" | "ThrottlingException" | "Throttling" | "RequestLimitExceeded"
        | "LimitExceededException" | "TooManyRequestsException" | "SlowDown" => (
            ErrorKind::Throttled,
            format!("DynamoDB throttles table `{table}`: call less often, or raise its capacity"),
        ),
        "TransactionConflictException" | "TransactionInProgressException" | "ReplicatedWriteConflictException"
        | "ResourceInUseException" | "InvalidEndpointException" => (
            ErrorKind::Unavailable,
            format!("something else is at work on the item or table `{table}`: try again"),
        ),
        "ItemCollectionSizeLimitExceededException" => (
            ErrorKind::InvalidInput,
            "the item collection is full: keep locks in a table without local secondary indexes".into(),
        ),
        "UnknownOperationException" => (
            ErrorKind::Unsupported,
            "this server does not implement the operation".into(),
        ),
        _ => return None,
    })
}

/// A statement's own error, if it is one of those that pass: the others say less than an `UpdateItem` would.
pub(super) fn of_statement(error: &BatchStatementError, backend: &DynamoBackend) -> Option<Error> {
    let code = match error.code()? {
        Code::ProvisionedThroughputExceeded
        | Code::RequestLimitExceeded
        | Code::ThrottlingError => "ThrottlingException",
        Code::TransactionConflict => "TransactionConflictException",
        Code::InternalServerError => {
            let (kind, message) = unknown(Effect::Writes, "DynamoDB failed internally: try again");
            return Some(Error::new(kind, message));
        }
        _ => return None,
    };
    let (kind, message) = by_code(code, "", &backend.table, &backend.keys)?;
    Some(Error::new(kind, message))
}

fn clock_is_wrong() -> (ErrorKind, String) {
    (
        ErrorKind::Unavailable,
        "this machine's clock is too far off for DynamoDB to accept its signature: set it, or try again".into(),
    )
}

fn unknown(effect: Effect, message: &str) -> (ErrorKind, String) {
    let kind = match effect {
        Effect::None | Effect::Reads => ErrorKind::Unavailable,
        Effect::Writes => ErrorKind::OutcomeUnknown,
    };
    (kind, message.to_owned())
}

/// No connection was made, so nothing can have happened.
fn was_never_sent(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(
            kind,
            Some(
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::AddrNotAvailable
            )
        ) {
            return true;
        }
        next = error.source();
    }
    false
}
