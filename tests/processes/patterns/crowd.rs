//! Many fair waiters on a semaphore, through a network that takes its time: what each grant costs at the wire.

use std::time::Duration;

use anyhow::Result;
use doclock::LeaseId;
use mongodb::bson::{Document, doc};

use super::loops::{Loop, Until};
use super::sections::{Kind, Section, check};
use super::team::Team;
use super::{alone, longest, median, report, usual_or_full};
use crate::processes::site::{Site, dynamodb_url, mongodb_url, on_every_server};
use crate::support::proxy::Proxy;
use crate::support::servers;
use crate::support::wire::Wire;

const PROCESSES: usize = 4;
/// Each way, so that a round trip takes 20 ms.
const DELAY: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(30);
/// Of each grant, beside the polls: enqueue, claim, release.
const REQUESTS_EACH: u32 = 3;
/// So often a waiter's place is refreshed besides.
const REFRESH: Duration = Duration::from_secs(2);

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

    /// How many came so far.
    async fn requests(&self, site: Site) -> Result<Requests> {
        let sum = |operations: &[&str]| {
            let counts = operations.iter().map(|name| self.proxy.requests(name));
            u32::try_from(counts.sum::<usize>())
        };
        if site == Site::MongoDb {
            let client = mongodb::Client::with_uri_str(servers::mongodb_url()).await?;
            let oplog = client.database("local").collection::<Document>("oplog.rs");
            let ours = doc! { "ns": format!("processes.{}", self.name) };
            let others = u32::try_from(oplog.count_documents(ours).await?)?;
            let polls = sum(&["find", "findAndModify", "update"])?.saturating_sub(others);
            return Ok(Requests { polls, others });
        }
        Ok(Requests {
            polls: sum(&["GetItem"])?,
            others: sum(&["UpdateItem", "BatchExecuteStatement", "ExecuteStatement"])?,
        })
    }
}

/// Polls: reads, and on MongoDB whatever changed nothing.
struct Requests {
    polls: u32,
    others: u32,
}

on_every_server! {
    async fn a_fair_crowd_costs_few_requests(site: Site) {
        let _alone = alone(site).await;
        let far = Far::new(site).await?;
        // In each process; and of how many permits.
        let (loops, limit) = usual_or_full((10, 25), (20, 50));
        let span = usual_or_full(Duration::from_secs(10), Duration::from_mins(1));
        let one = Loop {
            key: "crowd".to_owned(),
            kind: Kind::Permit(limit),
            fair: true,
            hold: Duration::from_millis(20),
            rest: Duration::ZERO,
            until: Until::Over(span),
        };
        let mut team = Team::start(&far.url, PROCESSES).await?;
        let before = far.requests(site).await?;
        let sections = team.loops(&vec![one; loops]).await?;
        let requests = far.requests(site).await?;
        let (polls, others) = (requests.polls - before.polls, requests.others - before.others);
        let peak = check(&sections)?;
        let grants = u32::try_from(sections.len())?;
        let waits: Vec<Duration> = sections.iter().map(Section::waited).collect();
        let each = |requests: u32| f64::from(requests) / f64::from(grants);
        let longest = longest(&waits);
        report(
            site,
            "fair crowd",
            format_args!(
                "{:.0} grants/s, {:.2} polls and {:.2} others each; wait {:.2?}, at most {longest:.2?}; {peak} at once",
                f64::from(grants) / span.as_secs_f64(),
                each(polls),
                each(others),
                median(&waits),
            ),
        );
        let refreshes = waits.iter().map(|wait| wait.as_secs() / REFRESH.as_secs());
        // On DynamoDB a claim that another's came before changes nothing, and is seen as a write all the same.
        let races = grants / 20;
        let most = REQUESTS_EACH * grants + u32::try_from(refreshes.sum::<u64>())? + races;
        assert!(others <= most, "{others} requests for {grants} grants, {most} allowed");
        assert!(longest <= LONGEST, "somebody waited {longest:?}");
    }
}
