//! A client behind a proxy, and one that goes straight to the same server.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use doclock::{Lease, LeaseId, LockClient, LockRecord, Mode, Timestamp};

use crate::processes::site::{Site, dynamodb_url, mongodb_url};
use crate::support::proxy::{Proxy, Recorded};
use crate::support::servers;
use crate::support::wire::Wire;

/// Longer than any test here: nothing expires by itself.
pub const TTL: Duration = Duration::from_mins(1);

pub struct Link {
    pub proxy: Proxy,
    pub site: Site,
    /// Through the proxy.
    pub through: LockClient,
    /// Past the proxy.
    pub direct: LockClient,
    url: String,
    /// How many of the recorded requests have been taken.
    taken: AtomicUsize,
}

impl Link {
    /// Records what goes by. The client through it has talked to the server, so it knows the time.
    pub async fn to(site: Site) -> Result<Self> {
        let name = format!("messages-{}", LeaseId::random());
        let (url, straight, proxy) = match site {
            Site::MongoDb => {
                let server = servers::mongodb_url();
                let proxy = Proxy::start(servers::mongodb_primary().await?, Wire::Mongo).await?;
                // With it, the server would know a second request from the first, and the tests were of MongoDB.
                let through = format!("{}&retryWrites=false", proxy.mongodb_url());
                (
                    mongodb_url(&through, &name),
                    mongodb_url(server, &name),
                    proxy,
                )
            }
            Site::Dynoxide | Site::DynamoDbLocal => {
                let server = match site {
                    Site::Dynoxide => servers::dynoxide_url(),
                    _ => servers::dynamodb_local_url(),
                };
                let proxy = Proxy::start(servers::addr_of(server)?, Wire::Http).await?;
                let through = dynamodb_url(&proxy.http_url(), &name);
                (through, dynamodb_url(server, &name), proxy)
            }
        };
        let direct = doclock::connect(&straight).await?;
        direct.setup().await?;
        let through = doclock::connect(&url).await?;
        through.lock("warm").acquire().await?.release().await?;
        proxy.record(true);
        let taken = AtomicUsize::new(0);
        Ok(Self {
            proxy,
            site,
            through,
            direct,
            url,
            taken,
        })
    }

    /// Another client through the proxy, as another process would have it.
    pub async fn another(&self) -> Result<LockClient> {
        Ok(doclock::connect(&self.url).await?)
    }

    /// What an acquisition is on the wire.
    pub fn acquires(&self) -> &'static str {
        match self.site {
            Site::MongoDb => "findAndModify",
            Site::Dynoxide | Site::DynamoDbLocal => "UpdateItem",
        }
    }

    /// What a renewal or a release is on the wire.
    pub fn changes(&self) -> &'static str {
        match self.site {
            Site::MongoDb => "update",
            Site::Dynoxide | Site::DynamoDbLocal => "UpdateItem",
        }
    }

    /// The writes that went by since the last call.
    pub fn writes(&self) -> Vec<Recorded> {
        let recorded = self.proxy.recorded();
        let from = self.taken.swap(recorded.len(), Ordering::SeqCst);
        let names = [self.acquires(), self.changes()];
        let new = recorded.into_iter().skip(from);
        new.filter(|request| names.contains(&request.operation.as_str()))
            .collect()
    }

    pub async fn record(&self, key: &str) -> Result<LockRecord> {
        let found = self.direct.inspect(key).await?;
        found.with_context(|| format!("no record `{key}`"))
    }

    /// As the record is, or as a new one would be.
    pub async fn record_or_none(&self, key: &str) -> Result<LockRecord> {
        let found = self.direct.inspect(key).await?;
        Ok(found.unwrap_or_else(|| LockRecord::new(Mode::Exclusive)))
    }
}

/// The record shows this lease and no other.
pub fn assert_sole(record: &LockRecord, lease: &Lease) {
    let ids: Vec<_> = record.holders.iter().map(|holder| holder.id()).collect();
    assert_eq!(ids, [Some(lease.id())]);
    assert_eq!(record.token, lease.token());
}

/// The servers are on this machine: their time is its own.
pub fn now() -> Timestamp {
    SystemTime::now().into()
}

/// The lease ends before its record does.
pub fn assert_ends_in_time(record: &LockRecord, lease: &Lease) -> Result<()> {
    let holder = record.holder(lease.id()).context("no holder")?;
    let ends = now().saturating_add(lease.remaining());
    assert!(lease.is_held());
    assert!(
        ends < holder.expires_at,
        "ends {ends}, the record {}",
        holder.expires_at
    );
    Ok(())
}
