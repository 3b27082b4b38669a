//! The lock is in one place, the data in a table elsewhere. The token goes along with each statement, and the statement
//! itself refuses an old one.
//!
//! ```sh
//! cargo run --example fenced_sql
//! ```
//!
//! Everything is in this process: the locks in memory, the table in SQLite. The statements are the same on PostgreSQL, with
//! `$1` instead of `?1`.
//!
//! What to copy are the three statements.

use std::time::Duration;

use anyhow::Result;
use doclock::{LockClient, MemoryBackend};
use rusqlite::{Connection, OptionalExtension, params};

const CREATE: &str = "CREATE TABLE stock (item TEXT PRIMARY KEY, apples BIGINT NOT NULL, fence BIGINT NOT NULL DEFAULT 0)";

/// Reads, and leaves the token behind: from now on no older holder can write. No row: a newer one has.
const READ: &str = "UPDATE stock SET fence = ?2 WHERE item = ?1 AND fence <= ?2 RETURNING apples";

/// Writes. No row changed: a newer holder has the lock.
const WRITE: &str = "UPDATE stock SET apples = ?3, fence = ?2 WHERE item = ?1 AND fence <= ?2";

const TTL: Duration = Duration::from_millis(500);

struct Table(Connection);

impl Table {
    fn new() -> Result<Self> {
        let table = Connection::open_in_memory()?;
        table.execute(CREATE, [])?;
        table.execute("INSERT INTO stock (item, apples) VALUES ('apple', 10)", [])?;
        Ok(Self(table))
    }

    /// `None` for an old token.
    fn read(&self, token: u64) -> Result<Option<i64>> {
        let token = i64::try_from(token)?;
        let apples = |row: &rusqlite::Row<'_>| row.get(0);
        Ok(self
            .0
            .query_row(READ, params!["apple", token], apples)
            .optional()?)
    }

    /// Whether it was written.
    fn write(&self, token: u64, apples: i64) -> Result<bool> {
        let token = i64::try_from(token)?;
        Ok(self.0.execute(WRITE, params!["apple", token, apples])? == 1)
    }
}

/// Prints what happens; what is left in the table, and whether the late write was carried out.
async fn story() -> Result<(Option<i64>, bool)> {
    let locks = LockClient::new(MemoryBackend::new());
    let table = Table::new()?;
    let say = |who: &str, token: u64, what: &str, outcome: &str| {
        println!("{who:8}  {token:<18}  {what:22}  {outcome}");
    };
    println!("{:8}  {:18}  {:22}  outcome", "holder", "token", "does");

    let first = locks
        .lock("stock:apple")
        .ttl(TTL)
        .manual_renewal()
        .acquire()
        .await?;
    let seen = table.read(first.token())?.unwrap_or_default();
    say("first", first.token(), "reads", &format!("{seen} apples"));
    say("first", first.token(), "stands still", "its lease runs out");

    let second = locks.lock("stock:apple").wait(4 * TTL).acquire().await?;
    let apples = table.read(second.token())?.unwrap_or_default();
    say(
        "second",
        second.token(),
        "reads",
        &format!("{apples} apples"),
    );
    let written = table.write(second.token(), apples - 3)?;
    say(
        "second",
        second.token(),
        "sells 3, writes 7",
        outcome(written),
    );

    // It had looked just before it stood still, and does not look again.
    let late = table.write(first.token(), seen - 1)?;
    say("first", first.token(), "sells 1, writes 9", outcome(late));

    let left = table.read(second.token())?;
    println!();
    println!("{} apples are left", left.unwrap_or_default());
    second.release().await?;
    Ok((left, late))
}

fn outcome(written: bool) -> &'static str {
    if written {
        "written"
    } else {
        "refused: no row changed"
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let (left, late) = story().await?;
    anyhow::ensure!(
        left == Some(7) && !late,
        "a sale was lost: please report this bug"
    );
    println!("Next: read docs/patterns/fencing.md");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_late_write_is_refused() -> Result<()> {
        assert_eq!(story().await?, (Some(7), false));
        Ok(())
    }

    #[test]
    fn a_token_is_good_until_a_newer_one_was_seen() -> Result<()> {
        let table = Table::new()?;
        assert!(table.write(2, 9)?);
        assert!(table.write(2, 8)?);
        assert_eq!(table.read(1)?, None);
        assert!(!table.write(1, 0)?);
        assert_eq!(table.read(3)?, Some(8));
        assert!(!table.write(2, 0)?);
        Ok(())
    }
}
