//! One run from start to end: starts everything, lets everything go wrong, mends it, and collects what was written down.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use fastrand::Rng;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use tokio::time::{Instant, sleep};

use crate::child::{Child, Role};
use crate::client::Settings;
use crate::clients::Clients;
use crate::clocks::Clock;
use crate::faults::Faults;
use crate::foreign::Foreign;
use crate::history::Event;
use crate::journal::{self, Journal};
use crate::servers::{Backend, Servers};
use crate::{network, outages};

/// How often a client is killed after all is mended: once, and once more for each of these.
const RECOVERIES: Duration = Duration::from_mins(1);

/// What a run is to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) backend: Backend,
    pub(crate) length: Duration,
    pub(crate) seed: u64,
    pub(crate) folder: PathBuf,
    pub(crate) sabotage: Option<Sabotage>,
}

/// What is done wrong on purpose, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sabotage {
    /// The resource accepts every token
    NoFence,
    /// Clients believe in their leases for ever
    IgnoreDeadline,
}

/// What became of it.
pub(crate) struct Outcome {
    pub(crate) events: Vec<Event>,
    /// By name, those of clients too.
    pub(crate) faults: BTreeMap<String, u64>,
    pub(crate) meddled: u64,
    /// What went wrong besides: a client that ended by itself or did not get its turn, a server that did not come back.
    pub(crate) complaints: Vec<String>,
}

/// Runs it all. An error says that it did not even start.
pub(crate) async fn run(plan: &Plan) -> Result<Outcome> {
    let folder = plan.folder.join("processes");
    fs::create_dir_all(&plan.folder)?;
    fs::create_dir(&folder).with_context(|| format!("{}: name another", folder.display()))?;
    let mut rng = Rng::with_seed(plan.seed);
    let faults = Arc::new(Faults::new(Journal::open(&folder, "conductor", 0)?));
    let servers = Servers::start(plan.backend).await?;
    let foreign = Foreign::put(&servers.url()).await?;
    let (resource, addr) = resource(plan, &folder).await?;
    let template = Settings {
        number: 0,
        seed: 0,
        url: String::new(),
        resource: addr,
        folder: folder.clone(),
        clock: Clock::Right,
        ignores_deadline: plan.sabotage == Some(Sabotage::IgnoreDeadline),
    };
    let clients = Clients::start(&servers, Arc::clone(&faults), template, &mut rng).await?;

    let course = async {
        disturb(plan, &servers, &clients, &faults, &mut rng).await?;
        for _ in 0..=plan.length.as_secs() / RECOVERIES.as_secs() {
            clients.recover(&mut rng).await?;
        }
        anyhow::Ok(())
    };
    let course = course.await;
    let meddled = clients.meddled();
    let ends = [course, clients.stop().await, foreign.note(&faults).await];
    let stopped = resource.stop().await.context("the resource");
    let ends = ends.into_iter().chain([stopped]);
    let mut complaints: Vec<String> = ends
        .filter_map(|end| Some(format!("{:#}", end.err()?)))
        .collect();
    complaints.extend(logs(&folder)?);
    Ok(Outcome {
        events: journal::collect(&folder)?,
        faults: faults.counts(),
        meddled,
        complaints,
    })
}

/// Starts the resource: it, and where it listens.
async fn resource(plan: &Plan, folder: &Path) -> Result<(Child, SocketAddr)> {
    let role = Role::Resource {
        folder: folder.to_owned(),
        fenced: plan.sabotage != Some(Sabotage::NoFence),
    };
    let (resource, mut words) = Child::start(&role, &[], &folder.join("resource.log"))?;
    let addr = words.next().await.context("the resource ended at once")?;
    // It may go on talking.
    tokio::spawn(async move { while words.next().await.is_some() {} });
    Ok((resource, addr.parse()?))
}

/// Which processes said anything on their standard error: of a panic in a task of the library, say.
fn logs(folder: &Path) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|name| name == "log") && fs::metadata(&path)?.len() > 0 {
            complaints.push(format!("a process complained: see {}", path.display()));
        }
    }
    Ok(complaints)
}

/// Everything goes wrong for as long as the plan says, and is mended.
async fn disturb(
    plan: &Plan,
    servers: &Servers,
    clients: &Clients,
    faults: &Faults,
    rng: &mut Rng,
) -> Result<()> {
    let end = Instant::now() + plan.length;
    let all = async {
        tokio::try_join!(
            clients.disturb(rng.fork(), end),
            network::disturb(clients, faults, rng.fork(), end),
            outages::disturb(servers, clients, faults, rng.fork(), end),
        )
    };
    tokio::select! {
        done = all => drop(done?),
        never = follow(servers, clients) => never,
        never = show(plan, clients, faults) => never?,
    }
    Ok(())
}

/// Keeps the proxies before the primary.
async fn follow(servers: &Servers, clients: &Clients) {
    loop {
        // There may be none for a while.
        let _ = clients.follow(servers).await;
        sleep(Duration::from_millis(500)).await;
    }
}

async fn show(plan: &Plan, clients: &Clients, faults: &Faults) -> Result<()> {
    let bar = ProgressBar::new(plan.length.as_secs()).with_finish(ProgressFinish::AndClear);
    let style = "{elapsed} of {len} s  {wide_bar}  {msg}";
    bar.set_style(ProgressStyle::with_template(style)?);
    loop {
        bar.set_position(bar.elapsed().as_secs());
        let grants: u64 = clients.grants().iter().sum();
        bar.set_message(format!("{grants} grants, {} faults", faults.total()));
        sleep(Duration::from_millis(250)).await;
    }
}
