//! Many fair waiters on a semaphore, through a network that takes its time: what each grant costs at the wire.

use std::time::Duration;

use anyhow::Result;
use doclock::LeaseId;

use super::loops::{Loop, Until};
use super::sections::{Kind, Section, check};
use super::team::Team;
use super::{longest, median, report, usual_or_full};
use crate::processes::site::{Site, dynamodb_url, mongodb_url, on_every_server};
use crate::support::proxy::Proxy;
use crate::support::servers;
use crate::support::wire::Wire;

const PROCESSES: usize = 4;
/// Each way, so that a round trip takes 20 ms.
const DELAY: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(30);
/// Of each grant: enqueue, claim, release. Whatever else is sent changes nothing but the age of a place, and is a poll: also
/// a claim that another's came before.
const CHANGES_EACH: u32 = 3;
const KEY: &str = "crowd";

/// A table or collection of its own, behind a slow network.
struct Far {
    proxy: Proxy,
    url: String,
    name: String,
}

impl Far {
    async fn new(site: Site) -> Result<Self> {
        let name = format!("crowd-{}", LeaseId::random());
        let dynamodb = async |server: &str| {
            let proxy = Proxy::start(servers::addr_of(server)?, Wire::Http).await?;
            let url = dynamodb_url(&proxy.http_url(), &name);
            anyhow::Ok((proxy, url))
        };
        let (proxy, url) = match site {
            Site::MongoDb => {
                let proxy = Proxy::start(servers::mongodb_primary().await?, Wire::Mongo).await?;
                let url = mongodb_url(&proxy.mongodb_url(), &name);
                (proxy, url)
            }
            Site::Dynoxide => dynamodb(servers::dynoxide_url()).await?,
            Site::DynamoDbLocal => dynamodb(servers::dynamodb_local_url()).await?,
        };
        doclock::connect(&url).await?.setup().await?;
        proxy.delay(DELAY);
        Ok(Self { proxy, url, name })
    }

    /// How many requests came so far.
    fn requests(&self, site: Site) -> Result<u32> {
        let operations: &[&str] = match site {
            Site::MongoDb => &["find", "findAndModify", "update"],
            Site::Dynoxide | Site::DynamoDbLocal => &["GetItem", "UpdateItem", "ExecuteStatement"],
        };
        let counts = operations.iter().map(|name| self.proxy.requests(name));
        Ok(u32::try_from(counts.sum::<usize>())?)
    }

    /// How many of them changed the record; to refresh a place does not count as that.
    async fn changes(&self) -> Result<u32> {
        let locks = doclock::connect(&self.url).await?;
        let record = locks.inspect(KEY).await?;
        Ok(u32::try_from(record.map_or(0, |record| record.rev))?)
    }
}

on_every_server! {
    async fn a_fair_crowd_costs_few_requests(site: Site) {
        let _alone = site.alone().await;
        let far = Far::new(site).await?;
        // In each process; and of how many permits.
        let (loops, limit) = usual_or_full((10, 25), (20, 50));
        let span = usual_or_full(Duration::from_secs(10), Duration::from_mins(1));
        let one = Loop {
            key: KEY.to_owned(),
            kind: Kind::Permit(limit),
            fair: true,
            hold: Duration::from_millis(20),
            rest: Duration::ZERO,
            until: Until::Over(span),
        };
        let mut team = Team::start(&far.url, PROCESSES).await?;
        let sections = team.loops(&vec![one; loops]).await?;
        let (sent, changes) = (far.requests(site)?, far.changes().await?);
        let peak = check(&sections)?;
        let grants = u32::try_from(sections.len())?;
        let waits: Vec<Duration> = sections.iter().map(Section::waited).collect();
        let each = |requests: u32| f64::from(requests) / f64::from(grants);
        let longest = longest(&waits);
        report(
            site,
            "fair crowd",
            format_args!(
                "{:.0} grants/s, {:.2} polls and {:.2} changes each; wait {:.2?}, at most {longest:.2?}; {peak} at once",
                f64::from(grants) / span.as_secs_f64(),
                each(sent - changes),
                each(changes),
                median(&waits),
            ),
        );
        assert!(
            changes <= CHANGES_EACH * grants,
            "{changes} changes for {grants} grants"
        );
        assert!(longest <= LONGEST, "somebody waited {longest:?}");
    }
}
