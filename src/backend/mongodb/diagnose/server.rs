//! The server, before a collection is looked at.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use mongodb::ServerInfo;
use mongodb::bson::{Document, doc};
use mongodb::options::SelectionCriteria;

use super::super::error::{self, Access};
use super::super::{MongoBackend, READ_TIMEOUT, within};
use crate::diagnosis::{Check, Clocks, Diagnosis, Pings};
use crate::time::{Clock, SystemClock, Timestamp};
use crate::{Error, ErrorKind, Result};

/// The `maxWireVersion` of MongoDB 5.0.
const OLDEST: i32 = 13;

/// What the server says of itself.
pub(super) struct Topology(Document);

/// An answer to `hello`, and what both clocks showed.
struct Hello {
    answer: Document,
    clocks: Clocks,
}

impl MongoBackend {
    /// `None`: nothing more can be looked at.
    pub(super) async fn examine_server(&self, diagnosis: &mut Diagnosis) -> Option<Topology> {
        let mut pings = Pings::default();
        let mut hello = None;
        while !pings.are_enough() {
            match self.hello(None).await {
                Ok((answer, took)) => {
                    hello = pings.took(took).then_some(answer).or(hello);
                }
                Err(error) => {
                    diagnosis.note(Check::unreached(&error));
                    return None;
                }
            }
        }
        let Hello { answer, clocks } = hello?;
        diagnosis.note(pings.check());
        let topology = Topology(answer);
        let goes_on = diagnosis.note(self.version(&topology).await);
        if !diagnosis.note(topology.check()) || !goes_on {
            return None;
        }
        diagnosis.note(clocks.check(None));
        if topology.hosts().len() > 1 {
            diagnosis.note(self.compare_clocks(&topology).await);
        }
        Some(topology)
    }

    /// Asks the server that commands go to, or another.
    async fn hello(&self, server: Option<&str>) -> Result<(Hello, Duration)> {
        let database = self.collection.client().database("admin");
        let mut command = database.run_command(doc! { "hello": 1_i32 });
        if let Some(address) = server {
            let address = address.to_owned();
            let is_it = move |server: &ServerInfo<'_>| server.address().to_string() == address;
            command = command.selection_criteria(SelectionCriteria::Predicate(Arc::new(is_it)));
        }
        let sent = SystemClock.now();
        let answered = within(READ_TIMEOUT, async {
            let answered = command.await;
            answered.map_err(|error| error::convert(error, Access::Read))
        });
        let answer = answered.await?;
        let received = SystemClock.now();
        let took = received.at_least_since(sent);
        let server = answer.get_datetime("localTime").map_err(|error| {
            let message = "the server does not tell its time: use MongoDB 5.0 or newer";
            Error::new(ErrorKind::Unsupported, message).with_source(error)
        })?;
        let earliest = Timestamp::from_millis(server.timestamp_millis());
        let clocks = Clocks {
            local: received.wall,
            earliest,
            latest: earliest.saturating_add(took + Duration::from_millis(1)),
        };
        Ok((Hello { answer, clocks }, took))
    }

    async fn version(&self, topology: &Topology) -> Check {
        const NAME: &str = "version";
        let database = self.collection.client().database("admin");
        let info = within(READ_TIMEOUT, async {
            let info = database.run_command(doc! { "buildInfo": 1_i32 }).await;
            info.map_err(|error| error::convert(error, Access::Read))
        });
        let info = info.await.unwrap_or_default();
        let found = format!("MongoDB {}", info.get_str("version").unwrap_or("?"));
        if topology.0.get_i32("maxWireVersion").unwrap_or_default() < OLDEST {
            return Check::fail(NAME, found, "use MongoDB 5.0 or newer");
        }
        Check::ok(NAME, found)
    }

    /// Locks bear a difference of `clock_skew` between the servers that may become primary, and no more.
    async fn compare_clocks(&self, topology: &Topology) -> Check {
        let hosts = topology.hosts();
        let asked = hosts.iter().map(|host| self.hello(Some(host)));
        let answers: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
        let clocks: Vec<_> = answers.into_iter().map(|(hello, _)| hello.clocks).collect();
        judge_clocks(&clocks, hosts.len(), self.skew)
    }
}

fn judge_clocks(clocks: &[Clocks], members: usize, skew: Duration) -> Check {
    const NAME: &str = "server clocks";
    let apart = Clocks::apart(clocks);
    let found = format!(
        "{} of {members} members asked, {} ms apart at least",
        clocks.len(),
        apart.as_millis()
    );
    if apart > skew {
        let remedy = format!(
            "have the servers' clocks synchronised (NTP): beyond {skew:?} a lease may be taken early after a failover"
        );
        return Check::fail(NAME, found, remedy);
    }
    if clocks.len() < members {
        return Check::warn(
            NAME,
            found,
            "see that the others are up: without a majority nothing is locked; and use no `directConnection`",
        );
    }
    Check::ok(NAME, found)
}

impl Topology {
    /// Change streams take a replica set.
    pub(super) fn has_streams(&self) -> bool {
        self.is_sharded() || self.set().is_some()
    }

    fn is_sharded(&self) -> bool {
        self.0
            .get_str("msg")
            .is_ok_and(|message| message == "isdbgrid")
    }

    fn set(&self) -> Option<&str> {
        self.0.get_str("setName").ok()
    }

    /// The members that hold data and may become primary.
    fn hosts(&self) -> Vec<&str> {
        let hosts = self.0.get_array("hosts").map(Vec::as_slice);
        let hosts = hosts.unwrap_or_default().iter();
        hosts.filter_map(|host| host.as_str()).collect()
    }

    fn check(&self) -> Check {
        const NAME: &str = "topology";
        if self.is_sharded() {
            let found = "sharded cluster: releases are told late, so waiters poll as well";
            return Check::ok(NAME, found);
        }
        let Some(set) = self.set() else {
            return Check::warn(
                NAME,
                "standalone server",
                "locks are lost with its disk, and waiters poll, for want of change streams: use a replica set, of \
                 one member if need be",
            );
        };
        let members = self.hosts().len();
        let found = format!("replica set `{set}` of {members}");
        if !self.0.get_bool("isWritablePrimary").unwrap_or_default() {
            let remedy = "lead to the set and not to one member: name several hosts or `replicaSet` in the URL, and no \
                 `directConnection`";
            return Check::fail(NAME, format!("{found}, not its primary"), remedy);
        }
        if members < 2 {
            let remedy =
                "locks are lost with its disk, and stand still while it is away: add members";
            return Check::warn(NAME, found, remedy);
        }
        Check::ok(NAME, found)
    }
}

#[cfg(test)]
mod tests;
