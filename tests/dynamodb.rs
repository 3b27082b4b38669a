//! The DynamoDB backend against AWS's own emulator and the embedded one.

mod claims;
mod clock;
mod corrupt;
mod handing;
mod items;
mod jobs;
mod many;
mod meddling;
mod once;
mod queue;
mod requests;
mod setup;
mod stale;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::AttributeValue;
use doclock::{
    AcquireOutcome, AcquireRequest, Backend, Contention, DynamoBackend, Grant, Key, LockRecord,
    Mode, Owner, Queueing, ReleaseRequest, Ttl,
};
use sha2::{Digest, Sha256};

use crate::support::counter::Counter;

type Item = HashMap<String, AttributeValue>;

/// One named test per case and emulator.
macro_rules! on_both {
    ($($(#[$doc:meta])* async fn $name:ident($server:ident: Server) $body:block)*) => {$(
        mod $name {
            use super::*;

            $(#[$doc])*
            async fn case($server: Server) -> Result<()> {
                $body
                Ok(())
            }

            #[tokio::test]
            async fn dynamodb_local() -> Result<()> {
                if crate::support::servers::without("dynamodb-local") {
                    return Ok(());
                }
                case(Server::at(crate::support::servers::dynamodb_local_url())).await
            }

            #[tokio::test]
            async fn dynoxide() -> Result<()> {
                if crate::support::servers::without("dynoxide") {
                    return Ok(());
                }
                case(Server::at(crate::support::servers::dynoxide_url())).await
            }
        }
    )*};
}
use on_both;

/// An emulator, seen through a client that counts what it puts on the wire.
struct Server {
    client: Client,
    sent: Arc<AtomicUsize>,
    address: String,
}

impl Server {
    fn at(url: &str) -> Self {
        let sent = Arc::new(AtomicUsize::new(0));
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .credentials_provider(Credentials::new("doclock", "doclock", None, None, "tests"))
            .endpoint_url(url)
            .interceptor(Counter(Arc::clone(&sent)))
            .build();
        Self {
            client: Client::from_conf(config),
            sent,
            address: url.trim_start_matches("http://").to_owned(),
        }
    }

    /// A backend as a new process would have it, on a new table.
    async fn backend(&self) -> Result<(DynamoBackend, String)> {
        let table = unique("locks");
        let backend = DynamoBackend::new(self.client.clone(), &table);
        backend.setup().await?;
        Ok((backend, table))
    }

    /// A backend of another new process on a table.
    fn cold(&self, table: &str) -> DynamoBackend {
        DynamoBackend::new(self.client.clone(), table)
    }

    /// How many requests an operation took.
    async fn count<T>(&self, operation: impl Future<Output = T>) -> (usize, T) {
        let before = self.sent.load(Ordering::SeqCst);
        let result = operation.await;
        (self.sent.load(Ordering::SeqCst) - before, result)
    }

    async fn item(&self, table: &str, key: &str) -> Result<Option<Item>> {
        let get = self.client.get_item().table_name(table);
        let get = get.key("pk", text(key)).consistent_read(true);
        Ok(get.send().await?.item)
    }

    async fn put(&self, table: &str, item: Item) -> Result<()> {
        let put = self.client.put_item().table_name(table);
        put.set_item(Some(item)).send().await?;
        Ok(())
    }

    /// Lets an entry expire long ago, beside whatever else is written.
    async fn kill(&self, table: &str, map: &str, request: &AcquireRequest) -> Result<()> {
        let update = self.client.update_item().table_name(table);
        let update = update
            .key("pk", text(request.key.as_str()))
            .update_expression("SET #map.#entry.expires_at = :past")
            .expression_attribute_names("#map", map)
            .expression_attribute_names("#entry", entry_key(&request.owner))
            .expression_attribute_values(":past", number(1));
        update.send().await?;
        Ok(())
    }

    async fn delete(&self, table: &str, key: &str) -> Result<()> {
        let delete = self.client.delete_item().table_name(table);
        delete.key("pk", text(key)).send().await?;
        Ok(())
    }
}

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

fn number(value: impl ToString + Copy) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", Owner::random())
}

fn secs(seconds: u64) -> Ttl {
    Ttl::new(Duration::from_secs(seconds)).expect("a valid ttl")
}

fn request(key: &str, mode: Mode) -> Result<AcquireRequest> {
    Ok(AcquireRequest::new(
        &Key::new(key)?,
        &Owner::random(),
        mode,
        secs(10),
    ))
}

/// Of somebody who always queues.
fn fair(key: &str, mode: Mode) -> Result<AcquireRequest> {
    let mut request = request(key, mode)?;
    request.queueing = Queueing::Fair;
    Ok(request)
}

/// The next attempt of somebody who stands in the queue.
fn poll(request: &AcquireRequest) -> AcquireRequest {
    let mut next = request.clone();
    next.seq += 1;
    (next.queued, next.waiting) = (true, true);
    next
}

/// A record's first token is what the time was at most when it was created: until it is later than that for certain.
async fn until_past(token: u64) -> Result<()> {
    crate::support::poll::until(
        "a later time than the token",
        Duration::from_mins(1),
        || async {
            let now = std::time::UNIX_EPOCH.elapsed();
            now.is_ok_and(|now| now.as_micros() > u128::from(token))
        },
    )
    .await
}

fn ending(request: &AcquireRequest) -> ReleaseRequest {
    ReleaseRequest::new(&request.key, &request.owner, &request.id)
}

/// Where the entries of an owner stand: the first 32 hex digits of its SHA-256.
fn entry_key(owner: &Owner) -> String {
    let digest = Sha256::digest(owner.as_str());
    digest
        .iter()
        .take(16)
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

fn entries<'a>(item: &'a mut Item, map: &str) -> &'a mut Item {
    match item.get_mut(map) {
        Some(AttributeValue::M(entries)) => entries,
        other => panic!("`{map}` is {other:?}"),
    }
}

async fn queued(backend: &DynamoBackend, request: &AcquireRequest) -> Result<Contention> {
    match backend.acquire(request).await? {
        AcquireOutcome::Queued(contention) => Ok(contention),
        other => bail!("not queued: {other:?}"),
    }
}

async fn granted(backend: &DynamoBackend, request: &AcquireRequest) -> Result<Grant> {
    match backend.acquire(request).await? {
        AcquireOutcome::Granted(grant) => Ok(grant),
        other => bail!("not granted: {other:?}"),
    }
}

async fn held(backend: &DynamoBackend, request: &AcquireRequest) -> Result<Contention> {
    match backend.acquire(request).await? {
        AcquireOutcome::Held(contention) => Ok(contention),
        other => bail!("not held: {other:?}"),
    }
}

async fn record(backend: &DynamoBackend, key: &Key) -> Result<LockRecord> {
    backend.inspect(key).await?.context("no record")
}
