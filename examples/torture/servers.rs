//! The database: three `mongod`s, or one emulator of `DynamoDB` that keeps its data over restarts.

use std::ffi::OsString;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;
use tokio::net::TcpListener;

use crate::child::{Role, arguments};
use crate::clocks;
use crate::site::{Site, dynamodb_url, mongodb_url};
use crate::support::dynamodb_local::DynamoDbLocal;
use crate::support::port::free_port;
use crate::support::process::{Server, Spec};
use crate::support::proxy::Proxy;
use crate::support::replica_set::ReplicaSet;
use crate::support::wire::Wire;
use crate::support::{install, raw};

/// The collection or table.
const LOCKS: &str = "locks";
/// The member of the set whose clock is wrong, and by how much: less than what the library allows for.
const AHEAD: (usize, &str) = (2, "+0.4s");

/// What is treated badly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// A replica set of three; one member's clock is 400 ms ahead
    Mongodb,
    /// AWS's own emulator
    DynamodbLocal,
    /// An embedded emulator, in a process of its own
    Dynoxide,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

impl Backend {
    pub(crate) fn site(self) -> Site {
        match self {
            Self::Mongodb => Site::MongoDb,
            Self::DynamodbLocal => Site::DynamoDbLocal,
            Self::Dynoxide => Site::Dynoxide,
        }
    }
}

/// The server processes of one run.
pub(crate) enum Servers {
    Set(ReplicaSet),
    Local(DynamoDbLocal),
    Dynoxide(Server),
}

impl Servers {
    pub(crate) async fn start(backend: Backend) -> Result<Self> {
        let servers = match backend {
            Backend::Mongodb => Self::Set(replica_set().await?),
            Backend::DynamodbLocal => Self::Local(DynamoDbLocal::start_durable().await?),
            Backend::Dynoxide => Self::Dynoxide(dynoxide().await?),
        };
        doclock::connect(&servers.url()).await?.setup().await?;
        Ok(servers)
    }

    /// doclock's URL, past all proxies.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Set(set) => mongodb_url(&set.url(), LOCKS),
            Self::Local(local) => dynamodb_url(&local.url(), LOCKS),
            Self::Dynoxide(server) => dynamodb_url(&format!("http://{}", server.addr()), LOCKS),
        }
    }

    /// A proxy before the database, and doclock's URL through it.
    pub(crate) async fn proxy(&self) -> Result<(Proxy, String)> {
        let wire = match self {
            Self::Set(_) => Wire::Mongo,
            Self::Local(_) | Self::Dynoxide(_) => Wire::Http,
        };
        let proxy = Proxy::start(self.primary().await?, wire).await?;
        let url = match wire {
            Wire::Mongo => mongodb_url(&proxy.mongodb_url(), LOCKS),
            Wire::Http => dynamodb_url(&proxy.http_url(), LOCKS),
        };
        Ok((proxy, url))
    }

    /// Who takes writes. Waits for it.
    pub(crate) async fn primary(&self) -> Result<SocketAddr> {
        Ok(match self {
            Self::Set(set) => set.node(set.primary().await?).addr(),
            Self::Local(local) => local.addr(),
            Self::Dynoxide(server) => server.addr(),
        })
    }

    /// What acquires, and what renews and releases, on the wire.
    pub(crate) fn writes(&self) -> &'static [&'static str] {
        match self {
            Self::Set(_) => &["findAndModify", "update"],
            Self::Local(_) | Self::Dynoxide(_) => &["UpdateItem", "BatchExecuteStatement"],
        }
    }
}

async fn replica_set() -> Result<ReplicaSet> {
    let faked = clocks::faketime(AHEAD.1)?;
    let env = |node| {
        if node == AHEAD.0 {
            faked.clone()
        } else {
            Vec::new()
        }
    };
    ReplicaSet::start_with_env(3, env).await
}

/// In a process of its own, so that it can be killed.
async fn dynoxide() -> Result<Server> {
    let home = install::home("dynoxide")?;
    let port = free_port()?;
    let file = home.path().join("data").join("dynoxide.db");
    let mut command: Vec<OsString> = vec![std::env::current_exe()?.into()];
    command.extend(arguments().iter().map(OsString::from));
    let spec = Spec {
        name: "dynoxide".to_owned(),
        port,
        command,
        env: vec![Role::Dynoxide { port, file }.env()?],
        answers: |addr| Box::pin(raw::dynamodb_answers(addr)),
    };
    Server::start(home, spec).await
}

/// In that process.
pub(crate) async fn serve_dynoxide(port: u16, file: &Path) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let file = file.to_str().context("the path is no text")?;
    let database = dynoxide::Database::new(file).context("dynoxide")?;
    dynoxide::server::serve_on(listener, database).await;
    Ok(())
}
