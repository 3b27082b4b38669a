use anyhow::Result;
use async_trait::async_trait;
use futures_util::FutureExt;
use mongodb::Database;
use mongodb_lock::Mutex;

use crate::peer::{Peer, Release};

/// Never expires. Asks again every 500 ms. Its release goes on in the background: nobody can wait for it.
pub(super) struct MongodbLock(Mutex<String>);

impl MongodbLock {
    pub(super) async fn new(database: &Database) -> Result<Self> {
        Ok(Self(Mutex::new(database, "mutexes").await?))
    }
}

#[async_trait]
impl Peer for MongodbLock {
    async fn acquire<'a>(&'a self, key: &'a str) -> Result<Release<'a>> {
        let guard = self.0.lock_default(key.to_owned()).await?;
        let release = async {
            drop(guard);
            Ok(())
        };
        Ok(release.boxed())
    }
}
