//! What a process does that stops itself in the middle of its work.
//!
//! | task | answer |
//! |---|---|
//! | `late COUNT`: takes a lock for each way to write, says `stopping` and stops; then writes so many items in each | `fenced N applied N` |
//! | `count TIMES STOPS`: so many times: read, add one, write back; says `stopping TOKEN` and stops in the middle so often | `applied N fenced N` |

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use doclock::{ErrorKind, Lease, LockClient};
use futures_util::future::try_join_all;
use nix::sys::signal::{Signal, raise};

use super::counting::{COUNTER, COUNTER_TTL};
use super::dozing::Dozing;
use super::paused::{LATE_TTL, UNGUARDED, item};
use super::store::Store;
use crate::processes::workers::answer;

/// How many increments one lease is used for.
const BATCH: u64 = 20;
const PATIENCE: Duration = Duration::from_mins(3);

pub async fn run(url: &str, task: &str) -> Result<()> {
    let store = Store::of(url).await?;
    let clock = Arc::new(Dozing::start());
    let locks = store.locks().clock(Arc::<Dozing>::clone(&clock)).build();
    let words: Vec<&str> = task.split_whitespace().collect();
    match words[..] {
        ["late", count] => late(&store, (&locks, &clock), count.parse()?).await,
        ["count", times, stops] => count(&store, &locks, times.parse()?, stops.parse()?).await,
        _ => bail!("no such task"),
    }
}

fn stop(token: u64) -> Result<()> {
    answer("stopping", token);
    // To this very thread: of one to the process it could take the first steps of what comes next.
    Ok(raise(Signal::SIGSTOP)?)
}

async fn late(store: &Store, (locks, clock): (&LockClient, &Dozing), count: usize) -> Result<()> {
    let forms = store.forms();
    let take = |form| locks.lock(form).ttl(LATE_TTL).manual_renewal().acquire();
    let leases = try_join_all(forms.iter().copied().map(take)).await?;
    clock.stand_still();
    stop(0)?;
    let (mut fenced, mut applied) = (0, 0);
    for number in 0..count {
        for (lease, form) in leases.iter().zip(&forms) {
            let written = store.write(lease, form, &item(form, number)).await;
            if written.with_context(|| (*form).to_owned())? {
                applied += 1;
            } else {
                fenced += 1;
            }
        }
        store
            .write_unguarded(&item(UNGUARDED, number), "late")
            .await?;
    }
    assert!(leases.iter().all(Lease::is_held), "they notice nothing");
    answer("fence", format!("fenced {fenced} applied {applied}"));
    Ok(())
}

/// Where in the work it stops.
#[derive(PartialEq, Eq)]
enum Place {
    BeforeReading,
    BeforeWriting,
}

async fn count(store: &Store, locks: &LockClient, times: u64, mut stops: u64) -> Result<()> {
    let (mut applied, mut fenced) = (0, 0);
    // Early, so that the others are still at work.
    let mut stops_at = fastrand::u64(..times / 3);
    while applied < times {
        let lock = locks
            .lock(COUNTER)
            .ttl(COUNTER_TTL)
            .manual_renewal()
            .wait(PATIENCE);
        let lease = lock.acquire().await?;
        let stops_here = stops > 0 && applied >= stops_at;
        let place = match fastrand::bool() {
            _ if !stops_here => None,
            true => Some(Place::BeforeReading),
            false => Some(Place::BeforeWriting),
        };
        if stops_here {
            stops -= 1;
            stops_at = applied + fastrand::u64(..times / 3);
        }
        for _ in 0..BATCH.min(times - applied) {
            match add_one(store, &lease, place.as_ref()).await {
                Ok(true) => applied += 1,
                Ok(false) => fenced += 1,
                Err(error) => match error.downcast_ref::<doclock::Error>() {
                    Some(lost) if lost.kind() == ErrorKind::LeaseLost => {}
                    _ => return Err(error),
                },
            }
            if place.is_some() || !lease.is_held() {
                break;
            }
        }
        // Of what others have taken over by now there is nothing to release.
        let _ = lease.release().await;
    }
    answer("fence", format!("applied {applied} fenced {fenced}"));
    Ok(())
}

async fn add_one(store: &Store, lease: &Lease, stops: Option<&Place>) -> Result<bool> {
    if stops == Some(&Place::BeforeReading) {
        stop(lease.token())?;
    }
    let Some(n) = store.read(lease, COUNTER_ITEM).await? else {
        return Ok(false);
    };
    if stops == Some(&Place::BeforeWriting) {
        stop(lease.token())?;
    }
    Ok(store.write_back(lease, COUNTER_ITEM, n + 1).await?)
}

/// Beside the lock of the same name.
pub const COUNTER_ITEM: &str = "item:counter";
