//! Writes that the lock guards, on real servers: late ones are refused by the database itself.

mod counting;
mod dozing;
mod dynamodb;
mod lost_answers;
mod mongodb;
mod paused;
mod store;
mod transactions;
pub mod writer;

use std::sync::Arc;

use anyhow::{Context, Result};
use doclock::{Backend, Lease, LockClient, MemoryBackend, QuorumBackend};

/// A lease that does not know that another has its lock, and the other.
async fn old_and_new(locks: &LockClient, key: &str) -> Result<(Lease, Lease)> {
    let old = locks.lock(key).manual_renewal().acquire().await?;
    let new = succeed(locks, &old).await?;
    Ok((old, new))
}

/// Takes a lease's lock over behind its back.
async fn succeed(locks: &LockClient, old: &Lease) -> Result<Lease> {
    let key = old.key().as_str();
    locks.force_release(key).await?;
    let new = locks.lock(key).try_acquire().await?;
    let new = new.context("the lock is free")?;
    assert!(new.token() > old.token());
    assert!(old.is_held(), "it believes so");
    Ok(new)
}

/// A lease that knows.
async fn lost(locks: &LockClient, key: &str) -> Result<Lease> {
    let (old, new) = old_and_new(locks, key).await?;
    assert!(old.renew().await.is_err());
    assert!(!old.is_held());
    new.release().await?;
    Ok(old)
}

/// Whose leases are in no single database.
fn quorum() -> Result<LockClient> {
    let members = (0..3).map(|_| Arc::new(MemoryBackend::new()) as Arc<dyn Backend>);
    Ok(LockClient::new(QuorumBackend::new(members.collect())?))
}
