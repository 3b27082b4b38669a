//! `doclock watch`: what happens to locks, as it happens.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::time::Duration;

use doclock::{Claimant, Key, LockClient, LockRecord};

use crate::connect::Database;
use crate::exit::{Exit, Failure, say};
use crate::ls::{is_used, list, listed};
use crate::out::{print, print_raw};
use crate::span::span;
use crate::view::{instant, now, token};

/// The top left corner, with nothing below it.
const CLEAR: &[u8] = b"\x1b[H\x1b[J";
/// More often costs more than it shows.
const SHORTEST: Duration = Duration::from_millis(100);

/// Watch who holds and who waits for locks, until interrupted
///
/// A table on a terminal, otherwise a line for each change. It looks again and
/// again, so what comes and goes between two looks is not seen.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// One key only
    key: Option<String>,
    /// Only keys that start so
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        conflicts_with = "key"
    )]
    prefix: String,
    /// How long between two looks, at least 100ms
    #[arg(long, default_value = "1s", value_parser = span)]
    interval: Duration,
}

/// What one look shows.
type Seen = BTreeMap<Key, LockRecord>;

pub(crate) async fn run(args: Args, database: &Database) -> Result<Exit, Failure> {
    let locks = database.connect().await?;
    let is_live = io::stdout().is_terminal();
    let mut seen = Seen::new();
    let mut next = look(&locks, &args).await?;
    loop {
        let is_read = if is_live {
            let table = listed(&Vec::from_iter(next.clone()), now());
            print_raw(CLEAR)? && print(&table)?
        } else {
            let time = instant(now());
            let changes = changes(&seen, &next).into_iter();
            let lines: Vec<_> = changes.map(|change| format!("{time} {change}\n")).collect();
            print(&lines.concat())?
        };
        if !is_read {
            return Ok(Exit::SUCCESS);
        }
        seen = next;
        next = again(&locks, &args).await?;
    }
}

/// The next look that succeeds. A database that is away comes back.
async fn again(locks: &LockClient, args: &Args) -> Result<Seen, Failure> {
    loop {
        tokio::time::sleep(args.interval.max(SHORTEST)).await;
        match look(locks, args).await {
            Err(error) if error.is_retryable() => say(&error),
            looked => return Ok(looked?),
        }
    }
}

async fn look(locks: &LockClient, args: &Args) -> doclock::Result<Seen> {
    let found = match &args.key {
        Some(key) => {
            let record = locks.inspect(key).await?;
            Vec::from_iter(Some(Key::new(key)?).zip(record))
        }
        None => list(locks, &args.prefix).await?,
    };
    Ok(found
        .into_iter()
        .filter(|(_, record)| is_used(record))
        .collect())
}

/// What is different, a line for each.
fn changes(before: &Seen, after: &Seen) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, record) in before {
        let gone = parties(after.get(key));
        let left = parties(Some(record))
            .into_iter()
            .filter(|(id, _)| !gone.contains_key(id));
        lines.extend(left.map(|(_, party)| format!("{key}: no longer {party}")));
    }
    for (key, record) in after {
        let known = parties(before.get(key));
        let came = parties(Some(record)).into_iter();
        let came = came.filter(|(id, party)| known.get(id) != Some(party));
        lines.extend(came.map(|(_, party)| format!("{key}: {party}")));
    }
    lines
}

/// Who holds and who waits.
fn parties(record: Option<&LockRecord>) -> BTreeMap<&str, String> {
    let Some(record) = record else {
        return BTreeMap::new();
    };
    let held = record.holders.iter().filter_map(|holder| {
        let Claimant { owner, id } = holder.claimant.as_ref()?;
        let token = token(holder, record).map(|token| format!(", token {token}"));
        let label = holder
            .label
            .as_ref()
            .map(|label| format!(" ({})", label.as_str()));
        let [token, label] = [token, label].map(Option::unwrap_or_default);
        Some((id.as_str(), format!("held by {owner}{label}{token}")))
    });
    let waiting = record.queue.iter().map(|waiter| {
        let Claimant { owner, id } = &waiter.claimant;
        (id.as_str(), format!("waited for by {owner}"))
    });
    // Whoever holds and still stands in the queue holds.
    waiting.chain(held).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use doclock::{Holder, LeaseId, Mode, Owner, Timestamp, Ttl, Waiter};

    fn claimant(owner: &str, id: &str) -> Claimant {
        Claimant {
            owner: Owner::new(owner).unwrap(),
            id: LeaseId::new(id).unwrap(),
        }
    }

    fn seen(key: &str, token: u64, holders: &[&str], queue: &[&str]) -> Seen {
        let at = Timestamp::from_millis(0);
        let ttl = Ttl::new(Duration::from_secs(10)).unwrap();
        let mut record = LockRecord::new(Mode::Exclusive);
        record.token = token;
        let holder = |name: &&str| Holder::new(Some(claimant(name, name)), at, at, ttl, 1);
        record.holders = holders.iter().map(holder).collect();
        let waiter =
            |name: &&str| Waiter::new(claimant(name, name), Mode::Exclusive, at, at, ttl, 1);
        record.queue = queue.iter().map(waiter).collect();
        Seen::from([(Key::new(key).unwrap(), record)])
    }

    #[test]
    fn each_change_is_a_line() {
        let none = Seen::new();
        let first = seen("k", 1, &["a"], &["b"]);
        assert_eq!(
            changes(&none, &first),
            ["k: held by a, token 1", "k: waited for by b"]
        );
        assert!(changes(&first, &first).is_empty());
        let second = seen("k", 2, &["b"], &[]);
        let handed = ["k: no longer held by a, token 1", "k: held by b, token 2"];
        assert_eq!(changes(&first, &second), handed);
        assert_eq!(changes(&second, &none), ["k: no longer held by b, token 2"]);
    }
}
