//! The DynamoDB backend against AWS's own emulator and the embedded one.

mod clock;
mod corrupt;
mod items;
mod meddling;
mod requests;
mod setup;

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
    Mode, Owner, Ttl,
};

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
