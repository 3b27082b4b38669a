//! A worker's clock that is wrong, and clients that go by it.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context, Error, Result};
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use doclock::{Clock, DynamoBackend, LockClient, Moment, MongoBackend, SystemClock, Timestamp};
use mongodb::Collection;
use mongodb::bson::Document;

/// The machine's clock, with the time of day off by some milliseconds and, if so wished, a monotonic half that stands
/// still. As text: `3600000` or `-900`, with `frozen` after a blank.
#[derive(Debug)]
pub struct Skewed {
    offset: AtomicI64,
    frozen: bool,
}

impl Skewed {
    /// The time of day jumps.
    pub fn step(&self, by: i64) {
        self.offset.fetch_add(by, Ordering::SeqCst);
    }
}

impl FromStr for Skewed {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (offset, frozen) = match text.split_once(' ') {
            Some((offset, "frozen")) => (offset, true),
            _ => (text, false),
        };
        Ok(Self {
            offset: AtomicI64::new(offset.parse()?),
            frozen,
        })
    }
}

impl Clock for Skewed {
    fn now(&self) -> Moment {
        let now = SystemClock.now();
        let wall = now.wall.as_millis() + self.offset.load(Ordering::SeqCst);
        let monotonic = if self.frozen {
            Duration::from_secs(1)
        } else {
            now.monotonic
        };
        Moment {
            monotonic,
            wall: Timestamp::from_millis(wall),
        }
    }
}

/// As [`doclock::connect`], with this clock everywhere.
pub async fn connect(url: &str, clock: Arc<Skewed>) -> Result<LockClient> {
    let builder = if url.starts_with("mongodb") {
        LockClient::builder(MongoBackend::with_collection(collection(url).await?))
    } else {
        let (client, table) = table(url)?;
        let backend = DynamoBackend::new(client, table).clock(Arc::<Skewed>::clone(&clock));
        LockClient::builder(backend)
    };
    Ok(builder.clock(clock).build())
}

/// The collection of one of our `mongodb://` URLs.
pub async fn collection(url: &str) -> Result<Collection<Document>> {
    let (url, collection) = url.split_once("&collection=").context("no collection")?;
    let client = mongodb::Client::with_uri_str(url).await?;
    let database = client.default_database().context("no database")?;
    Ok(database.collection(collection))
}

/// A client for the table of one of our `dynamodb://` URLs, and its name.
pub fn table(url: &str) -> Result<(aws_sdk_dynamodb::Client, &str)> {
    let table = url
        .strip_prefix("dynamodb://eu-west-1/")
        .context("another region")?;
    let (table, endpoint) = table.split_once("?endpoint=").context("no endpoint")?;
    let credentials = Credentials::new("doclock", "doclock", None, None, "tests");
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(credentials)
        .endpoint_url(endpoint)
        .build();
    Ok((aws_sdk_dynamodb::Client::from_conf(config), table))
}
