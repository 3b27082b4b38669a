//! What is wrong with a deployment, and what to do about it: by looking, and by really trying.

#[cfg(any(feature = "mongodb", feature = "dynamodb"))]
mod clock;
#[cfg(any(feature = "mongodb", feature = "dynamodb"))]
mod pings;
mod trial;

use serde::Serialize;

use crate::{Error, ErrorKind, Key, LeaseId, LockClient, Result};

#[cfg(any(feature = "mongodb", feature = "dynamodb"))]
pub(crate) use clock::Clocks;
#[cfg(any(feature = "mongodb", feature = "dynamodb"))]
pub(crate) use pings::Pings;
pub(crate) use trial::Trial;

/// The check that all others rest on.
const CONNECTION: &str = "connection";

/// How a [`Check`] ended, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// As it should be.
    Ok,
    /// Locks work, but something does not, or could not be looked at.
    Warn,
    /// Locks do not work, or are not safe.
    Fail,
}

/// One thing that was looked at.
///
/// As JSON, `{"name": …, "status": "ok" | "warn" | "fail", "found": …, "remedy": … | null}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// What was looked at, in a word or two: the same for every run.
    pub name: &'static str,
    /// How it is.
    pub status: CheckStatus,
    /// What was found, for people.
    pub found: String,
    /// What to do, unless all is well.
    pub remedy: Option<String>,
}

impl Check {
    /// All is well.
    #[must_use]
    pub fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            status: CheckStatus::Ok,
            found: found.into(),
            remedy: None,
        }
    }

    /// Locks work all the same.
    #[must_use]
    pub fn warn(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            status: CheckStatus::Warn,
            remedy: Some(remedy.into()),
            ..Self::ok(name, found)
        }
    }

    /// Locks do not work, or are not safe.
    #[must_use]
    pub fn fail(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            status: CheckStatus::Fail,
            ..Self::warn(name, found, remedy)
        }
    }

    /// What was tried and must work ended with an error, which says itself what to do.
    #[must_use]
    pub fn failed(name: &'static str, error: &Error) -> Self {
        let (found, remedy) = told(error);
        Self::fail(name, found, remedy)
    }

    /// What locks can do without ended with an error: for want of a right, or of a server that can, it could not be
    /// looked at, and `remedy` says what to allow.
    #[must_use]
    pub fn optional(name: &'static str, error: &Error, remedy: impl Into<String>) -> Self {
        match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::Unsupported => {
                Self::warn(name, told(error).0, remedy)
            }
            _ => Self::failed(name, error),
        }
    }

    /// The first request failed.
    #[cfg(any(feature = "mongodb", feature = "dynamodb"))]
    pub(crate) fn unreached(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::PermissionDenied => Self::failed("credentials", error),
            _ => Self::failed(CONNECTION, error),
        }
    }

    /// What became of the record that was tried with.
    #[cfg(any(feature = "mongodb", feature = "dynamodb"))]
    pub(crate) fn traces(key: &Key, removed: &Result<()>) -> Self {
        let found = match removed {
            Ok(()) => "the record that was tried with is removed again".to_owned(),
            Err(error) => format!(
                "the record `{key}` stays until the TTL collects it, after two days: {}",
                told(error).0
            ),
        };
        Self::ok("traces", found)
    }
}

/// What an error says is wrong, with its cause, and what it says to do.
fn told(error: &Error) -> (String, String) {
    let (wrong, advice) = error.parts();
    let found = match root(error) {
        Some(cause) => format!("{wrong} ({cause})"),
        None => wrong.to_owned(),
    };
    (found, advice.unwrap_or("see the cause").to_owned())
}

fn root(error: &Error) -> Option<String> {
    let mut cause = std::error::Error::source(error)?;
    while let Some(next) = cause.source() {
        cause = next;
    }
    Some(cause.to_string())
}

/// What [`LockClient::diagnose`] found: its checks, in the order that they rest on each other. One that rests on another
/// that failed is left out.
///
/// As JSON, `{"checks": […]}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// What was looked at.
    pub checks: Vec<Check>,
}

impl Diagnosis {
    /// The worst status of any check.
    #[must_use]
    pub fn status(&self) -> CheckStatus {
        let worst = self.checks.iter().map(|check| check.status).max();
        worst.unwrap_or(CheckStatus::Ok)
    }

    /// Whether the server answered at all.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        let failed = |check: &Check| check.name == CONNECTION && check.status == CheckStatus::Fail;
        !self.checks.iter().any(failed)
    }

    /// Notes a check. Whether what rests on it is worth a look.
    pub fn note(&mut self, check: Check) -> bool {
        let goes_on = check.status != CheckStatus::Fail;
        self.checks.push(check);
        goes_on
    }
}

impl LockClient {
    /// Looks whether this deployment can keep locks: whether the server is reachable, fit and set up, whether the
    /// credentials allow what locks need, and whether this machine's clock is right. Each check says what was found and,
    /// where something is amiss, what to do. For operators, and for a service that wants to know when it starts.
    ///
    /// Rights are found by really trying: a lock on a key of its own, `doclock-diagnosis-…` behind `prefix`, is acquired,
    /// renewed, read and released. Its record is removed again or, where the credentials do not allow that, is
    /// collected by the database's TTL after two days. A right that is only needed to look is told as a warning. The
    /// prefix is "" unless the credentials are bound to keys of one.
    ///
    /// A few dozen requests, a second or less where all is well. No request takes more than 5 s. Cancel safe: the lock that
    /// was tried expires after 10 s, and its record is collected as said.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a prefix that no key can have. Whatever else is
    /// wrong is a check.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> doclock::Result<()> {
    /// use doclock::CheckStatus;
    ///
    /// let locks = doclock::connect("memory:").await?;
    /// let diagnosis = locks.diagnose("").await?;
    /// for check in &diagnosis.checks {
    ///     println!("{:?} {}: {}", check.status, check.name, check.found);
    /// }
    /// assert_eq!(diagnosis.status(), CheckStatus::Ok);
    /// # Ok(()) }
    /// ```
    pub async fn diagnose(&self, prefix: &str) -> Result<Diagnosis> {
        let key = Key::new(format!("{prefix}doclock-diagnosis-{}", LeaseId::random()))?;
        Ok(self.inner().backend.diagnose(&key).await)
    }
}

#[cfg(test)]
mod tests;
