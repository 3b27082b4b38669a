//! What the client itself does: an operation, so many times, for `valgrind` to count. `measure`, beside this file, runs
//! it.
//!
//! Everything is done by one thread; the servers are other processes.

mod dynamodb;
mod mongodb;
mod nothing;
#[path = "../../tests/support/mod.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "of the tests, which use more of it"
)]
mod support;

use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use doclock::{AcquireOutcome, AcquireRequest};
use doclock::{Backend, Key, LeaseId, LockClient, Mode, Owner, RenewOutcome, RenewRequest, Ttl};

const TTL: Duration = Duration::from_secs(30);
const KEY: &str = "instructions";
/// Renewals that are sent together.
const LEASES: usize = 1_000;

/// Repeats an operation.
#[derive(Parser)]
struct Args {
    server: Server,
    operation: Operation,
    /// How often it is repeated, after a round to warm up
    rounds: usize,
    /// What `cargo bench` says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Server {
    /// A backend that grants everything at once and keeps nothing
    Nothing,
    Mongodb,
    Dynamodb,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Operation {
    /// Acquire and release
    Acquire,
    /// Acquire without waiting, and release
    Try,
    /// The very requests of `try`, sent again by the driver alone
    Resend,
    /// 1,000 leases at once
    Renew,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Args {
        server,
        operation,
        rounds,
        ..
    } = Args::parse();
    match server {
        Server::Nothing => repeat(nothing::Yes, operation, rounds).await,
        Server::Mongodb if operation == Operation::Resend => mongodb::resend(rounds).await,
        Server::Mongodb => repeat(mongodb::backend().await?, operation, rounds).await,
        Server::Dynamodb if operation == Operation::Resend => dynamodb::resend(rounds).await,
        Server::Dynamodb => repeat(dynamodb::backend().await, operation, rounds).await,
    }
}

async fn repeat(backend: impl Backend, operation: Operation, rounds: usize) -> Result<()> {
    backend.setup().await?;
    if operation == Operation::Renew {
        return renew(&backend, rounds).await;
    }
    let locks = LockClient::new(backend);
    for _ in 0..=rounds {
        let lock = locks.lock(KEY).ttl(TTL);
        let lease = if operation == Operation::Acquire {
            lock.acquire().await?
        } else {
            lock.try_acquire().await?.context("held by another")?
        };
        lease.release().await?;
    }
    locks.shutdown().await;
    Ok(())
}

async fn renew(backend: &impl Backend, rounds: usize) -> Result<()> {
    let ttl = Ttl::new(Duration::from_hours(1))?;
    let mut requests = Vec::new();
    for number in 0..LEASES {
        let key = Key::new(format!("renewed-{number}-{}", LeaseId::random()))?;
        let request = AcquireRequest::new(&key, &Owner::random(), Mode::Exclusive, ttl);
        let AcquireOutcome::Granted(grant) = backend.acquire(&request).await? else {
            anyhow::bail!("not granted");
        };
        requests.push(RenewRequest::new(&request, grant.token, 1));
    }
    for _ in 0..=rounds {
        for request in &mut requests {
            request.seq += 1;
        }
        for batch in requests.chunks(backend.renewals_at_once()) {
            for outcome in backend.renew_many(batch).await {
                anyhow::ensure!(matches!(outcome?, RenewOutcome::Renewed(_)), "lost");
            }
        }
    }
    Ok(())
}
