//! The databases, and the drivers' own clients of them.

use std::fmt;

use anyhow::Result;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::config::{Builder, Credentials};
use clap::ValueEnum;
use doclock::{DynamoBackend, LockClient, MongoBackend};
use mongodb::options::ClientOptions;
use serde::{Deserialize, Serialize};

use crate::child::{Child, Role};
use crate::meter::Meter;
use crate::support::servers;

/// The table of doclock, and of what is measured beside it.
pub(crate) const TABLE: &str = "locks";
pub(crate) const DATABASE: &str = "bench";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// A replica set of three
    Mongodb,
    /// An embedded emulator, in a process of its own
    Dynoxide,
    /// AWS's own emulator
    DynamodbLocal,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.pad(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// Where a server listens: all that a child must know of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Site {
    pub(crate) kind: Kind,
    /// The driver's own URL.
    pub(crate) url: String,
}

/// A server of this run.
pub(crate) struct Server {
    pub(crate) site: Site,
    /// Ends with it. The others end with this process, as those of the tests do.
    _process: Option<Child>,
}

impl Server {
    pub(crate) async fn start(kind: Kind) -> Result<Self> {
        let (url, process) = match kind {
            Kind::Mongodb => (servers::mongodb_url().to_owned(), None),
            Kind::DynamodbLocal => (servers::dynamodb_local_url().to_owned(), None),
            Kind::Dynoxide => {
                let mut process = Child::start(&Role::Dynoxide)?;
                (process.hear().await?, Some(process))
            }
        };
        let site = Site { kind, url };
        site.driver(None).await?.locks().setup().await?;
        Ok(Self {
            site,
            _process: process,
        })
    }
}

/// A client of a driver.
#[derive(Clone)]
pub(crate) enum Driver {
    Mongo(mongodb::Database),
    Dynamo(aws_sdk_dynamodb::Client),
}

impl Site {
    /// One with connections of its own, metered or not.
    pub(crate) async fn driver(&self, meter: Option<&Meter>) -> Result<Driver> {
        match self.kind {
            Kind::Mongodb => {
                let mut options = ClientOptions::parse(&self.url).await?;
                options.command_event_handler = meter.map(Meter::commands);
                let client = mongodb::Client::with_options(options)?;
                Ok(Driver::Mongo(client.database(DATABASE)))
            }
            Kind::Dynoxide | Kind::DynamodbLocal => {
                let config = aws_config::defaults(BehaviorVersion::latest())
                    .region(Region::new("eu-west-1"))
                    .endpoint_url(&self.url)
                    .credentials_provider(Credentials::new("local", "local", None, None, "bench"))
                    .load()
                    .await;
                let mut config = Builder::from(&config);
                if let Some(meter) = meter {
                    config = config.interceptor(meter.clone());
                }
                let client = aws_sdk_dynamodb::Client::from_conf(config.build());
                Ok(Driver::Dynamo(client))
            }
        }
    }
}

impl Driver {
    /// doclock on this client.
    pub(crate) fn locks(&self) -> LockClient {
        match self {
            Self::Mongo(database) => LockClient::new(MongoBackend::new(database.clone())),
            Self::Dynamo(client) => LockClient::new(DynamoBackend::new(client.clone(), TABLE)),
        }
    }
}
