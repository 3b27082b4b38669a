//! What doclock is compared with: the driver alone.

mod dynamodb;
mod mongodb;

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use doclock::LockClient;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use uuid::Uuid;

use crate::server::{Driver, Site};
use crate::time::Clock;

pub(crate) const TTL: Duration = Duration::from_secs(30);
/// How long who waits without doclock sleeps between two attempts.
const RETRY: Duration = Duration::from_millis(20);

/// How a lock is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    Doclock,
    /// In order of arrival.
    Fair,
    /// By [`ByHand`], again and again.
    Plain,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Doclock => "doclock",
            Self::Fair => "doclock, `fair`",
            Self::Plain => "retry loop by hand",
        })
    }
}

/// The least lock that can be written by hand in the driver's two calls, as durable as doclock's. It trusts this machine's
/// clock, takes a lost answer for contention, and overwrites whatever it finds.
#[derive(Clone)]
pub(crate) struct ByHand(pub(crate) Driver);

impl ByHand {
    /// False if it is held by another.
    pub(crate) async fn take(&self, key: &str, owner: &str) -> Result<bool> {
        match &self.0 {
            Driver::Mongo(database) => mongodb::take(database, key, owner).await,
            Driver::Dynamo(client) => dynamodb::take(client, key, owner).await,
        }
    }

    pub(crate) async fn give_back(&self, key: &str, owner: &str) -> Result<()> {
        match &self.0 {
            Driver::Mongo(database) => mongodb::give_back(database, key, owner).await,
            Driver::Dynamo(client) => dynamodb::give_back(client, key, owner).await,
        }
    }

    pub(crate) async fn take_and_release(&self, key: &str) -> Result<()> {
        let owner = Uuid::new_v4().to_string();
        anyhow::ensure!(self.take(key, &owner).await?, "held by another");
        self.give_back(key, &owner).await
    }

    /// Tries until it is granted, and for no longer than until then. False if it was not.
    pub(crate) async fn wait(&self, key: &str, owner: &str, until: Duration) -> Result<bool> {
        while !self.take(key, owner).await? {
            sleep(RETRY).await;
            if Clock::WALL.now()? >= until {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

pub(crate) async fn take_and_release(locks: &LockClient, key: &str) -> Result<()> {
    let lease = locks.lock(key).ttl(TTL).try_acquire().await?;
    Ok(lease.context("held by another")?.release().await?)
}

/// The requests of two rounds of [`take_and_release`]: after the other, neither looks like a late duplicate of itself.
pub(crate) enum Recorded {
    Mongo(Vec<::mongodb::bson::Document>),
    Dynamo(Vec<aws_sdk_dynamodb::operation::update_item::UpdateItemInput>),
}

impl Recorded {
    pub(crate) async fn new(site: &Site, key: &str) -> Result<Self> {
        match site.driver(None).await? {
            Driver::Mongo(_) => Ok(Self::Mongo(mongodb::record(&site.url, key).await?)),
            Driver::Dynamo(client) => Ok(Self::Dynamo(dynamodb::record(&client, key).await?)),
        }
    }

    /// Sends those of a round again by the driver alone, for another key.
    pub(crate) async fn resend(&self, driver: &Driver, key: &str, round: usize) -> Result<()> {
        let first = 2 * (round % 2);
        match (self, driver) {
            (Self::Mongo(commands), Driver::Mongo(database)) => {
                mongodb::resend(database, key, &commands[first..first + 2]).await
            }
            (Self::Dynamo(requests), Driver::Dynamo(client)) => {
                dynamodb::resend(client, key, &requests[first..first + 2]).await
            }
            _ => anyhow::bail!("recorded on another database"),
        }
    }
}
