//! Nobody answers: the caller is told in the time that he gave.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use doclock::{Error, ErrorKind, LockClient};

use super::SLACK;
use crate::messages::link::Link;
use crate::processes::site::{dynamodb_url, mongodb_url, on_every_server};
use crate::support::port::{free_port, loopback};

const WAIT: Duration = Duration::from_secs(2);
/// What `try_acquire` takes at most unless told otherwise.
const TRY: Duration = Duration::from_secs(5);

async fn fails_in_time<T>(most: Duration, call: impl Future<Output = doclock::Result<T>>) -> Error {
    let start = Instant::now();
    let result = call.await;
    let took = start.elapsed();
    assert!(took < most + SLACK, "it took {took:?}, {most:?} were given");
    result.err().unwrap()
}

/// Whatever is asked.
async fn nothing_hangs(locks: &LockClient, kinds: &[ErrorKind]) {
    let lock = || locks.lock("k").wait(WAIT);
    let errors = tokio::join!(
        fails_in_time(WAIT, lock().acquire()),
        fails_in_time(TRY, lock().try_acquire()),
        fails_in_time(TRY, locks.inspect("k")),
    );
    for error in [errors.0, errors.1, errors.2] {
        assert!(kinds.contains(&error.kind()), "{error:?}");
        assert!(error.is_retryable());
    }
}

#[tokio::test]
async fn a_refused_connection_is_told_in_time() -> Result<()> {
    let nobody: SocketAddr = loopback(free_port()?);
    let locks = doclock::connect(&dynamodb_url(&format!("http://{nobody}"), "locks")).await?;
    nothing_hangs(&locks, &[ErrorKind::Unavailable]).await;
    // The driver goes on looking for its server for half a minute: longer than anybody here waits.
    let unknown = [ErrorKind::Unavailable, ErrorKind::OutcomeUnknown];
    for server in [
        format!("mongodb://{nobody}/?replicaSet=rs"),
        format!("mongodb://{nobody}/?directConnection=true"),
    ] {
        let locks = doclock::connect(&mongodb_url(&server, "locks")).await?;
        nothing_hangs(&locks, &unknown).await;
    }
    let server = format!("mongodb://{nobody}/?serverSelectionTimeoutMS=500");
    let locks = doclock::connect(&mongodb_url(&server, "locks")).await?;
    nothing_hangs(&locks, &[ErrorKind::Unavailable]).await;
    Ok(())
}

on_every_server! {
    /// The connection stands, and nothing comes through it.
    async fn a_black_hole_is_told_in_time(site: Site) {
        let link = Link::to(site).await?;
        let unknown = [ErrorKind::Unavailable, ErrorKind::OutcomeUnknown];
        link.proxy.black_hole(true);
        nothing_hangs(&link.through, &unknown).await;
        // One that has no connection yet.
        nothing_hangs(&link.another().await?, &unknown).await;
        link.proxy.black_hole(false);
        // What was sent meanwhile arrives now, and is given back.
        let lease = link.another().await?.lock("k").acquire().await?;
        lease.release().await?;
    }
}
