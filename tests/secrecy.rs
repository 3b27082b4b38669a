//! What is never shown: passwords and payloads, in logs, `Debug` output and errors.

use std::error::Error as StdError;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use doclock::{AcquireRequest, DynamoBackend, Key, LeaseId, LockClient, Mode, Owner, Payload, Ttl};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::privileges::mongodb as privileges;
use crate::support::servers;

const PASSWORD: &str = privileges::PASSWORD;
const PAYLOAD: &str = "payload-of-the-user";
const TTL: Duration = Duration::from_secs(30);

/// What was written to the log on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Everything, the drivers' own events included, as long as the guard lives.
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(self.clone());
        tracing::subscriber::set_default(subscriber.finish())
    }

    /// The lines of one crate, its modules included.
    fn lines(&self, krate: &str) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let of_it = |line: &&str| {
            line.contains(&format!(" {krate}::")) || line.contains(&format!(" {krate}:"))
        };
        text.lines().filter(of_it).collect::<Vec<_>>().join("\n")
    }

    fn all(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Whatever a user may print.
#[derive(Default)]
struct Shown(String);

impl Shown {
    fn debug(&mut self, value: &impl Debug) {
        self.0
            .extend([format!("{value:?}\n"), format!("{value:#?}\n")]);
    }

    fn error(&mut self, error: &doclock::Error) {
        self.debug(error);
        let mut cause: Option<&dyn StdError> = Some(error);
        while let Some(error) = cause {
            self.0
                .extend([format!("{error}\n"), format!("{error:?}\n")]);
            cause = error.source();
        }
    }
}

/// A day in the life of a client, each of whose values is printed.
async fn everything(locks: &LockClient) -> Result<Shown> {
    let mut shown = Shown::default();
    let name = |what: &str| format!("secrecy:{what}:{}", LeaseId::random());
    let key = name("lock");
    let lock = || locks.lock(&key).ttl(TTL).data(&PAYLOAD);
    shown.debug(locks);
    shown.debug(&lock());
    let lease = lock().acquire().await?;
    shown.debug(&lease);
    let record = locks.inspect(&key).await?;
    shown.debug(&record);
    let data = record.and_then(|record| record.holders[0].data.clone());
    shown.error(&data.expect("its payload").parse::<u8>().unwrap_err());
    shown.debug(&locks.list("secrecy:", None).await?);
    let held = locks
        .lock(&key)
        .wait(Duration::from_millis(50))
        .acquire()
        .await;
    shown.error(&held.unwrap_err());
    lease.renew().await?;
    shown.debug(&locks.force_release(&key).await?);
    shown.error(&lease.renew().await.unwrap_err());
    shown.error(&lease.lost().await);

    let set = locks.all([name("a"), name("b")]).ttl(TTL);
    shown.debug(&set);
    let leases = set.acquire().await?;
    shown.debug(&leases);
    leases.release().await?;

    let election = locks.election(name("leader")).ttl(TTL).data(&PAYLOAD);
    shown.debug(&election);
    let leadership = election.campaign().await?;
    shown.debug(&leadership);
    let leader = election.leader().await?;
    shown.debug(&leader);
    shown.error(&leader.expect("a leader").data::<u8>().unwrap_err());
    shown.debug(&election.watch()?);
    leadership.resign().await?;

    let job = locks
        .lock(name("job"))
        .data(&PAYLOAD)
        .once_per(Duration::from_hours(1));
    shown.debug(&job);
    let too_much = locks.lock(&key).data(&PAYLOAD.repeat(1000)).acquire().await;
    shown.error(&too_much.unwrap_err());
    let mut request = AcquireRequest::new(
        &Key::new(&key)?,
        &Owner::random(),
        Mode::Exclusive,
        Ttl::new(TTL)?,
    );
    request.data = Some(Payload::new(&PAYLOAD)?);
    shown.debug(&request);
    locks.shutdown().await;
    Ok(shown)
}

/// What the user sees, and what this crate logs, has none of it.
fn nothing_is_shown(shown: &Shown, log: &Log, secrets: &[&str]) {
    let ours = log.lines("doclock");
    assert!(ours.contains("lease lost"), "nothing was logged: {ours}");
    for secret in secrets {
        for (where_, text) in [("what is printed", &shown.0), ("the log", &ours)] {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "`{secret}` is in {where_}");
        }
    }
}

async fn mongodb() -> Result<()> {
    let url = privileges::url("locker").replace("/?", "/app?");
    let url = format!("{url}&authSource=admin");
    let (log, mut shown) = (Log::default(), Shown::default());
    let _listening = log.listen();
    shown.0 = everything(&doclock::connect(&url).await?).await?.0;
    shown.error(&doclock::connect(&format!("{url}&owl=1")).await.unwrap_err());
    let wrong = url.replace(PASSWORD, &format!("{PASSWORD}-but-wrong"));
    let refused = doclock::connect(&wrong).await?.lock("k").acquire().await;
    shown.error(&refused.unwrap_err());
    nothing_is_shown(&shown, &log, &[PASSWORD, PAYLOAD, "@127.0.0.1"]);
    assert!(!log.all().contains(PASSWORD), "the driver logs it");
    Ok(())
}

async fn dynamodb(endpoint: &str) -> Result<()> {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("doclock", PASSWORD, None, None, "tests"))
        .endpoint_url(endpoint);
    let client = Client::from_conf(config.build());
    let backend = DynamoBackend::new(client, format!("secrecy-{}", LeaseId::random()));
    let (log, mut shown) = (Log::default(), Shown::default());
    let _listening = log.listen();
    let locks = LockClient::new(backend.clone());
    shown.debug(&backend);
    shown.error(&locks.lock("k").data(&PAYLOAD).acquire().await.unwrap_err());
    locks.setup().await?;
    shown.0.push_str(&everything(&locks).await?.0);
    nothing_is_shown(&shown, &log, &[PASSWORD, PAYLOAD]);
    assert!(!log.all().contains(PASSWORD), "the SDK logs it");
    Ok(())
}

/// One after another: a subscriber that comes or goes changes what others on other threads are asked for.
#[tokio::test]
async fn no_secret_is_told() -> Result<()> {
    if !servers::without("mongodb") {
        mongodb().await?;
    }
    if !servers::without("dynamodb-local") {
        dynamodb(servers::dynamodb_local_url()).await?;
    }
    if !servers::without("dynoxide") {
        dynamodb(servers::dynoxide_url()).await?;
    }
    Ok(())
}
