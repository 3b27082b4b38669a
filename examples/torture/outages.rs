//! What happens to the servers.

use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;
use futures_util::future::try_join_all;
use mongodb::bson::doc;
use tokio::time::{Instant, sleep};

use crate::clients::Clients;
use crate::faults::{Faults, SETTLES};
use crate::servers::Servers;
use crate::support::process::Server;
use crate::support::replica_set::ReplicaSet;

#[derive(Clone, Copy, Debug)]
enum Outage {
    PrimaryKilled,
    PrimaryStopped,
    PrimaryStepsDown,
    SecondaryKilled,
    AllKilled,
    MajorityStopped,
}

const OUTAGES: [Outage; 6] = [
    Outage::PrimaryKilled,
    Outage::PrimaryStopped,
    Outage::PrimaryStepsDown,
    Outage::SecondaryKilled,
    Outage::AllKilled,
    Outage::MajorityStopped,
];

/// Has one outage after another until `end`, and leaves the servers well.
pub(crate) async fn disturb(
    servers: &Servers,
    clients: &Clients,
    faults: &Faults,
    mut rng: Rng,
    end: Instant,
) -> Result<()> {
    loop {
        sleep(Duration::from_millis(rng.u64(3000..10_000))).await;
        if Instant::now() >= end {
            return Ok(());
        }
        let long = Duration::from_millis(rng.u64(500..6000));
        match servers {
            Servers::Set(set) => {
                let outage = OUTAGES[rng.usize(..OUTAGES.len())];
                faults.begin(outage.name())?;
                outage.inflict(set, long).await?;
                set.healthy().await?;
            }
            Servers::Local(local) => {
                let server = local.server();
                if rng.bool() {
                    stop_emulator(server, faults, long).await?;
                } else {
                    restart_local(server, clients, faults, long).await?;
                }
            }
            Servers::Dynoxide(server) => {
                if rng.bool() {
                    stop_emulator(server, faults, long).await?;
                } else {
                    faults.begin("server killed")?;
                    restart(&[server], long).await?;
                }
            }
        }
        clients.follow(servers).await?;
        faults.end().await?;
    }
}

async fn stop_emulator(server: &Server, faults: &Faults, long: Duration) -> Result<()> {
    faults.begin("server stopped")?;
    stop(&[server], long).await
}

/// This emulator answers before its `SQLite` has written, as `DynamoDB` does not: it is asked to end, and nobody talks to it
/// meanwhile.
async fn restart_local(
    server: &Server,
    clients: &Clients,
    faults: &Faults,
    long: Duration,
) -> Result<()> {
    let quiet = clients.network.lock().await;
    faults.begin("server restarted")?;
    clients.cut_off(true);
    sleep(SETTLES).await;
    server.terminate().await?;
    clients.cut_off(false);
    drop(quiet);
    sleep(long).await;
    server.restart().await
}

impl Outage {
    fn name(self) -> &'static str {
        match self {
            Self::PrimaryKilled => "primary killed",
            Self::PrimaryStopped => "primary stopped",
            Self::PrimaryStepsDown => "primary steps down",
            Self::SecondaryKilled => "secondary killed",
            Self::AllKilled => "all servers killed",
            Self::MajorityStopped => "majority stopped",
        }
    }

    async fn inflict(self, set: &ReplicaSet, long: Duration) -> Result<()> {
        let primary = set.primary().await?;
        let others = [(primary + 1) % 3, (primary + 2) % 3].map(|node| set.node(node));
        match self {
            Self::PrimaryKilled => restart(&[set.node(primary)], long).await,
            Self::SecondaryKilled => restart(&others[..1], long).await,
            Self::AllKilled => restart(&set.nodes().iter().collect::<Vec<_>>(), long).await,
            Self::PrimaryStopped => stop(&[set.node(primary)], long).await,
            Self::MajorityStopped => stop(&others, long).await,
            Self::PrimaryStepsDown => {
                let step_down = doc! { "replSetStepDown": 10, "secondaryCatchUpPeriodSecs": 5 };
                // It may refuse: nobody has caught up.
                let _ = set.command(primary, step_down).await;
                Ok(())
            }
        }
    }
}

async fn restart(nodes: &[&Server], long: Duration) -> Result<()> {
    try_join_all(nodes.iter().map(|node| node.kill())).await?;
    sleep(long).await;
    try_join_all(nodes.iter().map(|node| node.restart())).await?;
    Ok(())
}

async fn stop(nodes: &[&Server], long: Duration) -> Result<()> {
    nodes.iter().try_for_each(|node| node.pause())?;
    sleep(long).await;
    nodes.iter().try_for_each(|node| node.resume())
}
