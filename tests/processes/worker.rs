//! What a worker process does: one line of input, one line of answer.
//!
//! | command | answer |
//! |---|---|
//! | `try KEY TTL` | `granted TOKEN`, `held` |
//! | `until KEY TTL LEFT`: as `try`, with a deadline so far away | `granted TOKEN`, `held` |
//! | `acquire KEY TTL WAIT`, answers when it is done, other commands may follow at once | `granted TOKEN` |
//! | `held KEY` | `true`, `false` |
//! | `lost KEY`, waits for it | the error's kind |
//! | `renew KEY`, `release KEY` | `ok` |
//! | `step MS`: the wall clock jumps | `ok` |
//! | `count KEY FILE TIMES`: read, pause, write, under the lock, or without for the key `-` | `ok` |
//! | `do TASK`, answers when it is done: see [`patterns`] | the task's own |
//! | `account TASK`, answers when it locks, and when it is done: see [`clerk`] | the task's own |
//! | `fence TASK`, answers when it is done: see [`writer`] | the task's own |
//!
//! Times are in ms. What fails answers the error's kind. Every answer starts with its command.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use doclock::{ErrorKind, Lease, Lock, LockClient};
use tokio::sync::mpsc;

use super::patterns::{self, quorum};
use super::skewed::{self, Skewed};
use super::workers::{CLOCK, answer};
use crate::documents::clerk;
use crate::fences::writer;

/// Between reading and writing: long enough that without a lock the others come in between.
const PAUSE: Duration = Duration::from_millis(1);
/// An increment waits for 799 others at most.
const PATIENCE: Duration = Duration::from_mins(3);

type Leases = Arc<Mutex<HashMap<String, Arc<Lease>>>>;

struct Worker {
    locks: LockClient,
    leases: Leases,
    clock: Option<Arc<Skewed>>,
}

/// Obeys until the parent is gone.
pub async fn obey(url: &str) -> Result<()> {
    let clock = match std::env::var(CLOCK) {
        Ok(text) => Some(Arc::new(text.parse::<Skewed>()?)),
        Err(_) => None,
    };
    let locks = match (&clock, url.strip_prefix(quorum::SCHEME)) {
        (Some(clock), _) => skewed::connect(url, Arc::clone(clock)).await?,
        (None, Some(members)) => quorum::connect(members).await?,
        (None, None) => doclock::connect(url).await?,
    };
    let worker = Worker {
        locks,
        leases: Leases::default(),
        clock,
    };
    let mut commands = commands();
    answer("ready", "");
    while let Some(line) = commands.recv().await {
        if let Some(task) = line.strip_prefix("do ") {
            patterns::begin(worker.locks.clone(), task).context(line)?;
            continue;
        }
        if let Some(task) = line.strip_prefix("account ") {
            clerk::run(task).await.context(line)?;
            continue;
        }
        if let Some(task) = line.strip_prefix("fence ") {
            writer::run(url, task).await.context(line)?;
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        worker.run(&words).await.context(line)?;
    }
    Ok(())
}

fn commands() -> mpsc::UnboundedReceiver<String> {
    let (send, receive) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
        // At once, whatever goes on: nobody wants it any more.
        std::process::exit(0);
    });
    receive
}

fn ms(word: &str) -> Result<Duration> {
    Ok(Duration::from_millis(word.parse()?))
}

fn kind_of(result: doclock::Result<()>) -> String {
    result.map_or_else(|error| format!("{:?}", error.kind()), |()| "ok".to_owned())
}

fn keep(leases: &Leases, key: &str, lease: Lease) -> String {
    let granted = format!("granted {}", lease.token());
    let mut leases = leases.lock().unwrap_or_else(PoisonError::into_inner);
    leases.insert(key.to_owned(), Arc::new(lease));
    granted
}

impl Worker {
    fn lease(&self, key: &str) -> Result<Arc<Lease>> {
        let leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        leases.get(key).cloned().context("no lease")
    }

    /// If it is free: what to answer.
    async fn take(&self, key: &str, lock: Lock) -> String {
        match lock.try_acquire().await {
            Ok(Some(lease)) => keep(&self.leases, key, lease),
            Ok(None) => "held".to_owned(),
            Err(error) => format!("{:?} {error:?}", error.kind()),
        }
    }

    async fn run(&self, words: &[&str]) -> Result<()> {
        match words {
            ["try", key, ttl] => {
                let lock = self.locks.lock(*key).ttl(ms(ttl)?);
                answer("try", self.take(key, lock).await);
            }
            ["until", key, ttl, left] => {
                let deadline = SystemTime::now() + ms(left)?;
                let lock = self.locks.lock(*key).ttl(ms(ttl)?).deadline(deadline);
                answer("until", self.take(key, lock).await);
            }
            ["acquire", key, ttl, wait] => {
                let lock = self.locks.lock(*key).ttl(ms(ttl)?).wait(ms(wait)?);
                let leases = Arc::clone(&self.leases);
                let key = (*key).to_owned();
                tokio::spawn(async move {
                    match lock.acquire().await {
                        Ok(lease) => answer("acquire", keep(&leases, &key, lease)),
                        Err(error) if error.kind() == ErrorKind::WaitTimeout => {
                            answer("acquire", "held");
                        }
                        Err(error) => answer("acquire", format!("{:?} {error:?}", error.kind())),
                    }
                });
            }
            ["held", key] => answer("held", self.lease(key)?.is_held()),
            ["lost", key] => answer(
                "lost",
                format!("{:?}", self.lease(key)?.lost().await.kind()),
            ),
            ["renew", key] => answer("renew", kind_of(self.lease(key)?.renew().await)),
            ["release", key] => {
                let lease = {
                    let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
                    leases.remove(*key).context("no lease")?
                };
                let lease = Arc::into_inner(lease).context("in use")?;
                answer("release", kind_of(lease.release().await));
            }
            ["step", by] => {
                self.clock.as_ref().context("no clock")?.step(by.parse()?);
                answer("step", "ok");
            }
            ["count", key, file, times] => {
                for _ in 0..times.parse()? {
                    self.increment(key, Path::new(file)).await?;
                }
                answer("count", "ok");
            }
            _ => bail!("no such command"),
        }
        Ok(())
    }

    async fn increment(&self, key: &str, file: &Path) -> Result<()> {
        let lease = match key {
            "-" => None,
            _ => Some(self.locks.lock(key).wait(PATIENCE).acquire().await?),
        };
        let count: u64 = fs::read_to_string(file)?.trim().parse()?;
        tokio::time::sleep(PAUSE).await;
        // Over the old number, not into an emptied file: without a lock others read meanwhile.
        let mut file = OpenOptions::new().write(true).open(file)?;
        file.write_all(format!("{:020}", count + 1).as_bytes())?;
        if let Some(lease) = lease {
            lease.release().await?;
        }
        Ok(())
    }
}
