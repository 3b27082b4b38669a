//! The one error of this crate: what kind it is, what was being done to which key, and why.

use std::error::Error as StdError;
use std::fmt;

use crate::Key;

/// A `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed.
///
/// `Display` names the operation and the key and says what to do next; the driver's own error is the
/// [`source`](StdError::source). Neither repeats the other, and no connection string or payload is in either.
///
/// ```
/// use doclock::{ErrorKind, Key};
///
/// let error = Key::new("").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidInput);
/// assert!(!error.is_retryable());
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    operation: Option<&'static str>,
    key: Option<Key>,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What kind of failure an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The lock was held by others until the end of the caller's wait.
    WaitTimeout,
    /// The lease is no longer ours, or may not be: its time is over or somebody took it.
    LeaseLost,
    /// An argument that can never work. No request was sent.
    InvalidInput,
    /// The table, collection or their schema is not there or not as it must be.
    NotSetUp,
    /// The database refuses the operation to these credentials.
    PermissionDenied,
    /// The database asks to slow down.
    Throttled,
    /// The database cannot be reached, or has no primary or majority. The operation did not take effect.
    Unavailable,
    /// No answer: the operation may have taken effect or may not.
    OutcomeUnknown,
    /// Under the key lies something that is not a well-formed lock record. It was left untouched.
    CorruptRecord,
    /// The document that the lock is to stand in does not exist. None was created.
    NotFound,
    /// The condition that a write came with is not met. Nothing was written.
    ConditionFailed,
    /// This backend or server cannot do what was asked.
    Unsupported,
    /// The client was shut down.
    Closed,
    /// Anything else; see the source.
    Other,
}

impl Error {
    /// An error of a kind, with a message that says what to do next.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            operation: None,
            key: None,
            message: message.into(),
            source: None,
        }))
    }

    /// The same error, with what was being done. The first one named stays.
    #[must_use]
    pub fn with_operation(mut self, operation: &'static str) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// The same error, with the key that it was done to. The first one named stays.
    #[must_use]
    pub fn with_key(mut self, key: &Key) -> Self {
        self.0.key.get_or_insert_with(|| key.clone());
        self
    }

    /// The same error, with what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was being done: `acquire`, `renew`, `release`, `inspect`, `setup`, …
    #[must_use]
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// The key that it was done to.
    #[must_use]
    pub fn key(&self) -> Option<&Key> {
        self.0.key.as_ref()
    }

    /// Whether the same call may succeed later, with nothing changed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind() == ErrorKind::WaitTimeout || self.is_transient()
    }

    /// A failure that this crate retries by itself while the caller's time lasts.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::OutcomeUnknown
        )
    }

    /// The same once more: what caused it is told once.
    pub(crate) fn without_source(&self) -> Self {
        Self(Box::new(Inner {
            kind: self.0.kind,
            operation: self.0.operation,
            key: self.0.key.clone(),
            message: self.0.message.clone(),
            source: None,
        }))
    }

    /// What is wrong, and what the message says to do about it.
    #[cfg(feature = "diagnosis")]
    pub(crate) fn parts(&self) -> (&str, Option<&str>) {
        match self.0.message.split_once(": ") {
            Some((wrong, advice)) => (wrong, Some(advice)),
            None => (&self.0.message, None),
        }
    }

    /// The same, of a record that stands in a field of a document.
    #[cfg(any(feature = "mongodb", feature = "dynamodb"))]
    pub(crate) fn within(mut self, field: &str) -> Self {
        self.0.message = format!("in `{field}`: {}", self.0.message);
        self
    }

    /// A record, or a field of it, that is not as this crate writes it.
    #[must_use]
    pub fn corrupt(field: &str, what: impl fmt::Display) -> Self {
        Self::new(
            ErrorKind::CorruptRecord,
            format!(
                "field `{field}` {what}: this is no lock record, or a broken one; it was left as it is. \
                 Use another key, or inspect and remove it"
            ),
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.operation, &self.0.key) {
            (Some(operation), Some(key)) => write!(f, "{operation} `{key}`: ")?,
            (Some(operation), None) => write!(f, "{operation}: ")?,
            (None, Some(key)) => write!(f, "`{key}`: ")?,
            (None, None) => {}
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.to_string())
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
