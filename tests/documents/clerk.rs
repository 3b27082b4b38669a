//! What a process does with an account: read, add one to what it read, write back, each time under its lock.
//!
//! The task is `SERVER NAME TIMES END`. It says `locked TOKEN BALANCE` each time before it writes, and then, by its `END`:
//!
//! * `done`: after the last time it says so;
//! * `holds`: the last time it keeps the lock for ever;
//! * `writes`: the last time it writes, and says nothing.

use std::future::pending;
use std::time::Duration;

use anyhow::{Result, bail};
use doclock::Lock;

use super::bank::through;
use crate::processes::site::Site;
use crate::processes::workers::answer;

/// Nobody waits as long unless somebody hangs.
const PATIENCE: Duration = Duration::from_mins(3);

pub async fn run(task: &str) -> Result<()> {
    let [server, name, times, end] = task.split(' ').collect::<Vec<_>>()[..] else {
        bail!("no such task");
    };
    let site = if server.starts_with("mongodb") {
        Site::MongoDb
    } else {
        Site::DynamoDbLocal
    };
    let bank = through(site, server, name).await?;
    let times: usize = times.parse()?;
    for time in 1..=times {
        // Renewed, so that it is the kill that ends it.
        let options = |lock: Lock| lock.ttl(Duration::from_secs(2)).wait(PATIENCE);
        let account = bank.acquire("a", options).await?;
        let (token, balance) = (account.lease().token(), account.balance());
        answer("account", format_args!("locked {token} {balance}"));
        if time == times && end == "holds" {
            pending::<()>().await;
        }
        account.set_and_unlock(balance + 1).await?;
    }
    if end == "writes" {
        pending::<()>().await;
    }
    answer("account", "done");
    Ok(())
}
