//! doclock, on either database.

use anyhow::Result;
use async_trait::async_trait;
use doclock::{Backend, LockClient};
use futures_util::FutureExt;

use crate::peer::{Peer, Release};

pub(crate) struct Ours(LockClient);

impl Ours {
    pub(crate) async fn new(backend: impl Backend) -> Result<Self> {
        let locks = LockClient::new(backend);
        locks.setup().await?;
        Ok(Self(locks))
    }
}

#[async_trait]
impl Peer for Ours {
    async fn acquire<'a>(&'a self, key: &'a str) -> Result<Release<'a>> {
        let lease = self.0.lock(key).acquire().await?;
        Ok(async { Ok(lease.release().await?) }.boxed())
    }
}
