//! Processes that are killed while they hold a document.

use anyhow::{Context, Result, ensure};
use doclock::LeaseId;
use futures_util::future::try_join_all;

use super::bank::{START, table, through};
use crate::processes::site::Site;
use crate::processes::workers::Worker;
use crate::support::servers;

/// How often each process locks the account, and how it ends: see [`clerk`](super::clerk).
const PROCESSES: [(usize, &str); 5] = [
    (10, "done"),
    (10, "done"),
    (3, "holds"),
    (4, "writes"),
    (6, "writes"),
];

/// What a process read under a lease, and whether it knows that it wrote one more.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    token: u64,
    balance: i64,
    written: Written,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Written {
    Yes,
    No,
    Unknown,
}

async fn follow(server: &str, name: &str, (times, end): (usize, &str)) -> Result<Vec<Seen>> {
    // It takes no locks but those of documents.
    let mut worker = Worker::start("memory:").await?;
    worker
        .tell(&format!("account {server} {name} {times} {end}"))
        .await?;
    let mut seen = Vec::new();
    for _ in 0..times {
        let locked = worker.answer("account").await?;
        let numbers = locked.strip_prefix("locked ").context("not locked")?;
        let (token, balance) = numbers.split_once(' ').context("no balance")?;
        seen.push(Seen {
            token: token.parse()?,
            balance: balance.parse()?,
            written: Written::Yes,
        });
    }
    if end == "done" {
        ensure!(worker.answer("account").await? == "done");
        return Ok(seen);
    }
    worker.kill().await?;
    let last = seen.last_mut().context("it never held")?;
    last.written = match end {
        "holds" => Written::No,
        _ => Written::Unknown,
    };
    Ok(seen)
}

/// Whoever comes next, by its token, reads what the one before it wrote: no update is lost, none is applied twice, and none
/// comes late.
async fn case(site: Site, server: &str) -> Result<()> {
    let name = format!("accounts-{}", LeaseId::random());
    if site != Site::MongoDb {
        table(server, &name).await?;
    }
    let bank = through(site, server, &name).await?;
    bank.create("a").await?;
    let all = PROCESSES.map(|process| follow(server, &name, process));
    let mut seen: Vec<_> = try_join_all(all).await?.into_iter().flatten().collect();
    seen.sort_unstable();
    let last = bank.acquire("a", |lock| lock).await?;
    let after = seen.iter().skip(1).map(|next| next.balance);
    let mut balance = START;
    for (one, after) in seen.iter().zip(after.chain([last.balance()])) {
        assert_eq!(one.balance, balance, "{one:?} in {seen:?}");
        let may_be = match one.written {
            Written::Yes => 1..=1,
            Written::No => 0..=0,
            Written::Unknown => 0..=1,
        };
        assert!(may_be.contains(&(after - balance)), "{one:?} in {seen:?}");
        balance = after;
    }
    last.unlock().await?;
    Ok(())
}

#[tokio::test]
async fn what_the_dead_held_is_counted_exactly_in_mongodb() -> Result<()> {
    if servers::without("mongodb") {
        return Ok(());
    }
    case(Site::MongoDb, servers::mongodb_url()).await
}

#[tokio::test]
async fn what_the_dead_held_is_counted_exactly_in_dynamodb_local() -> Result<()> {
    if servers::without("dynamodb-local") {
        return Ok(());
    }
    case(Site::DynamoDbLocal, servers::dynamodb_local_url()).await
}
