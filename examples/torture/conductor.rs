//! One run from start to end: starts everything, lets everything go wrong, mends it, and collects what was written down.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use fastrand::Rng;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, sleep};

use crate::child::{Child, Role};
use crate::client::Settings;
use crate::clocks::Clock;
use crate::crowd::Crowd;
use crate::faults::Faults;
use crate::foreign::Foreign;
use crate::history::{Event, What};
use crate::journal::{self, Journal};
use crate::servers::{Backend, Servers};
use crate::{network, outages};

/// How often a client is killed after all is mended.
const RECOVERIES: usize = 3;

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
    /// What the other processes said on their standard error: nothing, if all is well.
    pub(crate) complaints: Vec<String>,
}

/// Runs it all. An error is no verdict on the locks, but for a client that ended by itself and for one that did not get its
/// turn in the end.
pub(crate) async fn run(plan: &Plan) -> Result<Outcome> {
    let folder = plan.folder.join("processes");
    fs::create_dir_all(&folder)?;
    let mut rng = Rng::with_seed(plan.seed);
    let faults = Arc::new(Faults::new(Journal::open(&folder, "conductor", 0)?));
    let servers = Servers::start(plan.backend).await?;
    let foreign = Foreign::put(&servers.url()).await?;
    let fenced = plan.sabotage != Some(Sabotage::NoFence);
    let role = Role::Resource {
        folder: folder.clone(),
        fenced,
    };
    let (resource, mut words) = Child::start(&role, &[], &folder.join("resource.log"))?;
    let addr = words.next().await.context("the resource ended at once")?;
    let template = Settings {
        number: 0,
        seed: 0,
        url: String::new(),
        resource: addr.parse()?,
        folder: folder.clone(),
        clock: Clock::Right,
        ignores_deadline: plan.sabotage == Some(Sabotage::IgnoreDeadline),
    };
    let crowd = Crowd::start(&servers, Arc::clone(&faults), template, &mut rng).await?;

    torment(plan, &servers, &crowd, &faults, &mut rng).await?;
    for _ in 0..RECOVERIES {
        crowd.recover(&mut rng).await?;
    }
    let meddled = crowd.meddled();
    crowd.stop().await?;
    for (key, untouched) in foreign.look().await? {
        faults.note(What::Foreign { key, untouched })?;
    }
    resource.stop().await?;
    Ok(Outcome {
        events: journal::collect(&folder)?,
        faults: faults.counts(),
        meddled,
        complaints: complaints(&folder)?,
    })
}

/// A panic in a task of the library, say.
fn complaints(folder: &Path) -> Result<Vec<String>> {
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
async fn torment(
    plan: &Plan,
    servers: &Servers,
    crowd: &Crowd,
    faults: &Faults,
    rng: &mut Rng,
) -> Result<()> {
    let end = Instant::now() + plan.length;
    let all = async {
        tokio::try_join!(
            crowd.suffer(rng.fork(), end),
            network::trouble(crowd, faults, rng.fork(), end),
            outages::befall(servers, crowd, faults, rng.fork(), end),
        )
    };
    tokio::select! {
        done = all => drop(done?),
        never = follow(servers, crowd) => never,
        never = show(plan, crowd, faults) => never?,
    }
    Ok(())
}

/// Keeps the proxies before the primary.
async fn follow(servers: &Servers, crowd: &Crowd) {
    loop {
        // There may be none for a while.
        let _ = crowd.follow(servers).await;
        sleep(Duration::from_millis(500)).await;
    }
}

async fn show(plan: &Plan, crowd: &Crowd, faults: &Faults) -> Result<()> {
    let bar = ProgressBar::new(plan.length.as_secs());
    let style = "{elapsed} of {len} s  {wide_bar}  {msg}";
    bar.set_style(ProgressStyle::with_template(style)?);
    loop {
        bar.set_position(bar.elapsed().as_secs());
        let grants: u64 = crowd.grants().iter().sum();
        bar.set_message(format!("{grants} grants, {} faults", faults.total()));
        sleep(Duration::from_millis(250)).await;
    }
}
