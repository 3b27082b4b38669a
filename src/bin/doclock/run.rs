//! `doclock run`: a command under a lock.

use std::ffi::OsString;
use std::time::Duration;

use crate::connect::Database;
use crate::exit::{Exit, Failure};
use crate::span::{span, span_or_forever};

const EXAMPLES: &str = "";

/// Run a command while holding a lock
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// How long the lock stays taken if this machine dies
    #[arg(long, default_value = "30s", value_parser = span)]
    ttl: Duration,
    /// How long to wait while others hold the lock, or `forever`
    #[arg(long, default_value = "30s", value_parser = span_or_forever)]
    wait: Duration,
    /// What is locked
    key: String,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

pub(crate) async fn run(args: Args, database: &Database) -> Result<Exit, Failure> {
    let locks = database.connect().await?;
    let lease = locks
        .lock(&args.key)
        .ttl(args.ttl)
        .wait(args.wait)
        .acquire()
        .await?;
    lease.release().await?;
    Ok(Exit::SUCCESS)
}
