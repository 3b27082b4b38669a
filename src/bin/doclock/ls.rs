//! `doclock ls`: the locks of a database.

use doclock::{Holder, Key, LockClient, LockRecord, Timestamp};

use crate::connect::Database;
use crate::exit::{Exit, Failure};
use crate::out::{json, print, table};
use crate::view::{JSON, RecordView, mode, now, span, token};

/// List who holds and who waits for which locks
///
/// One line for each holder. Times are by this machine's clock.
#[derive(clap::Args)]
#[command(verbatim_doc_comment, after_long_help = JSON)]
pub(crate) struct Args {
    /// Only keys that start so
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,
    /// Those as well that nobody holds or waits for: their records stay for two days
    #[arg(long)]
    all: bool,
    /// As JSON, a line for each key; see --help
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args, database: &Database) -> Result<Exit, Failure> {
    let locks = database.connect().await?;
    let mut found = list(&locks, &args.prefix).await?;
    found.retain(|(_, record)| args.all || is_used(record));
    if args.json {
        for (key, record) in &found {
            if !print(&json(&RecordView::new(key.as_str(), record))?)? {
                break;
            }
        }
    } else {
        print(&listed(&found, now()))?;
    }
    Ok(Exit::SUCCESS)
}

/// All records, in the order of their keys.
pub(crate) async fn list(
    locks: &LockClient,
    prefix: &str,
) -> doclock::Result<Vec<(Key, LockRecord)>> {
    let mut found = Vec::new();
    let mut page = None;
    loop {
        let listed = locks.list(prefix, page.as_deref()).await?;
        found.extend(listed.records);
        page = listed.next;
        if page.is_none() {
            break;
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

pub(crate) fn is_used(record: &LockRecord) -> bool {
    !record.holders.is_empty() || !record.queue.is_empty()
}

/// The locks as a table.
pub(crate) fn listed(found: &[(Key, LockRecord)], now: Timestamp) -> String {
    if found.is_empty() {
        return "no locks\n".to_owned();
    }
    let head = [
        "KEY",
        "MODE",
        "OWNER",
        "LABEL",
        "TOKEN",
        "HELD FOR",
        "EXPIRES IN",
        "WAITERS",
    ];
    let rows: Vec<_> = found
        .iter()
        .flat_map(|(key, record)| rows(key, record, now))
        .collect();
    table(head, &rows)
}

fn rows(key: &Key, record: &LockRecord, now: Timestamp) -> Vec<[String; 8]> {
    if record.holders.is_empty() {
        return vec![row(key, record, None, now)];
    }
    let holders = record.holders.iter();
    holders
        .map(|holder| row(key, record, Some(holder), now))
        .collect()
}

fn row(key: &Key, record: &LockRecord, holder: Option<&Holder>, now: Timestamp) -> [String; 8] {
    let none = || "-".to_owned();
    let told =
        |tell: &dyn Fn(&Holder) -> Option<String>| holder.and_then(tell).unwrap_or_else(none);
    let owner = |holder: &Holder| Some(holder.owner().map_or_else(none, ToString::to_string));
    [
        key.to_string(),
        holder.map_or_else(|| "free".to_owned(), |_| mode(record.mode)),
        told(&owner),
        told(&|holder| Some(holder.label.as_ref()?.as_str().to_owned())),
        told(&|holder| Some(token(holder, record)?.to_string())),
        told(&|holder| Some(span(now.saturating_since(holder.acquired_at)))),
        told(&|holder| Some(left(holder, now))),
        record.queue.len().to_string(),
    ]
}

fn left(holder: &Holder, now: Timestamp) -> String {
    if holder.expires_at > now {
        span(holder.expires_at.saturating_since(now))
    } else {
        "expired".to_owned()
    }
}
