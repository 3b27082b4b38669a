use anyhow::Result;
use async_trait::async_trait;
use distributed_lock_core::traits::{DistributedLock, LockHandle};
use distributed_lock_mongo::MongoDistributedLock;
use futures_util::FutureExt;
use mongodb::Database;

use crate::peer::{Peer, Release};

/// Expires after 30 s, and is not renewed. Asks again every 10 ms.
pub(super) struct DistributedLockMongo(pub(super) Database);

#[async_trait]
impl Peer for DistributedLockMongo {
    async fn acquire<'a>(&'a self, key: &'a str) -> Result<Release<'a>> {
        let lock = MongoDistributedLock::new(key.to_owned(), self.0.clone(), None, None);
        let handle = lock.acquire(None).await?;
        Ok(async { Ok(handle.release().await?) }.boxed())
    }
}
