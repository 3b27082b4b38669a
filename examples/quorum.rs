//! One lock on three databases, of which any one may be away: its holder does not notice, the next one gets in as ever, and
//! the fencing tokens grow. With two away nobody gets in, and is told so.
//!
//! ```sh
//! cargo run --all-features --example quorum
//! ```
//!
//! Everything is in this process: three embedded databases, which are stopped and come again.
//!
//! What to copy is `quorum`.

#[path = "support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region as AwsRegion};
use doclock::{Backend, DynamoBackend, Lease, LockClient, QuorumBackend};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const TTL: Duration = Duration::from_secs(4);

/// A lock client on the tables of all regions. Every process names the same ones.
fn quorum(regions: &[Region]) -> Result<LockClient> {
    let members = regions.iter().map(|region| {
        let backend = DynamoBackend::new(region.client(), "locks");
        Arc::new(backend) as Arc<dyn Backend>
    });
    Ok(LockClient::new(QuorumBackend::new(members.collect())?))
}

/// A database that can be stopped, and comes again with its data.
struct Region {
    name: &'static str,
    address: SocketAddr,
    data: dynoxide::Database,
    server: Option<Server>,
}

struct Server {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), String>>,
}

impl Region {
    async fn start(name: &'static str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut region = Self {
            name,
            address: listener.local_addr()?,
            data: dynoxide::Database::memory().context("the embedded database does not start")?,
            server: None,
        };
        region.serve(listener);
        Ok(region)
    }

    fn serve(&mut self, listener: TcpListener) {
        let (stop, stopped) = oneshot::channel();
        let served = dynoxide::server::serve_with_shutdown(listener, self.data.clone(), async {
            drop(stopped.await);
        });
        self.server = Some(Server {
            stop,
            task: tokio::spawn(served),
        });
    }

    async fn stop(&mut self) -> Result<()> {
        let server = self.server.take().context("it is stopped already")?;
        drop(server.stop);
        server.task.await?.map_err(anyhow::Error::msg)
    }

    async fn resume(&mut self) -> Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        self.serve(listener);
        Ok(())
    }

    fn client(&self) -> Client {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(AwsRegion::new(self.name))
            .credentials_provider(Credentials::new("none", "none", None, None, "example"))
            .endpoint_url(format!("http://{}", self.address))
            .build();
        Client::from_conf(config)
    }
}

/// Prints what happens. Returns the tokens of the leases, and the error where none could be had.
async fn story() -> Result<(Vec<u64>, doclock::Error)> {
    let mut regions = Vec::new();
    for name in ["eu-west-1", "us-east-1", "ap-south-1"] {
        regions.push(Region::start(name).await?);
    }
    let locks = quorum(&regions)?;
    locks.setup().await?; // once per deployment
    println!("{:<32}  outcome", "databases that are up");

    let mut tokens = Vec::new();
    let first = acquire(&locks).await?;
    tokens.push(first.token());
    say(&regions, &format!("granted, token {}", first.token()));

    regions[0].stop().await?;
    first.renew().await?;
    say(&regions, "renewed");
    first.release().await?;
    say(&regions, "released");
    let second = acquire(&locks).await?;
    tokens.push(second.token());
    say(&regions, &format!("granted, token {}", second.token()));
    second.release().await?;

    regions[1].stop().await?;
    let refused = acquire(&locks).await.err().context("a minority granted")?;
    say(&regions, &format!("not granted: {refused}"));

    // It missed the first release: for that key it counts as one less until the lease has expired there.
    regions[0].resume().await?;
    say(&regions, "waiting");
    let third = acquire(&locks).await?;
    tokens.push(third.token());
    say(&regions, &format!("granted, token {}", third.token()));
    third.release().await?;
    locks.shutdown().await;
    Ok((tokens, refused))
}

async fn acquire(locks: &LockClient) -> doclock::Result<Lease> {
    let lock = locks.lock("inventory:42").ttl(TTL).manual_renewal();
    lock.wait(2 * TTL).acquire().await
}

fn say(regions: &[Region], outcome: &str) {
    let up = regions.iter().filter(|region| region.server.is_some());
    let up: Vec<_> = up.map(|region| region.name).collect();
    println!("{:<32}  {outcome}", up.join(", "));
}

#[tokio::main]
async fn main() -> Result<()> {
    let (tokens, _) = story().await?;
    ensure!(
        tokens.is_sorted_by(|a, b| a < b),
        "the tokens do not grow: please report this bug"
    );
    println!();
    println!("Next: read docs/patterns/quorum.md");
    Ok(())
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn one_database_may_be_away_and_two_may_not() -> anyhow::Result<()> {
        let (tokens, refused) = super::story().await?;
        assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
        assert!(tokens.len() == 3 && refused.is_retryable(), "{refused:?}");
        Ok(())
    }
}
