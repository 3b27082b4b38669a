//! What locks in MongoDB.

mod by_hand;
mod distributed_lock;
mod mongodb_lock;

use anyhow::Result;
use doclock::MongoBackend;
use mongodb::options::ClientOptions;
use mongodb::{Client, Database};

use self::by_hand::ByHand;
use self::distributed_lock::DistributedLockMongo;
use self::mongodb_lock::MongodbLock;
use crate::meter::Meter;
use crate::ours::Ours;
use crate::peer::Contestant;

/// The lock by hand comes first.
pub(crate) async fn contestants(url: &str, run: &str) -> Result<Vec<Contestant>> {
    let database = async |meter: &Meter| connect(url, run, meter).await;
    Ok(vec![
        Contestant::new("by hand", async |meter| {
            Ok(ByHand::new(&database(meter).await?))
        })
        .await?,
        Contestant::new("doclock", async |meter| {
            Ours::new(MongoBackend::new(database(meter).await?)).await
        })
        .await?,
        Contestant::new("distributed-lock-mongo", async |meter| {
            Ok(DistributedLockMongo(database(meter).await?))
        })
        .await?,
        Contestant::new("mongodb-lock", async |meter| {
            MongodbLock::new(&database(meter).await?).await
        })
        .await?,
    ])
}

async fn connect(url: &str, run: &str, meter: &Meter) -> Result<Database> {
    let mut options = ClientOptions::parse(url).await?;
    options.command_event_handler = Some(meter.commands());
    Ok(Client::with_options(options)?.database(run))
}
