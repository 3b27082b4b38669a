//! Processes that hold locks and are killed, stopped, or have wrong clocks.
//!
//! A worker process is this very test binary, told by its arguments to run [`worker_entry`] only. It obeys lines on
//! its standard input and answers on its standard output.

mod clocks;
mod counter;
mod crashes;
mod deadlines;
mod faketime;
pub mod patterns;
mod pauses;
pub mod site;
pub mod skewed;
mod worker;
pub mod workers;

use anyhow::Result;
use tokio::task::LocalSet;

/// The name of [`worker_entry`] in this binary.
const ENTRY: &str = "processes::worker_entry";

#[tokio::test]
#[ignore = "entry point of the worker processes that other tests start"]
async fn worker_entry() -> Result<()> {
    match std::env::var(workers::URL) {
        Ok(url) => {
            // Not every task is `Send`.
            let local = LocalSet::new();
            local.run_until(Box::pin(worker::obey(&url))).await
        }
        // Somebody runs all ignored tests.
        Err(_) => Ok(()),
    }
}
