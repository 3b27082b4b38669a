//! How long the unluckiest waits.

use std::time::Duration;

use anyhow::Result;

use super::loops::{Loop, Until};
use super::sections::{Kind, Section, check};
use super::team::Team;
use super::{longest, median, report, usual_or_full};
use crate::processes::site::on_every_server;

const PROCESSES: usize = 4;
/// In each process.
const WAITERS: usize = 4;

async fn sections(url: &str, key: &str, fair: bool) -> Result<Vec<Section>> {
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
    Ok(sections)
}

fn waits(sections: &[Section]) -> Vec<Duration> {
    sections.iter().map(Section::waited).collect()
}

/// How often others were granted the lock at most while somebody waited for it.
fn passed(sections: &[Section]) -> usize {
    let others = |one: &Section| {
        let during = |other: &&Section| one.asked < other.begin && other.begin < one.begin;
        sections.iter().filter(during).count()
    };
    sections.iter().map(others).max().unwrap_or_default()
}

on_every_server! {
    async fn no_fair_wait_is_longer_than_two_rounds(site: Site) {
        let _alone = site.alone().await;
        let url = site.fresh().await?;
        let fair = sections(&url, "fair", true).await?;
        let passed = passed(&fair);
        let fair = waits(&fair);
        let unfair = waits(&sections(&url, "unfair", false).await?);
        let (most, longest_fair) = (median(&fair), longest(&fair));
        report(
            site,
            "longest wait",
            format_args!(
                "fair {longest_fair:.2?}, median {most:.2?}, {} grants, at most {passed} during a wait; unfair {:.2?}, median {:.2?}, {} grants",
                fair.len(),
                longest(&unfair),
                median(&unfair),
                unfair.len(),
            ),
        );
        let round = PROCESSES * WAITERS;
        assert!(passed <= 2 * round, "{passed} were granted it while one waited, of {round}");
    }
}
