//! What it costs to keep thousands of leases alive on one client.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::{
    BehaviorVersion, ConfigBag, Credentials, Intercept, Region, RuntimeComponents,
};
use aws_sdk_dynamodb::error::BoxError;
use doclock::{Backend, DynamoBackend, Lease, LockClient, MongoBackend};
use indicatif::ProgressBar;
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::ClientOptions;
use nix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, interval};

const TTL: Duration = Duration::from_secs(30);

/// Where the locks are, by the driver's own URL.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Server<'a> {
    MongoDb(&'a str),
    DynamoDb(&'a str),
}

/// What was counted and measured while all leases were held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) leases: usize,
    /// For how long they were held after the last one was granted.
    pub(crate) held: Duration,
    /// Requests to the database in a third of the ttl, in which each lease is renewed once.
    pub(crate) requests: f64,
    /// CPU time of this process, in percent of one core.
    pub(crate) cpu: f64,
    /// Memory of this process at its peak, beyond what it had with an empty client.
    pub(crate) bytes: u64,
    pub(crate) lost: usize,
}

/// Takes so many leases one after another, and holds them all for this long.
///
/// A server that runs in this very process would be measured as well.
pub(crate) async fn measure(server: Server<'_>, leases: usize, hold: Duration) -> Result<Figures> {
    let sent = Sent::default();
    let locks = match server {
        Server::MongoDb(url) => ready(mongodb(url, &sent).await?).await?,
        Server::DynamoDb(url) => ready(dynamodb(url, &sent)).await?,
    };
    // Connections and buffers are those of an empty client too.
    locks.lock("first").acquire().await?.release().await?;
    let before = resident()?;

    let held = acquire(&locks, leases).await?;
    let (requests, cpu) = (sent.count(), cpu_time()?);
    let (span, peak) = watch(hold).await?;
    let figures = Figures {
        leases,
        held: span,
        requests: (sent.count() - requests) as f64 / thirds(span),
        cpu: 100.0 * (cpu_time()? - cpu).as_secs_f64() / span.as_secs_f64(),
        bytes: peak.saturating_sub(before),
        lost: held.iter().filter(|lease| !lease.is_held()).count(),
    };
    drop(held);
    locks.shutdown().await;
    Ok(figures)
}

fn thirds(span: Duration) -> f64 {
    span.as_secs_f64() / (TTL / 3).as_secs_f64()
}

async fn acquire(locks: &LockClient, count: usize) -> Result<Vec<Lease>> {
    let progress = ProgressBar::new(count as u64).with_message("leases");
    let mut leases = Vec::with_capacity(count);
    for number in 0..count {
        let lock = locks.lock(format!("tenant-{number}"));
        leases.push(lock.ttl(TTL).acquire().await?);
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(leases)
}

/// How long it was, and the most memory that this process had meanwhile.
async fn watch(hold: Duration) -> Result<(Duration, u64)> {
    let progress = ProgressBar::new(hold.as_secs());
    let mut second = interval(Duration::from_secs(1));
    let (begin, mut peak) = (Instant::now(), 0);
    while begin.elapsed() < hold {
        second.tick().await;
        peak = peak.max(resident()?);
        progress.set_position(begin.elapsed().as_secs());
    }
    progress.finish_and_clear();
    Ok((begin.elapsed(), peak))
}

/// The bytes of this process that are in memory.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("needs Linux")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kilobytes.context("no VmRSS")?.parse::<u64>()? * 1024)
}

fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}

async fn ready(backend: impl Backend) -> Result<LockClient> {
    let locks = LockClient::new(backend);
    locks.setup().await?;
    Ok(locks)
}

/// Counts what the driver sends.
#[derive(Clone, Debug, Default)]
struct Sent(Arc<AtomicUsize>);

impl Sent {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

async fn mongodb(url: &str, sent: &Sent) -> Result<MongoBackend> {
    let mut options = ClientOptions::parse(url).await?;
    let sent = sent.clone();
    options.command_event_handler = Some(EventHandler::callback(move |event| {
        if matches!(event, CommandEvent::Started(_)) {
            sent.one();
        }
    }));
    let client = mongodb::Client::with_options(options)?;
    Ok(MongoBackend::new(client.database("doclock_bench")))
}

fn dynamodb(url: &str, sent: &Sent) -> DynamoBackend {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("doclock", "doclock", None, None, "bench"))
        .endpoint_url(url)
        .interceptor(sent.clone())
        .build();
    DynamoBackend::new(aws_sdk_dynamodb::Client::from_conf(config), "renewals")
}

impl Intercept for Sent {
    fn name(&self) -> &'static str {
        "Sent"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.one();
        Ok(())
    }
}
