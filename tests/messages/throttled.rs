//! DynamoDB asks to slow down, or fails, as its documentation says it may; no emulator does.

use std::time::{Duration, Instant};

use anyhow::Result;
use doclock::ErrorKind;

use super::link::{Link, TTL};
use crate::processes::site::Site;
use crate::support::raw::http_reply;

const WAIT: Duration = Duration::from_secs(2);
/// Two busy cores.
const SLACK: Duration = Duration::from_secs(2);

/// A status, an error type, and what it is to a caller.
const REFUSALS: [(&str, &str, ErrorKind); 4] = [
    (
        "400 Bad Request",
        "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
        ErrorKind::Throttled,
    ),
    (
        "400 Bad Request",
        "com.amazon.coral.availability#ThrottlingException",
        ErrorKind::Throttled,
    ),
    (
        "500 Internal Server Error",
        "com.amazonaws.dynamodb.v20120810#InternalServerError",
        ErrorKind::OutcomeUnknown,
    ),
    (
        "503 Service Unavailable",
        "com.amazon.coral.availability#ServiceUnavailableException",
        ErrorKind::OutcomeUnknown,
    ),
];

impl Link {
    fn refuse(&self, times: usize, status: &str, name: &str) {
        let body = format!(r#"{{"__type":"{name}","message":"as the test wants it"}}"#);
        let headers = [
            ("x-amzn-RequestId", "0123456789ABCDEF"),
            ("Content-Type", "application/x-amz-json-1.0"),
        ];
        let reply = http_reply(status, &headers, &body);
        self.proxy.answer_instead("UpdateItem", times, reply);
    }
}

#[tokio::test]
async fn a_refusal_is_retried_within_the_wait() -> Result<()> {
    if Site::Dynoxide.is_left_out() {
        return Ok(());
    }
    let link = Link::to(Site::Dynoxide).await?;
    for (status, name, _) in REFUSALS {
        let before = link.proxy.requests("UpdateItem");
        link.refuse(3, status, name);
        let lease = link.through.lock(name).ttl(TTL).acquire().await?;
        assert_eq!(link.proxy.requests("UpdateItem") - before, 4, "{name}");
        assert!(lease.is_held());

        link.refuse(2, status, name);
        lease.release().await?;
        assert_eq!(link.record(name).await?.holders, []);
        assert_eq!(link.proxy.faults_left(), 0);
    }
    Ok(())
}

#[tokio::test]
async fn refusals_for_ever_end_with_the_wait() -> Result<()> {
    if Site::Dynoxide.is_left_out() {
        return Ok(());
    }
    let link = Link::to(Site::Dynoxide).await?;
    for (status, name, kind) in REFUSALS {
        link.refuse(usize::MAX, status, name);
        let start = Instant::now();
        let error = link
            .through
            .lock(name)
            .wait(WAIT)
            .acquire()
            .await
            .unwrap_err();
        let took = start.elapsed();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.is_retryable());
        assert!(took < WAIT + SLACK, "{name}: {took:?}");
        link.proxy.clear_faults();
    }
    Ok(())
}

#[tokio::test]
async fn a_lease_that_cannot_be_renewed_for_throttling_is_lost_in_time() -> Result<()> {
    if Site::Dynoxide.is_left_out() {
        return Ok(());
    }
    let link = Link::to(Site::Dynoxide).await?;
    let ttl = Duration::from_secs(2);
    let start = Instant::now();
    let lease = link.through.lock("k").ttl(ttl).acquire().await?;
    let (status, name, _) = REFUSALS[0];
    link.refuse(usize::MAX, status, name);
    let lost = tokio::time::timeout(10 * ttl, lease.lost()).await?;
    assert_eq!(lost.kind(), ErrorKind::LeaseLost);
    // A renewal may have come in between.
    assert!(start.elapsed() < 2 * ttl + SLACK);
    assert!(!lease.is_held());
    Ok(())
}
