//! `doclock release --force`: an operator ends somebody's lock.

use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal, Write as _};

use doclock::{Holder, LeaseId, LockRecord};
use serde::Serialize;

use crate::connect::Database;
use crate::exit::{Exit, Failure, say};
use crate::out::{json, print};
use crate::view::{HolderView, holders, now, relative, token};

const HELP: &str = "\
Ends with 0 if the key is free afterwards, by this or already; with 1 if the
question was not answered with `yes`, or somebody else holds it meanwhile.

JSON, one line:
  {\"key\", \"released\": [{\"owner\", \"id\", \"token\", \"acquired_at\",
                        \"expires_at\", \"ttl_ms\", \"label\", \"data\"}]}";

/// End every lease on a key, whoever holds it
///
/// A holder that is alive learns it at its next renewal, and may go on until
/// then: fence what it writes. Asks before it does anything.
#[derive(clap::Args)]
#[command(verbatim_doc_comment, after_long_help = HELP)]
pub(crate) struct Args {
    /// The key
    key: String,
    /// That this is not your own lock, and you mean it
    #[arg(long, required = true)]
    force: bool,
    /// Do not ask; needed where there is no terminal to ask on
    #[arg(long)]
    yes: bool,
    /// As one line of JSON; see --help
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Released<'a> {
    key: &'a str,
    released: Vec<HolderView<'a>>,
}

pub(crate) async fn run(args: Args, database: &Database) -> Result<Exit, Failure> {
    let locks = database.connect().await?;
    let seen = locks.inspect(&args.key).await?;
    let Some(mut seen) = seen.filter(|record| !record.holders.is_empty()) else {
        return tell(&args, None);
    };
    if !args.yes {
        if !confirmed(&args.key, &seen)? {
            say(&"nothing was released");
            return Ok(Exit::NO);
        }
        let now = locks.inspect(&args.key).await?;
        if now.is_some_and(|now| ids(&now) != ids(&seen)) {
            let message = format!(
                "`{}` changed hands meanwhile: nothing was released",
                args.key
            );
            return Err(Failure::new(Exit::NO, message));
        }
    }
    seen.holders = locks.force_release(&args.key).await?;
    tell(&args, Some(&seen))
}

fn ids(record: &LockRecord) -> Vec<Option<&LeaseId>> {
    record.holders.iter().map(Holder::id).collect()
}

fn confirmed(key: &str, seen: &LockRecord) -> Result<bool, Failure> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        let message = format!(
            "`{key}` is held, and there is no terminal to ask on: add --yes to end it all the same\n{}",
            held_by(seen)
        );
        return Err(Failure::new(Exit::USAGE, message));
    }
    let question = format!(
        "`{key}` is\n{}End it, though its holder may be at work? [yes/no] ",
        held_by(seen)
    );
    io::stderr().write_all(question.as_bytes())?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "yes"))
}

fn tell(args: &Args, released: Option<&LockRecord>) -> Result<Exit, Failure> {
    let Args {
        key, json: as_json, ..
    } = args;
    if *as_json {
        let released = released.map(holders).unwrap_or_default();
        print(&json(&Released { key, released })?)?;
    } else {
        match released.filter(|record| !record.holders.is_empty()) {
            Some(record) => print(&format!("released `{key}`, which was\n{}", held_by(record)))?,
            None => print(&format!("`{key}` is held by nobody\n"))?,
        };
    }
    Ok(Exit::SUCCESS)
}

/// A line for each holder.
fn held_by(record: &LockRecord) -> String {
    let mut text = String::new();
    for holder in &record.holders {
        let owner = holder
            .owner()
            .map_or("nobody: the rest of a minimum hold", |owner| owner.as_str());
        let _ = write!(text, "  held by {owner}");
        if let Some(label) = &holder.label {
            let _ = write!(text, " ({})", label.as_str());
        }
        if let Some(token) = token(holder, record) {
            let _ = write!(text, ", token {token}");
        }
        let now = now();
        let (acquired, expires) = (
            relative(holder.acquired_at, now),
            relative(holder.expires_at, now),
        );
        let _ = writeln!(text, ", acquired {acquired}, expires {expires}");
    }
    text
}
