//! `doclock doctor`: what is wrong, and what to do about it.

use std::fmt::Write;

use doclock::{Check, CheckStatus, Diagnosis};

use crate::connect::Database;
use crate::exit::{Exit, Failure};
use crate::out::{BAD, GOOD, ODD, json, print};

const HELP: &str = "\
Ends with 0 if locks work, warnings or not; with 1 if a check fails; with 69 if
the database cannot be reached.

JSON, one line:
  {\"checks\": [{\"name\", \"status\": \"ok\" | \"warn\" | \"fail\", \"found\",
               \"remedy\": null if all is well}]}";

/// Find out whether locks work here, and what to do if not
///
/// Looks at the server, the table or collection, the clocks and the rights, the
/// last by taking a lock on a key of its own and releasing it. Its record is
/// removed again, or collected by the database after two days.
#[derive(clap::Args)]
#[command(verbatim_doc_comment, after_long_help = HELP)]
pub(crate) struct Args {
    /// What the key that is tried starts with, if rights are bound to a prefix
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,
    /// As one line of JSON; see --help
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args, database: &Database) -> Result<Exit, Failure> {
    let diagnosis = database.connect().await?.diagnose(&args.prefix).await?;
    if args.json {
        print(&json(&diagnosis)?)?;
    } else {
        print(&report(&diagnosis))?;
    }
    Ok(match diagnosis.status() {
        CheckStatus::Ok | CheckStatus::Warn => Exit::SUCCESS,
        CheckStatus::Fail if diagnosis.is_reachable() => Exit::NO,
        CheckStatus::Fail => Exit::UNAVAILABLE,
    })
}

fn report(diagnosis: &Diagnosis) -> String {
    let names = diagnosis.checks.iter().map(|check| check.name.len());
    let width = names.max().unwrap_or_default();
    let mut text = String::new();
    for check in &diagnosis.checks {
        describe(&mut text, check, width);
    }
    text
}

fn describe(text: &mut String, check: &Check, width: usize) {
    let (status, style) = match check.status {
        CheckStatus::Ok => ("ok", GOOD),
        CheckStatus::Warn => ("warn", ODD),
        CheckStatus::Fail => ("fail", BAD),
    };
    let Check { name, found, .. } = check;
    // A `String` takes everything.
    let _ = writeln!(text, "{style}{status:4}{style:#}  {name:width$}  {found}");
    if let Some(remedy) = &check.remedy {
        let _ = writeln!(text, "{:4}  {:width$}  → {remedy}", "", "");
    }
}
