//! Replica sets of genuine `mongod`s.

use std::time::Duration;

use anyhow::Result;
use futures_util::future::{join_all, try_join_all};
use mongodb::bson::{Document, doc};

use super::mongod::{accepted, launch};
use super::port::free_port;
use super::process::Server;
use super::{poll, raw};

/// An election takes one or two time-outs of 2 s; the rest is for two busy cores.
const ELECTION: Duration = Duration::from_mins(1);

/// The user that [`ReplicaSet::start_with_auth`] makes.
const ROOT: (&str, &str) = ("root", "secret");

/// A replica set of its own, which a test may treat as badly as it likes.
#[derive(Debug)]
pub struct ReplicaSet {
    name: String,
    nodes: Vec<Server>,
    user: Option<(&'static str, &'static str)>,
}

impl ReplicaSet {
    /// Has a primary, and its other nodes are secondaries, when this returns.
    pub async fn start(nodes: usize) -> Result<Self> {
        Self::start_with_env(nodes, |_| Vec::new()).await
    }

    /// With environment variables for each node (a skewed clock, say).
    pub async fn start_with_env(
        nodes: usize,
        env: impl Fn(usize) -> Vec<(String, String)>,
    ) -> Result<Self> {
        let name = format!("rs{}", free_port()?);
        let nodes = try_join_all((0..nodes).map(|i| launch(Some(&name), false, env(i)))).await?;
        let set = Self {
            name,
            nodes,
            user: None,
        };
        set.initiate().await?;
        Ok(set)
    }

    /// One node that wants a password. [`ReplicaSet::url`] is root's.
    pub async fn start_with_auth() -> Result<Self> {
        let name = format!("rs{}", free_port()?);
        let node = launch(Some(&name), true, Vec::new()).await?;
        let set = Self {
            name,
            nodes: vec![node],
            user: Some(ROOT),
        };
        set.initiate().await?;
        // Without any user yet, whoever comes from localhost may make the first.
        set.command(
            0,
            doc! { "createUser": ROOT.0, "pwd": ROOT.1, "roles": ["root"] },
        )
        .await?;
        Ok(set)
    }

    pub fn url(&self) -> String {
        self.url_of(self.user)
    }

    /// The same for another user, whom the test has made.
    pub fn url_as(&self, user: &str, password: &str) -> String {
        self.url_of(Some((user, password)))
    }

    /// One node, whatever its role.
    pub fn node_url(&self, node: usize) -> String {
        let user = self
            .user
            .map(|(user, password)| format!("{user}:{password}@"));
        let user = user.unwrap_or_default();
        format!(
            "mongodb://{user}{}/?directConnection=true",
            self.nodes[node].addr()
        )
    }

    /// To kill, pause and restart it.
    pub fn node(&self, node: usize) -> &Server {
        &self.nodes[node]
    }

    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    /// The node that takes writes. Waits for one, for a minute at most.
    pub async fn primary(&self) -> Result<usize> {
        let found = poll::until_some("the set has a primary", ELECTION, || async {
            let hellos = self.hellos().await;
            hellos
                .iter()
                .position(|hello| is(hello.as_ref(), "isWritablePrimary"))
        })
        .await;
        match found {
            Ok(node) => Ok(node),
            Err(error) => Err(error.context(self.states().await)),
        }
    }

    /// What each node has to say of the set, for the message of a failure.
    async fn states(&self) -> String {
        let status = doc! { "replSetGetStatus": 1_i32 };
        let asked = (0..self.nodes.len()).map(|node| self.command(node, status.clone()));
        let answers = join_all(asked).await.into_iter().enumerate();
        let lines = answers.map(|(node, answer)| format!("node {node}: {answer:?}"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// A command for one node, such as `replSetStepDown` or `configureFailPoint`; not for a set with passwords.
    pub async fn command(&self, node: usize, command: Document) -> Result<Document> {
        accepted(raw::mongo_command(self.nodes[node].addr(), command).await?)
    }

    /// Waits until every node is primary or secondary: a write by majority then survives any one of them.
    ///
    /// And until all know that a majority has the newest term. A node that has written what no other has must take it back
    /// when it comes again, which a young one cannot: it has no checkpoint to go back to, and ends itself.
    pub async fn healthy(&self) -> Result<()> {
        self.primary().await?;
        poll::until("every node is primary or secondary", ELECTION, || async {
            let hellos = self.hellos().await;
            let works = |hello| is(hello, "isWritablePrimary") || is(hello, "secondary");
            let newest = hellos
                .iter()
                .map(|hello| term(hello.as_ref(), "opTime"))
                .max();
            hellos
                .iter()
                .map(Option::as_ref)
                .all(|hello| works(hello) && Some(term(hello, "majorityOpTime")) == newest)
        })
        .await
    }

    async fn initiate(&self) -> Result<()> {
        let member = |(i, node): (usize, &Server)| {
            doc! { "_id": i64::try_from(i).unwrap_or(0), "host": node.addr().to_string() }
        };
        let members: Vec<Document> = self.nodes.iter().enumerate().map(member).collect();
        let settings = doc! { "electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 500 };
        let config = doc! { "_id": &self.name, "members": members, "settings": settings };
        self.command(0, doc! { "replSetInitiate": config }).await?;
        self.healthy().await
    }

    async fn hellos(&self) -> Vec<Option<Document>> {
        join_all(self.nodes.iter().map(|node| raw::hello(node.addr()))).await
    }

    fn url_of(&self, user: Option<(&str, &str)>) -> String {
        let user = user.map(|(user, password)| format!("{user}:{password}@"));
        let user = user.unwrap_or_default();
        let hosts: Vec<String> = self
            .nodes
            .iter()
            .map(|node| node.addr().to_string())
            .collect();
        format!(
            "mongodb://{user}{}/?replicaSet={}",
            hosts.join(","),
            self.name
        )
    }
}

fn is(hello: Option<&Document>, role: &str) -> bool {
    hello.is_some_and(|hello| hello.get_bool(role) == Ok(true))
}

/// The term of a node's last write, or of the last that it knows a majority to have.
fn term(hello: Option<&Document>, which: &str) -> Option<i64> {
    let written = hello?.get_document("lastWrite").ok()?;
    written.get_document(which).ok()?.get_i64("t").ok()
}
