//! What is compared.

use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use futures_util::future::BoxFuture;

use crate::meter::Meter;

/// A lock's client, on a client of the driver's that nobody else has.
#[async_trait]
pub(crate) trait Peer: Send + Sync {
    /// Waits for others however long it takes, in the way that its crate does by default.
    async fn acquire<'a>(&'a self, key: &'a str) -> Result<Release<'a>>;
}

/// To await is to give the lock back.
pub(crate) type Release<'a> = BoxFuture<'a, Result<()>>;

/// Two clients of one lock, as two processes have them.
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    pub(crate) clients: [Arc<dyn Peer>; 2],
    /// Of the first client.
    pub(crate) meter: Meter,
}

impl Contestant {
    /// Makes the two, and has each of them open its connections.
    pub(crate) async fn new<P: Peer + 'static>(
        name: &'static str,
        client: impl AsyncFn(&Meter) -> Result<P>,
    ) -> Result<Self> {
        let meter = Meter::default();
        let clients: [Arc<dyn Peer>; 2] = [
            Arc::new(client(&meter).await?),
            Arc::new(client(&Meter::default()).await?),
        ];
        for (client, key) in clients.iter().zip(["first", "second"]) {
            client.acquire(key).await?.await?;
        }
        Ok(Self {
            name,
            clients,
            meter,
        })
    }
}
