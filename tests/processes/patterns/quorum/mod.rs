//! Processes that lock by a majority of five databases, any two of which are stopped, killed and started again.

pub mod increments;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use doclock::{
    AcquireOutcome, AcquireRequest, Backend, Key, LeaseId, LockClient, Mode, MongoBackend, Owner,
    QuorumBackend, ReleaseRequest, Ttl,
};
use futures_util::future::try_join_all;

use super::sections::{Kind, Section, monotonic};
use super::team::Team;
use super::{Task, done, report, tell, usual_or_full};
use crate::processes::site::Site;
use crate::processes::workers::Worker;
use crate::support::mongod::Standalone;
use crate::support::{poll, servers};
use increments::{Increment, Increments, KEY, TTL, figures, judge};

/// What the URL of a quorum begins with, before those of its members.
pub const SCHEME: &str = "quorum ";
const MEMBERS: usize = 5;
const PROCESSES: usize = 4;
/// So many grants while two are away.
const GRANTS: usize = 6;
/// No more than that the test ends.
const BOUND: Duration = Duration::from_mins(1);
/// How long a member is away at least: what it has heard and not done yet is older then than any lease.
const AWAY: Duration = TTL.saturating_add(Duration::from_millis(500));

/// In the worker: locks by a majority of these.
pub async fn connect(urls: &str) -> Result<LockClient> {
    let connect = urls
        .split_whitespace()
        .map(async |url| anyhow::Ok(Arc::new(member(url).await?) as Arc<dyn Backend>));
    let members = try_join_all(connect).await?;
    Ok(LockClient::new(QuorumBackend::new(members)?))
}

async fn member(url: &str) -> Result<MongoBackend> {
    let client = mongodb::Client::with_uri_str(url).await?;
    let database = client.default_database().context("no database")?;
    Ok(MongoBackend::new(database))
}

/// Gives each member another last token, as if they had missed each other's grants: ten minutes after the one before it.
async fn differ(urls: &[String]) -> Result<()> {
    for (url, apart) in urls.iter().zip(0..) {
        let backend = member(url).await?;
        let (key, owner) = (Key::new(KEY)?, Owner::random());
        let mut request = AcquireRequest::new(&key, &owner, Mode::Exclusive, Ttl::new(TTL)?);
        let ahead = apart * Duration::from_mins(10);
        request.token_floor = (SystemTime::now().duration_since(UNIX_EPOCH)? + ahead)
            .as_micros()
            .try_into()?;
        // The first token of a record goes by the server's clock alone.
        for _ in 0..2 {
            request.id = LeaseId::random();
            let granted = backend.acquire(&request).await?;
            ensure!(matches!(granted, AcquireOutcome::Granted(_)), "{granted:?}");
            backend
                .release(&ReleaseRequest::new(&key, &owner, &request.id))
                .await?;
        }
    }
    Ok(())
}

/// What happens to a member.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// It answers nothing, and does later what it was asked meanwhile.
    Stopped,
    /// It starts again with its data.
    Killed,
}

impl Fault {
    async fn begin(self, member: &Standalone) -> Result<()> {
        match self {
            Self::Stopped => member.server().pause(),
            Self::Killed => member.server().kill().await,
        }
    }

    async fn end(self, member: &Standalone) -> Result<()> {
        match self {
            Self::Stopped => member.server().resume(),
            Self::Killed => member.server().restart().await,
        }
    }
}

/// Who is away in this round, and how.
fn faults(round: usize) -> [(usize, Fault); 2] {
    let kinds = [
        [Fault::Stopped, Fault::Stopped],
        [Fault::Stopped, Fault::Killed],
        [Fault::Killed, Fault::Killed],
    ];
    let [one, other] = kinds[round % kinds.len()];
    let apart = 1 + round / MEMBERS % (MEMBERS - 1);
    [(round % MEMBERS, one), ((round + apart) % MEMBERS, other)]
}

/// They come back.
async fn recover(faults: [(usize, Fault); 2], members: &[Standalone]) -> Result<()> {
    for (member, fault) in faults {
        fault.end(&members[member]).await?;
    }
    Ok(())
}

/// Holds while those come back that have not heard of it. What was certainly protected.
async fn hold(
    holder: &mut Worker,
    back: impl Future<Output = Result<()>>,
) -> Result<Option<Section>> {
    let asked = monotonic()?;
    let acquire = format!("acquire {KEY} {} {}", TTL.as_millis(), BOUND.as_millis());
    let token = holder.granted(&acquire).await?;
    let begin = monotonic()?;
    back.await?;
    tokio::time::sleep(AWAY).await;
    let end = monotonic()?;
    let section = Section {
        kind: Kind::Writer,
        id: String::from("idle"),
        token,
        asked,
        begin,
        end,
        free: end,
    };
    let is_held = holder.ask(&format!("held {KEY}")).await? == "true";
    Ok(is_held.then_some(section))
}

/// How many were granted that asked later.
fn granted_since(logs: &[PathBuf], start: Duration) -> usize {
    let texts = logs
        .iter()
        .filter_map(|log| std::fs::read_to_string(log).ok());
    let count = |text: String| {
        // The last line may be half written.
        let increments = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Increment>(line).ok());
        increments.filter(|one| one.section.asked > start).count()
    };
    texts.map(count).sum()
}

/// Waits until work went on, whoever is away.
async fn progress(logs: &[PathBuf], what: &str) -> Result<()> {
    let start = monotonic()?;
    poll::until(what, BOUND, || async {
        granted_since(logs, start) >= GRANTS
    })
    .await
}

#[tokio::test]
async fn any_two_of_five_members_may_be_away() -> Result<()> {
    if servers::without("mongodb") {
        return Ok(());
    }
    let _alone = Site::MongoDb.alone().await;
    let members = try_join_all((0..MEMBERS).map(|_| Standalone::start())).await?;
    let urls: Vec<String> = members
        .iter()
        .map(|member| member.url() + "quorum")
        .collect();
    differ(&urls).await?;
    let url = SCHEME.to_owned() + &urls.join(" ");
    let mut team = Team::start(&url, PROCESSES).await?;
    let folder = tempfile::tempdir()?;
    let (counter, over) = (folder.path().join("counter"), folder.path().join("over"));
    increments::set(&counter, 0)?;
    let mut logs = Vec::new();
    for index in 0..PROCESSES {
        logs.push(team.log());
        let task = Task::Increments(Increments {
            log: logs[index].clone(),
            counter: counter.clone(),
            over: over.clone(),
        });
        tell(&mut team.workers[index], &task).await?;
    }

    let mut idle = Vec::new();
    let rounds = usual_or_full(5, 60);
    for round in 0..rounds {
        let faults = faults(round);
        for (member, fault) in faults {
            fault.begin(&members[member]).await?;
        }
        if round == rounds / 2 {
            let mut holder = team.workers.pop().context("no worker")?;
            idle.extend(hold(&mut holder, recover(faults, &members)).await?);
            // It certainly holds.
            holder.kill().await?;
            continue;
        }
        let what = format!("grants in round {round}, without {faults:?}");
        let (worked, ()) = tokio::join!(progress(&logs, &what), tokio::time::sleep(AWAY));
        worked?;
        recover(faults, &members).await?;
    }
    progress(&logs, "grants with all members").await?;
    std::fs::write(&over, "")?;
    try_join_all(team.workers.iter_mut().map(done)).await?;

    let increments: Vec<Increment> = team.entries()?;
    judge(&increments, &idle)?;
    report(
        Site::MongoDb,
        "quorum",
        format_args!("{rounds} rounds: {}", figures(&increments)),
    );
    Ok(())
}
