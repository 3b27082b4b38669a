//! The strings that name things, checked once, where they come in.

use std::fmt;
use std::sync::Arc;

use crate::{Error, ErrorKind, Result};

/// The most bytes that a key may have.
pub const MAX_KEY_BYTES: usize = 1024;
/// The most bytes that an owner, or a label, may have.
pub const MAX_OWNER_BYTES: usize = 256;

/// The name of the thing that is locked: 1 to 1,024 bytes of UTF-8 without control characters.
///
/// ```
/// use doclock::Key;
///
/// assert_eq!(Key::new("inventory:42")?.as_str(), "inventory:42");
/// assert!(Key::new("").is_err());
/// # Ok::<(), doclock::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Checks and takes a key.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if it is empty, too long, or has control characters.
    pub fn new(key: impl AsRef<str>) -> Result<Self> {
        check("key", key.as_ref(), MAX_KEY_BYTES).map(Self)
    }

    /// The key's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who holds a lock: 1 to 256 bytes of UTF-8 without control characters.
///
/// Random for each acquisition unless the caller chooses one. Who chooses an owner promises that only one
/// process at a time uses it: an acquisition by the same owner takes the lock over from its predecessor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(Arc<str>);

impl Owner {
    /// Checks and takes an owner.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if it is empty, too long, or has control characters.
    pub fn new(owner: impl AsRef<str>) -> Result<Self> {
        check("owner", owner.as_ref(), MAX_OWNER_BYTES).map(Self)
    }

    /// An owner that nobody else has.
    #[must_use]
    pub fn random() -> Self {
        Self(random())
    }

    /// The owner's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One acquisition: random, and the same across its own retries. What a lease is matched by, everywhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(Arc<str>);

impl LeaseId {
    /// A new id.
    #[must_use]
    pub fn random() -> Self {
        Self(random())
    }

    /// An id as it stands in a record.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if it is empty, longer than 256 bytes, or has control characters.
    pub fn new(id: impl AsRef<str>) -> Result<Self> {
        check("id", id.as_ref(), MAX_OWNER_BYTES).map(Self)
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn random() -> Arc<str> {
    uuid::Uuid::new_v4().simple().to_string().into()
}

pub(crate) fn check(what: &str, text: &str, max: usize) -> Result<Arc<str>> {
    let wrong = if text.is_empty() {
        format!("the {what} is empty: give it at least one character")
    } else if text.len() > max {
        format!(
            "the {what} has {} bytes, at most {max} are allowed: use a shorter one, or a hash of it",
            text.len()
        )
    } else if let Some(at) = text.find(char::is_control) {
        format!("the {what} has a control character at byte {at}: remove or encode it")
    } else {
        return Ok(text.into());
    };
    Err(Error::new(ErrorKind::InvalidInput, wrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_checked() {
        for good in ["a", ".", "$x", "a#b", "\"'", "🔒", &"k".repeat(1024)] {
            assert_eq!(Key::new(good).unwrap().as_str(), good);
        }
        for (bad, says) in [
            ("", "empty"),
            ("a\nb", "control character at byte 1"),
            ("a\u{0}", "control"),
            (&"k".repeat(1025), "1025 bytes"),
            (&"é".repeat(513), "1026 bytes"),
        ] {
            let error = Key::new(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn random_ids_differ() {
        assert_ne!(LeaseId::random(), LeaseId::random());
        assert_eq!(LeaseId::random().as_str().len(), 32);
    }
}
