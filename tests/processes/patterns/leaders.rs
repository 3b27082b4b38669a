//! Leaders that are killed or stopped, and what all of them write to one resource.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::resource::{Lead, Resource, Write};
use super::team::Team;
use super::{Task, longest, median, report, tell, usual_or_full};
use crate::processes::site::on_every_server;
use crate::processes::workers::Worker;

const TTL: Duration = Duration::from_secs(2);
const CANDIDATES: usize = 3;
/// A leader does this much before it falls.
const WRITES: usize = 5;

async fn campaign(worker: &mut Worker, writer: usize, resource: &Resource) -> Result<()> {
    let lead = Lead {
        key: "leader".to_owned(),
        ttl: TTL,
        writer,
        resource: resource.addr,
    };
    tell(worker, &Task::Lead(lead)).await
}

/// Each term is one leader's, and nobody writes in an old term but who was stopped in the middle of a write, once each
/// time.
fn check(attempts: &[Write], stops: &[usize]) -> Result<usize> {
    let mut leaders = BTreeMap::new();
    for write in attempts {
        let leader = leaders.entry(write.term).or_insert(write.writer);
        ensure!(*leader == write.writer, "a term of two leaders: {write:?}");
    }
    let mut highest = 0;
    let mut stale = Vec::new();
    for write in attempts {
        let is_new = write.term >= highest;
        ensure!(is_new == write.accepted, "the resource erred: {write:?}");
        highest = highest.max(write.term);
        stale.extend((!is_new).then_some(write.writer));
    }
    for writer in 0..CANDIDATES {
        let count = |of: &[usize]| of.iter().filter(|other| **other == writer).count();
        let (stale, stops) = (count(&stale), count(stops));
        ensure!(
            stale <= stops,
            "candidate {writer}, stopped {stops} times, wrote {stale} times in an old term"
        );
    }
    Ok(stale.len())
}

on_every_server! {
    async fn one_leads_at_a_time(site: Site) {
        let _alone = site.alone().await;
        let url = site.fresh().await?;
        let resource = Resource::start().await?;
        let mut team = Team::start(&url, CANDIDATES).await?;
        for (writer, worker) in team.workers.iter_mut().enumerate() {
            campaign(worker, writer, &resource).await?;
        }
        let rounds = usual_or_full(6, 50);
        let (mut times, mut stops) = (Vec::new(), Vec::new());
        let mut leader = resource.next_term(0).await?;
        for round in 0..rounds {
            resource.written(leader.term, WRITES).await?;
            let worker = &mut team.workers[leader.writer];
            let fell = Instant::now();
            let next = if round % 2 == 0 {
                let fresh = Worker::start(&url).await?;
                let fell = Instant::now();
                std::mem::replace(worker, fresh).kill().await?;
                let next = resource.next_term(leader.term).await?;
                times.push(next.at - fell);
                campaign(&mut team.workers[leader.writer], leader.writer, &resource).await?;
                next
            } else {
                worker.pause()?;
                stops.push(leader.writer);
                let next = resource.next_term(leader.term).await?;
                times.push(next.at - fell);
                // Its successor is at work when it goes on.
                resource.written(next.term, WRITES).await?;
                team.workers[leader.writer].resume()?;
                next
            };
            leader = next;
        }
        resource.written(leader.term, WRITES).await?;
        let attempts = resource.attempts();
        let stale = check(&attempts, &stops)?;
        let (longest, bound) = (longest(&times), site.takeover(TTL));
        report(
            site,
            "leaders",
            format_args!(
                "{rounds} fell; next one after {:.2?}, at most {longest:.2?}, bound {bound:.2?}; {} writes, {stale} stale refused",
                median(&times),
                attempts.len(),
            ),
        );
        assert!(longest < bound, "{times:?}");
    }
}
