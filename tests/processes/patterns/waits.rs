//! How long the unluckiest waits.

use std::time::Duration;

use anyhow::Result;

use super::loops::{Loop, Until};
use super::sections::{Kind, check};
use super::team::Team;
use super::{alone, longest, median, report, usual_or_full};
use crate::processes::site::on_every_server;

const PROCESSES: usize = 4;
/// In each process.
const WAITERS: usize = 4;

/// How long each wait was.
async fn waits(url: &str, key: &str, fair: bool) -> Result<Vec<Duration>> {
    let waiter = Loop {
        key: key.to_owned(),
        kind: Kind::Writer,
        fair,
        hold: Duration::from_millis(20),
        rest: Duration::ZERO,
        until: Until::Over(usual_or_full(
            Duration::from_secs(10),
            Duration::from_mins(1),
        )),
    };
    let mut team = Team::start(url, PROCESSES).await?;
    let sections = team.loops(&vec![waiter; WAITERS]).await?;
    check(&sections)?;
    Ok(sections
        .iter()
        .map(super::sections::Section::waited)
        .collect())
}

on_every_server! {
    async fn no_fair_wait_is_twice_as_long_as_most(site: Site) {
        let _alone = alone(site).await;
        let url = site.fresh().await?;
        let fair = waits(&url, "fair", true).await?;
        let unfair = waits(&url, "unfair", false).await?;
        let (most, longest_fair) = (median(&fair), longest(&fair));
        report(
            site,
            "longest wait",
            format_args!(
                "fair {longest_fair:.2?}, median {most:.2?}, {} grants; unfair {:.2?}, median {:.2?}, {} grants",
                fair.len(),
                longest(&unfair),
                median(&unfair),
                unfair.len(),
            ),
        );
        assert!(longest_fair <= 2 * most, "{longest_fair:?}, the median is {most:?}");
    }
}
