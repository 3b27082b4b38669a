//! Fair waiters are granted in the order in which they came, whichever process they are in and whatever they want.

use std::time::Duration;

use anyhow::{Context, Result};

use super::loops::{Loop, Loops, Until};
use super::sections::{Kind, Section, passed};
use super::team::Team;
use super::{Task, done, report, tell};
use crate::processes::site::{Site, on_every_server};
use crate::support::poll;

const PROCESSES: usize = 4;
const WAITERS: usize = 12;
/// Between two arrivals, at least.
const STAGGER: Duration = Duration::from_millis(250);
/// What must not be passed came so much earlier.
const APART: Duration = Duration::from_millis(200);
const QUEUED: Duration = Duration::from_secs(20);

const WRITERS: [Kind; WAITERS] = [Kind::Writer; WAITERS];
const MIXED: [Kind; WAITERS] = [
    Kind::Writer,
    Kind::Reader,
    Kind::Reader,
    Kind::Permit(2),
    Kind::Writer,
    Kind::Permit(2),
    Kind::Permit(2),
    Kind::Permit(2),
    Kind::Reader,
    Kind::Writer,
    Kind::Reader,
    Kind::Permit(2),
];

/// What those who stood in line did, and the line as the record showed it: ids in order of arrival.
struct Line {
    sections: Vec<Section>,
    ids: Vec<String>,
}

impl Line {
    fn place(&self, section: &Section) -> Option<usize> {
        self.ids.iter().position(|id| *id == section.id)
    }
}

/// One waiter after the other comes, while somebody holds who gives back once all are there.
async fn line_up(url: &str, kinds: [Kind; WAITERS], fair: bool) -> Result<Line> {
    let locks = doclock::connect(url).await?;
    let mut team = Team::start(url, PROCESSES).await?;
    let holder = locks.lock("line").acquire().await?;
    for (index, kind) in kinds.into_iter().enumerate() {
        let waiter = Loop {
            key: "line".to_owned(),
            kind,
            fair,
            hold: Duration::from_millis(20),
            rest: Duration::ZERO,
            until: Until::Times(1),
        };
        let task = Task::Loops(Loops {
            log: team.log(),
            loops: vec![waiter],
        });
        tell(&mut team.workers[index % PROCESSES], &task).await?;
        // That the next one comes later is what is tested, by its own clock.
        tokio::time::sleep(STAGGER).await;
        if fair {
            poll::until("it queues", QUEUED, || async {
                let record = locks.inspect("line").await.ok().flatten();
                record.is_some_and(|record| record.queue.len() == index + 1)
            })
            .await?;
        }
    }
    let record = locks.inspect("line").await?.context("no record")?;
    holder.release().await?;
    for index in 0..WAITERS {
        done(&mut team.workers[index % PROCESSES]).await?;
    }
    let queue = record.queue.iter();
    Ok(Line {
        sections: team.entries()?,
        ids: queue.map(|waiter| waiter.claimant.id.to_string()).collect(),
    })
}

async fn in_order(site: Site, kinds: [Kind; WAITERS], name: &str) -> Result<()> {
    let came_before = |first: &Section, second: &Section| first.came_before(second, APART);
    let line = line_up(&site.fresh().await?, kinds, true).await?;
    assert_eq!(line.sections.len(), WAITERS);
    let first = line.sections.iter().map(|section| section.begin).min();
    let last = line.sections.iter().map(|section| section.begin).max();
    let took = last.unwrap_or_default() - first.unwrap_or_default();
    let in_line = |first: &Section, second: &Section| line.place(first) < line.place(second);
    for passed in [
        passed(&line.sections, in_line),
        passed(&line.sections, came_before),
    ] {
        assert!(passed.is_empty(), "passed: {passed:#?}");
    }
    // The same without a line, to see what order chance makes.
    let unfair = line_up(&site.fresh().await?, kinds, false).await?;
    let chance = passed(&unfair.sections, came_before).len();
    report(
        site,
        name,
        format_args!(
            "{WAITERS} in order, in {took:.2?}; unfair: {chance} pairs the other way round"
        ),
    );
    Ok(())
}

on_every_server! {
    async fn writers_are_granted_in_order(site: Site) {
        let _alone = site.alone().await;
        in_order(site, WRITERS, "order, writers").await?;
    }

    async fn whoever_excludes_another_is_granted_in_order(site: Site) {
        let _alone = site.alone().await;
        in_order(site, MIXED, "order, modes mixed").await?;
    }
}
