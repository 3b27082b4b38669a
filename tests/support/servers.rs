//! The servers that tests share: started by the first test that asks, once per test process, ended with it.
//!
//! A server that is missing fails the test and says how to get it. Leaving one out takes a word from the
//! contributor (`DOCLOCK_TEST_WITHOUT`), and is loud.

use std::collections::BTreeSet;
use std::env;
use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures_util::future::join_all;
use mongodb::options::{ClientOptions, ServerAddress};
use tokio::runtime;

use super::dynamodb_local::DynamoDbLocal;
use super::dynoxide::Dynoxide;
use super::mongod::Standalone;
use super::replica_set::ReplicaSet;
use super::{poll, raw};

/// What may be named in `DOCLOCK_TEST_WITHOUT`.
const NAMES: [&str; 4] = ["mongodb", "dynamodb-local", "dynoxide", "faketime"];

/// A server with its URL, or why there is none: the second test to ask gets the same answer.
pub type Shared<S> = OnceLock<Result<(S, String), String>>;

/// A replica set: `DOCLOCK_TEST_MONGODB_URL`, or three nodes of our own.
pub fn mongodb_url() -> &'static str {
    static URL: OnceLock<Option<String>> = OnceLock::new();
    static SERVER: Shared<ReplicaSet> = OnceLock::new();
    URL.get_or_init(|| env::var("DOCLOCK_TEST_MONGODB_URL").ok())
        .as_deref()
        .unwrap_or_else(|| {
            shared("mongodb", &SERVER, async || {
                let set = ReplicaSet::start(3).await?;
                let url = set.url();
                Ok((set, url))
            })
        })
}

/// A `mongod` without a replica set, always of our own.
pub fn mongodb_standalone_url() -> &'static str {
    static SERVER: Shared<Standalone> = OnceLock::new();
    shared("mongodb", &SERVER, async || {
        let standalone = Standalone::start().await?;
        let url = standalone.url();
        Ok((standalone, url))
    })
}

/// `DOCLOCK_TEST_DYNAMODB_URL`, or a DynamoDB Local of our own.
pub fn dynamodb_local_url() -> &'static str {
    static URL: OnceLock<Option<String>> = OnceLock::new();
    static SERVER: Shared<DynamoDbLocal> = OnceLock::new();
    URL.get_or_init(|| env::var("DOCLOCK_TEST_DYNAMODB_URL").ok())
        .as_deref()
        .unwrap_or_else(|| {
            shared("dynamodb-local", &SERVER, async || {
                let server = DynamoDbLocal::start().await?;
                let url = server.url();
                Ok((server, url))
            })
        })
}

/// The embedded emulator.
pub fn dynoxide_url() -> &'static str {
    static SERVER: Shared<Dynoxide> = OnceLock::new();
    shared("dynoxide", &SERVER, async || {
        let server = Dynoxide::start()?;
        let url = server.url();
        Ok((server, url))
    })
}

/// The node of [`mongodb_url`] that takes writes just now, for a [`Proxy`](super::proxy::Proxy) before it.
pub async fn mongodb_primary() -> Result<SocketAddr> {
    let hosts = ClientOptions::parse(mongodb_url()).await?.hosts;
    let nodes: Vec<SocketAddr> = hosts
        .iter()
        .filter(|host| matches!(host, ServerAddress::Tcp { .. }))
        .map(|host| resolve(&host.to_string()))
        .collect::<Result<_>>()?;
    poll::until_some("the set has a primary", Duration::from_mins(1), || async {
        let hellos = join_all(nodes.iter().map(|node| raw::hello(*node))).await;
        let primary = hellos
            .into_iter()
            .flatten()
            .find_map(|hello| hello.get_str("primary").ok().map(str::to_owned))?;
        resolve(&primary).ok()
    })
    .await
}

/// Where an `http://host:port` URL leads.
pub fn addr_of(url: &str) -> Result<SocketAddr> {
    resolve(url.trim_start_matches("http://").trim_end_matches('/'))
}

/// Whether the contributor leaves this server out. Says so past the test harness, which swallows what passing tests print.
pub fn without(name: &str) -> bool {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let list = env::var("DOCLOCK_TEST_WITHOUT").unwrap_or_default();
    let left_out: Vec<&str> = list
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    for name in &left_out {
        assert!(
            NAMES.contains(name),
            "DOCLOCK_TEST_WITHOUT={list}: `{name}` is none of {NAMES:?}"
        );
    }
    let out = left_out.contains(&name);
    if out
        && SAID
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned())
    {
        let line =
            format!("\n### NOT TESTED: {name}, because of DOCLOCK_TEST_WITHOUT={list} ###\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    out
}

fn resolve(host: &str) -> Result<SocketAddr> {
    host.to_socket_addrs()?
        .next()
        .with_context(|| format!("no address of {host}"))
}

/// Starts the server on a thread and runtime of its own: the caller may be inside any runtime, which ends with its test.
pub fn shared<S: Send + Sync>(
    name: &str,
    server: &'static Shared<S>,
    start: impl AsyncFnOnce() -> Result<(S, String)> + Send,
) -> &'static str {
    let started = server.get_or_init(|| {
        let on_thread = || {
            runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(start())
        };
        let result = thread::scope(|scope| scope.spawn(on_thread).join());
        result
            .unwrap_or_else(|_| Err(anyhow!("its start panicked")))
            .map_err(|error| format!("{error:#}"))
    });
    match started {
        Ok((_, url)) => url,
        Err(error) => panic!(
            "{name} is not to be had:\n{error}\n\
             Get it, or leave it out knowingly with DOCLOCK_TEST_WITHOUT={name}"
        ),
    }
}
