//! A counter that nothing protects but the lock, and what no history of it may show.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use doclock::LockClient;
use serde::{Deserialize, Serialize};

use super::super::sections::{Kind, Log, Section, check, monotonic, passed};

pub const KEY: &str = "counter";
pub const TTL: Duration = Duration::from_secs(2);
/// Nobody waits as long, or something hangs.
const PATIENCE: Duration = Duration::from_mins(2);
/// Between reading and writing: long enough that without a lock the others come in between, ...
const PAUSE: Duration = Duration::from_millis(40);
/// ... and now and then so long that the lease must have been renewed.
const LONG: Duration = TTL;

/// What one process does.
#[derive(Serialize, Deserialize)]
pub struct Increments {
    pub log: PathBuf,
    pub counter: PathBuf,
    /// It ends when this file exists.
    pub over: PathBuf,
}

/// One grant, and what its holder read and wrote.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Increment {
    pub section: Section,
    read: u64,
    /// The lease was held just before the write: there was one.
    wrote: bool,
    /// It was held just after it, too.
    kept: bool,
    released: bool,
}

impl Increments {
    pub async fn run(self, locks: &LockClient) -> Result<()> {
        let log = Log::open(&self.log)?;
        while !self.over.exists() {
            log.write(&increment(locks, &self.counter).await?)?;
        }
        Ok(())
    }
}

async fn increment(locks: &LockClient, counter: &Path) -> Result<Increment> {
    let lock = locks.lock(KEY).ttl(TTL).wait(PATIENCE);
    let asked = monotonic()?;
    let lease = lock.acquire().await?;
    let begin = monotonic()?;
    let read: u64 = fs::read_to_string(counter)?.trim().parse()?;
    let is_long = fastrand::u32(..16) == 0;
    tokio::time::sleep(if is_long {
        LONG
    } else {
        PAUSE.mul_f64(fastrand::f64())
    })
    .await;
    let wrote = lease.is_held();
    if wrote {
        set(counter, read + 1)?;
    }
    let end = monotonic()?;
    let kept = lease.is_held();
    let (id, token) = (lease.id().to_string(), lease.token());
    // What could not be released expires.
    let released = lease.release().await.is_ok();
    let section = Section {
        kind: Kind::Writer,
        id,
        token,
        asked,
        begin,
        end,
        free: monotonic()?,
    };
    Ok(Increment {
        section,
        read,
        wrote,
        kept,
        released,
    })
}

/// Over the old number, not into an emptied file: a holder that was late may read meanwhile.
pub fn set(counter: &Path, number: u64) -> Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .open(counter)?;
    Ok(file.write_all(format!("{number:020}").as_bytes())?)
}

/// Fails if two held at once, a token did not grow, or an update got lost of one whose lease was valid all the time.
/// Others held as well, and wrote nothing.
pub fn judge(increments: &[Increment], others: &[Section]) -> Result<()> {
    let sections = |of: &[Increment]| -> Vec<Section> {
        let theirs = of.iter().map(|one| one.section.clone());
        theirs.chain(others.iter().cloned()).collect()
    };
    let (mut kept, late): (Vec<_>, Vec<_>) = increments.iter().cloned().partition(|one| one.kept);
    check(&sections(&kept))?;

    let all = sections(increments);
    let passed = passed(&all, |one, other| one.begin < other.asked);
    ensure!(passed.is_empty(), "tokens that do not grow: {passed:?}");

    kept.sort_unstable_by_key(|one| one.section.token);
    for pair in kept.windows(2) {
        let (last, next) = (&pair[0], &pair[1]);
        // Whose lease ended while it wrote may have come in between.
        let is_lates = late
            .iter()
            .any(|one| one.wrote && one.read + 1 == next.read);
        ensure!(
            next.read > last.read || is_lates,
            "an update got lost: {last:?}, {next:?}"
        );
    }
    Ok(())
}

pub fn figures(increments: &[Increment]) -> String {
    let count = |is: fn(&Increment) -> bool| increments.iter().filter(|one| is(one)).count();
    format!(
        "{} grants, {} whose lease ended too early, {} not released",
        increments.len(),
        count(|one| !one.kept),
        count(|one| !one.released)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn increment(token: u64, begin: u64, end: u64, read: u64) -> Increment {
        let ms = Duration::from_millis;
        Increment {
            section: Section {
                kind: Kind::Writer,
                id: token.to_string(),
                token,
                asked: ms(begin),
                begin: ms(begin),
                end: ms(end),
                free: ms(end),
            },
            read,
            wrote: true,
            kept: true,
            released: true,
        }
    }

    fn late(increment: Increment) -> Increment {
        Increment {
            kept: false,
            ..increment
        }
    }

    #[test]
    fn a_history_without_fault_passes() {
        let history = [
            increment(1, 0, 10, 0),
            // Held too long: the next one writes first.
            late(increment(2, 10, 40, 1)),
            increment(3, 30, 35, 1),
            increment(4, 40, 50, 2),
            // One was killed in between.
            increment(6, 60, 70, 4),
        ];
        judge(&history, &[]).unwrap();
    }

    #[test]
    fn each_fault_is_seen() {
        let first = increment(5, 0, 10, 3);
        for (other, fault) in [
            (increment(6, 9, 20, 4), "side by side"),
            (increment(4, 10, 20, 4), "token of"),
            (late(increment(5, 11, 20, 4)), "do not grow"),
            (late(increment(4, 11, 20, 4)), "do not grow"),
            (increment(6, 10, 20, 3), "lost"),
        ] {
            let error = judge(&[other, first.clone()], &[]).unwrap_err().to_string();
            assert!(error.contains(fault), "{error}");
        }
    }
}
