//! Records that are none of ours, or broken: nothing can be done with them, and they stay as they are.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_dynamodb::types::AttributeValue;
use doclock::{
    AcquireRequest, Backend, DynamoBackend, ErrorKind, Key, LeaseId, LockClient, Mode,
    MongoBackend, Owner, ReleaseRequest, RenewRequest, Ttl,
};
use fastrand::Rng;
use mongodb::Collection;
use mongodb::bson::{RawDocumentBuf, doc, rawdoc};
use tokio::time::timeout;

use crate::client::TTL;
use crate::faults::Faults;
use crate::history::What;
use crate::skewed;

/// Somebody's own data, a record of a later format, and one whose token is no number.
const KEYS: [&str; 3] = ["foreign-data", "foreign-format", "foreign-token"];
/// Longer than the drivers try.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where they lie, past the library.
enum Store {
    Mongo(Collection<RawDocumentBuf>),
    Dynamo(aws_sdk_dynamodb::Client, String),
}

/// One of them as it is stored.
#[derive(PartialEq)]
enum Stored {
    Document(Vec<u8>),
    Item(HashMap<String, AttributeValue>),
}

/// All of them as they were put there.
pub(crate) struct Foreign {
    store: Store,
    put: Vec<(&'static str, Stored)>,
}

impl Foreign {
    pub(crate) async fn put(url: &str) -> Result<Self> {
        let store = Store::open(url).await?;
        let mut put = Vec::new();
        for key in KEYS {
            store.put(key).await?;
            put.push((key, store.get(key).await?));
        }
        Ok(Self { store, put })
    }

    /// Writes down whether each is as it was.
    pub(crate) async fn note(&self, faults: &Faults) -> Result<()> {
        for (key, put) in &self.put {
            let untouched = self.store.get(key).await? == *put;
            let key = (*key).to_owned();
            faults.note(What::Foreign { key, untouched })?;
        }
        Ok(())
    }
}

impl Store {
    async fn open(url: &str) -> Result<Self> {
        if url.starts_with("mongodb") {
            let collection = skewed::collection(url).await?;
            return Ok(Self::Mongo(collection.clone_with_type()));
        }
        let (client, table) = skewed::table(url)?;
        Ok(Self::Dynamo(client, table.to_owned()))
    }

    async fn put(&self, key: &str) -> Result<()> {
        match self {
            Self::Mongo(collection) => {
                let document = match key {
                    "foreign-data" => rawdoc! { "_id": key, "expiresAt": "never", "mine": true },
                    "foreign-format" => {
                        rawdoc! { "_id": key, "v": 2, "rev": 7_i64, "token": 9_i64 }
                    }
                    _ => rawdoc! { "_id": key, "v": 1, "rev": 7_i64, "token": "9", "holders": [] },
                };
                collection.insert_one(document).await?;
            }
            Self::Dynamo(client, table) => {
                let number = |n: &str| AttributeValue::N(n.to_owned());
                let text = |s: &str| AttributeValue::S(s.to_owned());
                let fields = match key {
                    "foreign-data" => [("expires_at", text("never")), ("mine", text("yes"))],
                    "foreign-format" => [("v", number("2")), ("token", number("9"))],
                    _ => [("v", number("1")), ("token", text("9"))],
                };
                let item = fields.map(|(name, value)| (name.to_owned(), value));
                let put = client.put_item().table_name(table);
                put.set_item(Some(item.into()))
                    .item("pk", text(key))
                    .send()
                    .await?;
            }
        }
        Ok(())
    }

    async fn get(&self, key: &str) -> Result<Stored> {
        match self {
            Self::Mongo(collection) => {
                let found = collection.find_one(doc! { "_id": key }).await?;
                let document = found.with_context(|| format!("{key} is gone"))?;
                Ok(Stored::Document(document.into_bytes()))
            }
            Self::Dynamo(client, table) => {
                let get = client.get_item().table_name(table).consistent_read(true);
                let got = get
                    .key("pk", AttributeValue::S(key.to_owned()))
                    .send()
                    .await?;
                let item = got.item.with_context(|| format!("{key} is gone"))?;
                Ok(Stored::Item(item))
            }
        }
    }
}

/// Does to them whatever can be done to a lock.
pub(crate) struct Meddler(Box<dyn Backend>);

impl Meddler {
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        Ok(Self(if url.starts_with("mongodb") {
            Box::new(MongoBackend::with_collection(
                skewed::collection(url).await?,
            ))
        } else {
            let (client, table) = skewed::table(url)?;
            Box::new(DynamoBackend::new(client, table))
        }))
    }

    /// Once; an error if it was not refused. Whether the record was seen for what it is, and not an outage in the way.
    pub(crate) async fn meddle(&self, locks: &LockClient, rng: &mut Rng) -> Result<bool> {
        let name = KEYS[rng.usize(..KEYS.len())];
        let what = rng.u8(..6);
        let Ok(refused) = timeout(PATIENCE, self.ask(locks, name, what)).await else {
            return Ok(false);
        };
        let Err(error) = refused else {
            bail!("{name}: request {what} was not refused");
        };
        let error = error.downcast::<doclock::Error>()?;
        let seen = error.kind() == ErrorKind::CorruptRecord;
        let outages = [
            ErrorKind::Throttled,
            ErrorKind::Unavailable,
            ErrorKind::OutcomeUnknown,
        ];
        ensure!(seen || outages.contains(&error.kind()), "{name}: {error:?}");
        Ok(seen)
    }

    async fn ask(&self, locks: &LockClient, name: &str, what: u8) -> Result<()> {
        let key = Key::new(name)?;
        let request = AcquireRequest::new(&key, &Owner::random(), Mode::Shared, Ttl::new(TTL)?);
        match what {
            0 => _ = locks.lock(name).ttl(TTL).acquire().await?,
            1 => _ = locks.semaphore(name, 2).ttl(TTL).try_acquire().await?,
            2 => _ = locks.inspect(name).await?,
            3 => _ = locks.force_release(name).await?,
            4 => _ = self.0.renew(&RenewRequest::new(&request, 9, 2)).await?,
            _ => {
                let id = LeaseId::random();
                let release = ReleaseRequest::new(&key, &request.owner, &id);
                _ = self.0.release(&release).await?;
            }
        }
        Ok(())
    }
}
