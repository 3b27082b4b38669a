//! Each kind of error from a real server: what it is, what it says, and what it keeps to itself.

mod contention;
mod permissions;
mod records;
mod requests;
mod tables;

use std::error::Error as StdError;

use doclock::{Error, ErrorKind};

/// Passwords and payloads of these tests: no error may show one.
const SECRETS: [&str; 2] = ["hunter2", "payload-of-the-user"];

/// What holds for every error, and what this one must say.
#[track_caller]
fn assert_error(error: &Error, kind: ErrorKind, says: &[&str]) {
    let shown = error.to_string();
    assert_eq!(error.kind(), kind, "{error:?}");
    for words in says {
        assert!(shown.contains(words), "`{words}` is not in: {shown}");
    }
    let operation = error
        .operation()
        .unwrap_or_else(|| panic!("what was being done? {shown}"));
    assert!(shown.starts_with(operation), "{shown}");
    let mut all = format!("{error:?}\n{error:#?}\n{shown}");
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        assert!(
            text.is_empty() || !shown.contains(&text),
            "repeats its source: {shown}"
        );
        all = format!("{all}\n{text}\n{cause:?}");
        source = cause.source();
    }
    for secret in SECRETS {
        assert!(!all.contains(secret), "shows `{secret}`: {all}");
    }
    assert!(!all.contains("mongodb://"), "shows a URL: {all}");
    let may_pass = matches!(
        kind,
        ErrorKind::WaitTimeout
            | ErrorKind::Throttled
            | ErrorKind::Unavailable
            | ErrorKind::OutcomeUnknown
    );
    assert_eq!(error.is_retryable(), may_pass, "{shown}");
}

/// The same, for what the driver or SDK reported: its own error is to be found behind ours.
#[track_caller]
fn assert_caused(error: &Error, kind: ErrorKind, says: &[&str]) {
    assert_error(error, kind, says);
    assert!(error.source().is_some(), "no source: {error:?}");
}
