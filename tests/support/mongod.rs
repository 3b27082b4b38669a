//! A genuine `mongod` on a free loopback port.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use mongodb::bson::{Bson, Document};

use super::port::free_port;
use super::process::{Probe, Server, Spec};
use super::{install, raw};

/// What a set's members prove to each other that they belong together.
const KEY: &str = "bm90LWEtc2VjcmV0LW9ubHktZm9yLXRlc3Rz";

/// A `mongod` without a replica set: no change streams, no retryable writes.
#[derive(Debug)]
pub struct Standalone {
    node: Server,
}

impl Standalone {
    pub async fn start() -> Result<Self> {
        Ok(Self {
            node: launch(None, false, Vec::new()).await?,
        })
    }

    pub fn url(&self) -> String {
        format!("mongodb://{}/", self.node.addr())
    }

    /// To kill, pause and restart it.
    pub fn server(&self) -> &Server {
        &self.node
    }

    pub async fn command(&self, command: Document) -> Result<Document> {
        accepted(raw::mongo_command(self.node.addr(), command).await?)
    }
}

/// A node, of the named set if any; with `auth` it wants a password.
pub(super) async fn launch(
    set: Option<&str>,
    auth: bool,
    env: Vec<(String, String)>,
) -> Result<Server> {
    let mongod = install::fetch("mongod")?;
    let home = install::home("mongod")?;
    let port = free_port()?;
    let mut command: Vec<OsString> = vec![mongod.into(), "--dbpath".into()];
    command.push(home.path().join("data").into());
    let port_argument = port.to_string();
    let mut arguments = vec![
        "--port",
        &port_argument,
        "--bind_ip",
        "127.0.0.1",
        "--nounixsocket",
    ];
    arguments.extend(["--wiredTigerCacheSizeGB", "0.25", "--quiet"]);
    if let Some(set) = set {
        arguments.extend(["--replSet", set, "--oplogSize", "128"]);
    }
    for parameter in [
        "ttlMonitorSleepSecs=1",
        "diagnosticDataCollectionEnabled=false",
        // Otherwise every SIGTERM takes 15 s.
        "shutdownTimeoutMillisForSignaledShutdown=500",
        // `configureFailPoint`: the server itself fails as told.
        "enableTestCommands=1",
    ] {
        arguments.extend(["--setParameter", parameter]);
    }
    command.extend(arguments.into_iter().map(OsString::from));
    if auth {
        let key = home.path().join("key");
        std::fs::write(&key, KEY)?;
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600))?;
        command.extend(["--keyFile".into(), key.into()]);
    }
    let name = format!("mongod-{port}");
    let answers: Probe = |addr| Box::pin(async move { raw::hello(addr).await.is_some() });
    Server::start(
        home,
        Spec {
            name,
            port,
            command,
            env,
            answers,
        },
    )
    .await
}

/// A refusal becomes an error.
pub(super) fn accepted(reply: Document) -> Result<Document> {
    let ok = reply
        .get("ok")
        .and_then(Bson::as_f64)
        .context("a reply without `ok`")?;
    ensure!(ok > 0.0, "{reply}");
    Ok(reply)
}
