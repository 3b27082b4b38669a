//! `doclock setup`: what a database needs before the first lock.

use crate::connect::Database;
use crate::exit::{Exit, Failure};
use crate::out::print;

/// Make the table or index that locks need, and check the server
///
/// Once per deployment; more often does no harm. It takes more rights than locks
/// do: docs/safety.md lists them.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {}

pub(crate) async fn run(_: Args, database: &Database) -> Result<Exit, Failure> {
    database.connect().await?.setup().await?;
    print("ready for locks\n")?;
    Ok(Exit::SUCCESS)
}
