//! Three processes, one leader. The leader is killed, and the next one takes over; that one resigns, and the third one
//! leads at once. The process that starts them only looks on.
//!
//! ```sh
//! cargo run --all-features --example election
//! cargo run --all-features --example election -- --url mongodb://localhost/test
//! ```
//!
//! Without `--url` the locks are in an embedded DynamoDB emulator. In a database of yours it leaves one small record,
//! `example:leader`, which the database's TTL removes after two days.
//!
//! What to copy is `lead` for a candidate, and `look_on` for everybody else.

mod support;

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use doclock::{LeaderWatch, LockClient};
use tokio::time::sleep;

use crate::support::log::Log;
use crate::support::team::{self, Team};

const KEY: &str = "example:leader";
const TTL: Duration = Duration::from_secs(2);
/// What a leader tells the first process now and then.
const WORKED: &str = "worked";

/// Three processes, one leader.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    common: support::Common,
}

/// Campaigns, and works as the leader whenever it is one, until the work is done.
async fn lead(locks: &LockClient, address: &str) -> doclock::Result<()> {
    let election = locks.election(KEY).ttl(TTL).data(&address);
    election
        .run_as_leader(async |leadership| {
            println!("elected, term {}", leadership.term());
            for _ in 0..3 {
                sleep(Duration::from_millis(500)).await; // stands for the work
                println!("{WORKED}");
            }
            println!("resigns");
        })
        .await
}

/// Waits until somebody else leads, or nobody, and says who.
async fn look_on(watch: &mut LeaderWatch) -> doclock::Result<String> {
    Ok(match watch.changed().await? {
        Some(leader) => {
            let address: Option<String> = leader.data()?;
            let address = address.unwrap_or_default();
            format!("{address} leads, term {}", leader.term)
        }
        None => "nobody leads".to_owned(),
    })
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse().common;
    if let Some(number) = args.process {
        let locks = team::join().await?;
        lead(&locks, &format!("process {number}")).await?;
        locks.shutdown().await;
        return Ok(());
    }

    let url = args.database().await?;
    let locks = doclock::connect(&url).await?;
    let mut watch = locks
        .election(KEY)
        .watch()?
        .every(Duration::from_millis(200));
    let mut team = Team::start(&url, 3, &[]).await?;
    println!("3 candidates; a leader leads for {TTL:?} without renewal.");
    println!();
    let log = Log::start()?;
    team.begin_all().await?;
    let (mut worked, mut elected) = (0, 0);
    loop {
        tokio::select! {
            seen = look_on(&mut watch) => log.event("observer", &seen?),
            line = team.line() => {
                let Some((number, line)) = line else { break };
                if line != WORKED {
                    elected += usize::from(line.starts_with("elected"));
                    log.event(&format!("process {number}"), &line);
                    continue;
                }
                worked += 1;
                if worked == 2 {
                    team.kill(number).await?;
                    log.event(&format!("process {number}"), "is killed");
                }
            }
        }
    }
    drop(log);
    team.end().await?;
    ensure!(
        elected == 3,
        "not everybody led once: please report this bug"
    );
    println!();
    println!("A crash costs the rest of the lease; resigning costs nothing.");
    args.say_what_is_next("docs/patterns/leader_election.md");
    Ok(())
}
