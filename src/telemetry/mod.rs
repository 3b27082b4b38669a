//! What happens to a client's locks, told once and to all who listen: logs, metrics, and the program's own hook.

#[cfg(feature = "metrics")]
mod metric;
mod names;
mod story;
mod trace;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::backend::Database;
use crate::{Error, Event};

pub(crate) use story::Story;

pub(crate) type Hook = Box<dyn Fn(&Event) + Send + Sync>;
pub(crate) type Redact = Box<dyn Fn(&str) -> String + Send + Sync>;

/// What is shown of a name when the function that is to redact it panics.
const UNREADABLE: &str = "?";

/// The one way out for all that is told of a client's locks.
pub(crate) struct Telemetry {
    database: Database,
    hook: Option<Hook>,
    redact: Option<Redact>,
}

impl Telemetry {
    pub(crate) fn new(database: Database, hook: Option<Hook>, redact: Option<Redact>) -> Self {
        #[cfg(feature = "metrics")]
        metric::announce(database.system);
        Self {
            database,
            hook,
            redact,
        }
    }

    /// With the error that the event is of, if it is of one: logs show its text.
    pub(crate) fn tell(&self, event: &Event, error: Option<&Error>) {
        trace::tell(self, event, error);
        #[cfg(feature = "metrics")]
        metric::tell(self.database.system, event);
        // Whoever calls it must go on: most of them renew leases.
        if let Some(hook) = &self.hook
            && catch_unwind(AssertUnwindSafe(|| hook(event))).is_err()
        {
            tracing::error!(target: "doclock", "the hook for events panicked");
        }
    }

    /// A key or an owner, as logs may show it.
    pub(crate) fn name<'a>(&'a self, name: &'a str) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| match &self.redact {
            None => f.write_str(name),
            Some(redact) => {
                let redacted = catch_unwind(AssertUnwindSafe(|| redact(name)));
                f.write_str(redacted.as_deref().unwrap_or(UNREADABLE))
            }
        })
    }

    /// An error, as logs may show it: its text names the key, and those who are in the way.
    pub(crate) fn error<'a>(&'a self, error: &'a Error) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| match &self.redact {
            None => write!(f, "{error}"),
            Some(_) => f.write_str(names::error(error.kind())),
        })
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}
