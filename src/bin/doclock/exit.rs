//! What the command says of its end: one exit code, and one line if something went wrong.

use std::error::Error as _;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use doclock::{Error, ErrorKind};

/// The exit codes, for `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
   0  done
   1  not so: a check failed, there is no such record, it was not confirmed
  64  the arguments make no sense
  65  something else than a lock lies under the key
  69  the database cannot be reached, or does not answer
  70  any other failure
  75  others held the lock for all of the wait
  76  the lock was lost, and the command ended
  78  the URL, the table or the rights are not as they must be

Durations are written 500ms, 30s, 5m, 1h30m or 2days.";

/// An exit code: from 64 to 78 as in `sysexits.h`, but for `LOST`, and above as a shell has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit(u8);

impl Exit {
    pub(crate) const SUCCESS: Self = Self(0);
    /// The answer is no: a check failed, there is no such record, the question was not confirmed.
    pub(crate) const NO: Self = Self(1);
    /// The arguments make no sense.
    pub(crate) const USAGE: Self = Self(64);
    /// Something else than a lock lies under the key.
    pub(crate) const DATA: Self = Self(65);
    /// The database cannot be reached, or does not answer.
    pub(crate) const UNAVAILABLE: Self = Self(69);
    /// Any other failure.
    pub(crate) const SOFTWARE: Self = Self(70);
    /// The lock was held by others for all of the wait.
    pub(crate) const BUSY: Self = Self(75);
    /// The lock was lost.
    pub(crate) const LOST: Self = Self(76);
    /// The URL, the table or the rights are not as they must be.
    pub(crate) const CONFIG: Self = Self(78);
    /// What is to be run cannot be.
    pub(crate) const CANNOT_RUN: Self = Self(126);
    /// What is to be run is not there.
    pub(crate) const NOT_FOUND: Self = Self(127);

    pub(crate) const fn new(code: u8) -> Self {
        Self(code)
    }

    pub(crate) const fn code(self) -> u8 {
        self.0
    }

    fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidInput => Self::USAGE,
            ErrorKind::CorruptRecord => Self::DATA,
            ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::OutcomeUnknown => {
                Self::UNAVAILABLE
            }
            ErrorKind::WaitTimeout => Self::BUSY,
            ErrorKind::LeaseLost => Self::LOST,
            ErrorKind::NotSetUp | ErrorKind::PermissionDenied | ErrorKind::Unsupported => {
                Self::CONFIG
            }
            _ => Self::SOFTWARE,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.0.into()
    }
}

/// Why the command ends early: what it says, and with which code.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// The same, with another code.
    pub(crate) fn with_exit(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Self::new(Exit::of(&error), message)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let message = format!("the operating system refused something: {error}");
        Self::new(Exit::SOFTWARE, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Tells the user, in one line on stderr.
pub(crate) fn say(what: &impl fmt::Display) {
    let what = what.to_string();
    let line = what.split_whitespace().collect::<Vec<_>>().join(" ");
    // With stderr closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "doclock: {line}");
}
