//! The databases that a test runs on, each by the URL of a collection or table of the test's own.

use std::time::Duration;

use anyhow::Result;
use doclock::LeaseId;
use tokio::sync::{Mutex, MutexGuard};

use crate::support::servers;

/// One named test per server.
macro_rules! on_every_server {
    ($($(#[$doc:meta])* async fn $name:ident($site:ident: Site) $body:block)*) => {$(
        mod $name {
            use super::*;

            $(#[$doc])*
            async fn case($site: $crate::processes::site::Site) -> anyhow::Result<()> {
                if $site.is_left_out() {
                    return Ok(());
                }
                $body
                Ok(())
            }

            #[tokio::test]
            async fn mongodb() -> anyhow::Result<()> {
                case($crate::processes::site::Site::MongoDb).await
            }

            #[tokio::test]
            async fn dynoxide() -> anyhow::Result<()> {
                case($crate::processes::site::Site::Dynoxide).await
            }

            #[tokio::test]
            async fn dynamodb_local() -> anyhow::Result<()> {
                case($crate::processes::site::Site::DynamoDbLocal).await
            }
        }
    )*};
}
pub(crate) use on_every_server;

/// A shared server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    MongoDb,
    Dynoxide,
    DynamoDbLocal,
}

impl Site {
    /// Whether the contributor leaves it out; says so.
    pub fn is_left_out(self) -> bool {
        servers::without(match self {
            Self::MongoDb => "mongodb",
            Self::Dynoxide => "dynoxide",
            Self::DynamoDbLocal => "dynamodb-local",
        })
    }

    /// After a crash the next grant comes within this time: what the documentation promises.
    pub fn takeover(self, ttl: Duration) -> Duration {
        ttl + match self {
            Self::MongoDb => Duration::from_secs(2),
            Self::Dynoxide | Self::DynamoDbLocal => Duration::from_millis(7500),
        }
    }

    /// How far behind the true time a client may have to believe the server to be.
    pub fn uncertainty(self) -> Duration {
        match self {
            // The skew between servers.
            Self::MongoDb => Duration::from_millis(500),
            // That, and the second that a `Date` header is coarse.
            Self::Dynoxide | Self::DynamoDbLocal => Duration::from_millis(1500),
        }
    }

    /// Until the guard is dropped, no other test of this kind runs on the same server: they would make each other late.
    pub async fn alone(self) -> MutexGuard<'static, ()> {
        static SERVERS: [Mutex<()>; 3] = [const { Mutex::const_new(()) }; 3];
        let server = match self {
            Self::MongoDb => &SERVERS[0],
            Self::Dynoxide => &SERVERS[1],
            Self::DynamoDbLocal => &SERVERS[2],
        };
        server.lock().await
    }

    /// A new collection or table, ready for locks: its URL.
    pub async fn fresh(self) -> Result<String> {
        let name = format!("locks-{}", LeaseId::random());
        let url = match self {
            Self::MongoDb => mongodb_url(servers::mongodb_url(), &name),
            Self::Dynoxide => dynamodb_url(servers::dynoxide_url(), &name),
            Self::DynamoDbLocal => dynamodb_url(servers::dynamodb_local_url(), &name),
        };
        doclock::connect(&url).await?.setup().await?;
        Ok(url)
    }
}

/// doclock's URL of a collection on the server that the driver's URL names.
pub fn mongodb_url(server: &str, collection: &str) -> String {
    let (base, options) = server.split_once('?').unwrap_or((server, ""));
    let base = base.trim_end_matches('/');
    format!("{base}/processes?{options}&collection={collection}")
}

/// doclock's URL of a table at an endpoint.
pub fn dynamodb_url(endpoint: &str, table: &str) -> String {
    format!("dynamodb://eu-west-1/{table}?endpoint={endpoint}")
}
