//! Servers that are killed, stopped, restarted, or not there at all.

mod elections;
mod majority;
mod restarts;
mod unreachable;

use std::time::Duration;

/// What two busy cores may add to a caller's own time.
const SLACK: Duration = Duration::from_secs(2);
