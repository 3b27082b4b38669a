//! A stream of leases that may stand side by side, without a gap, and somebody who wants the lock in another way.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use doclock::LockClient;
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};

use super::loops::{Loop, Loops, Until};
use super::sections::{Kind, Log, Section, check};
use super::team::Team;
use super::{Task, longest, median, report, usual_or_full};
use crate::processes::site::{Site, on_every_server};

/// Long enough that the polls of who waits make little of it, and so short that two cores bear a stream of them.
fn hold() -> Duration {
    Duration::from_millis(usual_or_full(500, 300))
}

/// How long each of the others rests before it comes again.
fn rest() -> Duration {
    Duration::from_millis(usual_or_full(500, 1000))
}

/// So many of the stream hold at once that there is never a gap.
const CROWD: usize = 3;

/// One after the other comes, whether those before have been granted or not.
#[derive(Serialize, Deserialize)]
pub struct Stream {
    log: PathBuf,
    one: Loop,
    every: Duration,
    span: Duration,
}

impl Stream {
    pub async fn run(self, locks: &LockClient) -> Result<()> {
        let log = Log::open(&self.log)?;
        let count = self.span.as_millis() / self.every.as_millis();
        let comers = (0..u32::try_from(count)?).map(|number| self.comer(number, locks, &log));
        try_join_all(comers).await?;
        Ok(())
    }

    async fn comer(&self, number: u32, locks: &LockClient, log: &Log) -> Result<()> {
        tokio::time::sleep(self.every * number).await;
        self.one.once(locks, log).await
    }
}

/// How long the longest of the stream held, and how long each of the others waited.
async fn starve(site: Site, stream: Kind, other: Kind) -> Result<()> {
    let _alone = site.alone().await;
    let mut team = Team::start(&site.fresh().await?, 3).await?;
    // Of both processes together one comes every 80 ms, or every 10.
    let every = Duration::from_millis(usual_or_full(160, 20));
    let span = usual_or_full(Duration::from_secs(6), Duration::from_secs(20));
    let one = |kind, held| Loop {
        key: "stream".to_owned(),
        kind,
        fair: false,
        hold: held,
        rest: rest(),
        until: Until::Over(span - hold()),
    };
    let sections: Vec<Section> = team
        .each(|index, log| match index {
            0 => Task::Loops(Loops {
                log,
                loops: vec![one(other, Duration::from_millis(20))],
            }),
            _ => Task::Stream(Stream {
                log,
                one: one(stream, hold()),
                every,
                span,
            }),
        })
        .await?;
    check(&sections)?;
    let (stream, others): (Vec<Section>, Vec<Section>) = sections
        .into_iter()
        .partition(|section| section.kind == stream);
    assert!(check(&stream)? >= CROWD, "the stream had gaps");
    let holds: Vec<Duration> = stream
        .iter()
        .map(|section| section.free - section.begin)
        .collect();
    let waits = |sections: &[Section]| sections.iter().map(Section::waited).collect::<Vec<_>>();
    let (waits, crowd) = (waits(&others), waits(&stream));
    let (longest_wait, longest_hold) = (longest(&waits), longest(&holds));
    report(
        site,
        "starvation",
        format_args!(
            "{other:?} against {}: waits {longest_wait:.2?} at most, median {:.2?}, of {}; longest hold {longest_hold:.2?}; \
             the stream waits {:.2?} at most, of {}",
            stream[0].kind.mode().name(),
            median(&waits),
            waits.len(),
            longest(&crowd),
            crowd.len(),
        ),
    );
    assert!(
        longest_wait <= 2 * longest_hold,
        "{other:?} waited {longest_wait:?}, the longest hold was {longest_hold:?}"
    );
    Ok(())
}

on_every_server! {
    async fn readers_do_not_starve_a_writer(site: Site) {
        starve(site, Kind::Reader, Kind::Writer).await?;
    }

    async fn readers_do_not_starve_a_permit(site: Site) {
        starve(site, Kind::Reader, Kind::Permit(3)).await?;
    }

    async fn permits_do_not_starve_a_reader(site: Site) {
        starve(site, Kind::Permit(100), Kind::Reader).await?;
    }
}
