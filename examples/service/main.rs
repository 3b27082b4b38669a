//! A web service of which any number of instances run, and a job in the background that only one of them does.
//!
//! ```sh
//! export DOCLOCK_URL=mongodb://localhost/test # or dynamodb://eu-west-1/locks
//! cargo run --all-features --example service -- --listen 127.0.0.1:8081 &
//! cargo run --all-features --example service -- --listen 127.0.0.1:8082 &
//! curl http://127.0.0.1:8081/healthz
//! kill %1 # the other one leads at once
//! ```
//!
//! * `/healthz`: whether the locks' database answers, who leads, and whether it is this instance.
//! * `/metrics`: the lock's metrics, for Prometheus.
//! * SIGTERM or Ctrl-C: no new requests, the leader resigns, and the process ends.

mod job;
mod web;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use clap::Parser;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::job::Job;

/// A web service with a job that only one instance does.
#[derive(Parser)]
struct Args {
    /// Where the locks are: mongodb://…, mongodb+srv://… or dynamodb://…
    #[arg(long, env = "DOCLOCK_URL")]
    url: String,
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().init();
    let args = Args::parse();
    run(&args.url, args.listen).await
}

/// Serves, and does the job whenever it is this instance's, until it is told to end.
async fn run(url: &str, listen: SocketAddr) -> Result<()> {
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let locks = doclock::connect(url).await?;
    locks.setup().await?; // elsewhere, once per deployment, if its rights are not the service's
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let job = Arc::new(Job::new(&locks, address));

    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let told_to_end = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    println!("listening on {address}");
    let service = web::service(Arc::clone(&job), metrics);
    let served = axum::serve(listener, service).with_graceful_shutdown(told_to_end);
    // Dropped when the last request is answered: it resigns.
    tokio::select! {
        served = served => served?,
        failed = job.work_whenever_elected() => failed?,
    }
    // Waits until the database knows that this instance leads no more.
    locks.shutdown().await;
    println!("ended");
    Ok(())
}

#[cfg(test)]
mod tests;
