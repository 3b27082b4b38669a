//! `doclock show`: all that is known of one key.

use std::fmt::Write;

use doclock::{Holder, Key, LockRecord, Payload, Timestamp, Waiter};

use crate::connect::Database;
use crate::exit::{Exit, Failure};
use crate::out::{json, print};
use crate::view::{JSON, RecordView, instant, mode, now, relative, span, token};

/// Show everything that is known of a key: holders, waiters, tokens, times
///
/// Ends with 1 if there is no record of it. Times are by this machine's clock.
#[derive(clap::Args)]
#[command(verbatim_doc_comment, after_long_help = JSON)]
pub(crate) struct Args {
    /// The key
    key: String,
    /// As one line of JSON, `null` if there is no record; see --help
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args, database: &Database) -> Result<Exit, Failure> {
    let key = Key::new(&args.key)?;
    let found = database.connect().await?.inspect(&args.key).await?;
    if args.json {
        let view = found
            .as_ref()
            .map(|record| RecordView::new(key.as_str(), record));
        print(&json(&view)?)?;
    } else if let Some(record) = &found {
        print(&described(&key, record, now()))?;
    } else {
        let message =
            format!("there is no record of `{key}`: it was not locked in the last two days");
        return Err(Failure::new(Exit::NO, message));
    }
    Ok(if found.is_some() {
        Exit::SUCCESS
    } else {
        Exit::NO
    })
}

fn described(key: &Key, record: &LockRecord, now: Timestamp) -> String {
    let mut text = String::new();
    line(&mut text, 0, "key", key);
    line(&mut text, 0, "mode", mode(record.mode));
    line(&mut text, 0, "token", record.token);
    line(&mut text, 0, "rev", record.rev);
    let times = [
        (
            "free since",
            record.free_at.filter(|_| record.holders.is_empty()),
        ),
        ("slot started", record.slot_started),
        ("slot done", record.slot_done),
        ("pinned", record.pinned),
        ("collected", record.purge_at),
    ];
    for (name, at) in times {
        time(&mut text, 0, name, at, now);
    }
    if let Some(closed) = &record.closed {
        line(&mut text, 0, "closed", closed);
    }
    if let Some(state) = &record.state {
        line(&mut text, 0, "state", harmless(state));
    }
    for holder in &record.holders {
        describe_holder(&mut text, holder, record, now);
    }
    for waiter in &record.queue {
        describe_waiter(&mut text, waiter, now);
    }
    text
}

fn describe_holder(text: &mut String, holder: &Holder, record: &LockRecord, now: Timestamp) {
    match &holder.claimant {
        Some(claimant) => {
            line(text, 0, "holder", &claimant.owner);
            line(text, 2, "id", &claimant.id);
        }
        None => line(text, 0, "holder", "nobody: the rest of a minimum hold"),
    }
    if let Some(token) = token(holder, record) {
        line(text, 2, "token", token);
    }
    if let Some(label) = &holder.label {
        line(text, 2, "label", label.as_str());
    }
    if let Some(data) = &holder.data {
        line(text, 2, "data", harmless(data));
    }
    line(text, 2, "ttl", span(holder.ttl.as_duration()));
    time(text, 2, "acquired", Some(holder.acquired_at), now);
    time(text, 2, "expires", Some(holder.expires_at), now);
}

fn describe_waiter(text: &mut String, waiter: &Waiter, now: Timestamp) {
    line(text, 0, "waiter", &waiter.claimant.owner);
    line(text, 2, "id", &waiter.claimant.id);
    line(text, 2, "mode", mode(waiter.mode));
    time(text, 2, "enqueued", Some(waiter.enqueued_at), now);
    time(text, 2, "expires", Some(waiter.expires_at), now);
}

/// Anybody may have written it, and a terminal would do what it says.
fn harmless(payload: &Payload) -> String {
    payload.as_json().replace(char::is_control, "\u{fffd}")
}

fn time(text: &mut String, indent: usize, name: &str, at: Option<Timestamp>, now: Timestamp) {
    if let Some(at) = at {
        let told = format!("{}, {}", instant(at), relative(at, now));
        line(text, indent, name, told);
    }
}

fn line(text: &mut String, indent: usize, name: &str, value: impl std::fmt::Display) {
    let width = 14 - indent;
    // A `String` takes everything.
    let _ = writeln!(text, "{:indent$}{name:width$}{value}", "");
}
