//! Processes that lock the same keys together, each in another order.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use doclock::LockClient;
use serde::{Deserialize, Serialize};

use super::sections::{Kind, Log, Section, check, monotonic};
use super::team::Team;
use super::{Task, longest, median, report, usual_or_full};
use crate::processes::site::on_every_server;

const KEYS: [&str; 3] = ["a", "b", "c"];
const TTL: Duration = Duration::from_secs(10);
/// Who waits as long waits for ever: a deadlock.
const PATIENCE: Duration = Duration::from_mins(1);

/// Takes these keys together, again and again.
#[derive(Serialize, Deserialize)]
pub struct Sets {
    log: PathBuf,
    keys: Vec<String>,
    times: usize,
}

impl Sets {
    pub async fn run(self, locks: &LockClient) -> Result<()> {
        let log = Log::open(&self.log)?;
        for _ in 0..self.times {
            let set = locks.all(self.keys.clone()).ttl(TTL).wait(PATIENCE);
            let asked = monotonic()?;
            let leases = set.acquire().await?;
            let begin = monotonic()?;
            tokio::time::sleep(Duration::from_millis(5)).await;
            let end = monotonic()?;
            ensure!(leases.is_held(), "lost: {leases:?}");
            let first = leases.leases().first().context("no lease")?;
            let (id, token) = (first.id().to_string(), first.token());
            leases.release().await?;
            log.write(&Section {
                kind: Kind::Writer,
                id,
                token,
                asked,
                begin,
                end,
                free: monotonic()?,
            })?;
        }
        Ok(())
    }
}

on_every_server! {
    async fn sets_in_any_order_never_deadlock(site: Site) {
        let _alone = site.alone().await;
        let url = site.fresh().await?;
        let locks = doclock::connect(&url).await?;
        let mut team = Team::start(&url, 2).await?;
        let times = usual_or_full(30, 200);
        let sections: Vec<Section> = team
            .each(|index, log| {
                let mut keys = KEYS.map(str::to_owned).to_vec();
                if index == 1 {
                    keys.reverse();
                }
                Task::Sets(Sets { log, keys, times })
            })
            .await?;
        assert_eq!(sections.len(), 2 * times);
        check(&sections)?;
        for key in KEYS {
            let record = locks.inspect(key).await?.context("no record")?;
            assert!(record.holders.is_empty() && record.queue.is_empty(), "left over: {record:?}");
        }
        let waits: Vec<Duration> = sections.iter().map(Section::waited).collect();
        report(
            site,
            "sets",
            format_args!("2 × {times} sets of 3; wait {:.2?}, at most {:.2?}", median(&waits), longest(&waits)),
        );
    }
}
