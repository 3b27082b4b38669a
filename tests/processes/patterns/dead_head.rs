//! The first in the queue is killed while it waits.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use doclock::LockClient;
use futures_util::future::try_join_all;

use super::loops::{Loop, Loops, Until};
use super::sections::Kind;
use super::team::Team;
use super::{Task, done, longest, median, report, tell, usual_or_full};
use crate::processes::site::{Site, on_every_server};
use crate::support::poll;

const PATIENCE: Duration = Duration::from_secs(20);

/// How long after the release the next one must have it: one claim and two seconds.
fn bound(site: Site) -> Duration {
    let claim = match site {
        Site::MongoDb => Duration::from_secs(3),
        // And up to a second by which the server's time is not known.
        Site::Dynoxide | Site::DynamoDbLocal => Duration::from_secs(5),
    };
    claim + Duration::from_secs(2)
}

async fn queues(locks: &LockClient, key: &str, waiters: usize) -> Result<()> {
    poll::until("they queue", PATIENCE, || async {
        let record = locks.inspect(key).await.ok().flatten();
        record.is_some_and(|record| record.queue.len() == waiters)
    })
    .await
}

/// How long after the release the second one was granted.
async fn round(url: &str, key: String) -> Result<Duration> {
    let locks = doclock::connect(url).await?;
    let holder = locks.lock(&key).acquire().await?;
    let mut team = Team::start(url, 2).await?;
    for index in 0..2 {
        let waiter = Loop {
            key: key.clone(),
            kind: Kind::Writer,
            fair: true,
            hold: Duration::ZERO,
            rest: Duration::ZERO,
            until: Until::Times(1),
        };
        let task = Task::Loops(Loops {
            log: team.log(),
            loops: vec![waiter],
        });
        tell(&mut team.workers[index], &task).await?;
        queues(&locks, &key, index + 1).await?;
    }
    let head = team.workers.remove(0);
    head.kill().await?;
    let record = locks.inspect(&key).await?;
    let standing = record.map_or(0, |record| record.queue.len());
    ensure!(
        standing == 2,
        "the dead one left the queue: nothing to show"
    );
    let released = Instant::now();
    holder.release().await?;
    done(&mut team.workers[0]).await?;
    Ok(released.elapsed())
}

on_every_server! {
    async fn a_dead_head_costs_one_claim(site: Site) {
        let _alone = site.alone().await;
        let url = site.fresh().await?;
        let rounds = usual_or_full(3, 12);
        let rounds = (0..rounds).map(|number| round(&url, format!("dead-{number}")));
        let times = try_join_all(rounds).await?;
        let (longest, bound) = (longest(&times), bound(site));
        report(
            site,
            "dead head",
            format_args!("next one after {:.2?}, at most {longest:.2?}; bound {bound:.2?}", median(&times)),
        );
        assert!(longest <= bound, "{times:?}");
    }
}
