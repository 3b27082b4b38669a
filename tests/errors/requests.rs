//! Errors about requests: never sent, not answered, not understood.

use std::time::Duration;

use anyhow::Result;
use doclock::ErrorKind;
use mongodb::bson::doc;

use super::{SECRETS, assert_caused, assert_error};
use crate::messages::link::Link;
use crate::processes::site::{Site, dynamodb_url, mongodb_url, on_every_server};
use crate::support::port::{free_port, loopback};
use crate::support::raw::{http_reply, mongo_message};

const WAIT: Duration = Duration::from_millis(500);

on_every_server! {
    async fn what_cannot_work_is_not_sent(site: Site) {
        let link = Link::to(site).await?;
        let lock = |key: &str| link.through.lock(key).wait(WAIT);
        link.writes();
        for (error, says) in [
            (lock("").acquire().await.unwrap_err(), "key"),
            (lock("k").ttl(Duration::ZERO).acquire().await.unwrap_err(), "100 ms"),
            (lock("k").ttl(Duration::MAX).acquire().await.unwrap_err(), "24 h"),
            (lock("k").owner("").acquire().await.unwrap_err(), "owner"),
            (lock("k").margin(Duration::from_secs(20)).acquire().await.unwrap_err(), "half"),
            (lock("k").data(&"x".repeat(5000)).acquire().await.unwrap_err(), "4096"),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains(says), "{error}");
            assert!(!error.is_retryable());
        }
        assert_eq!(link.writes().len(), 0);
    }

    async fn an_answer_that_never_comes(site: Site) {
        let link = Link::to(site).await?;
        link.proxy.drop_replies_of(link.acquires(), usize::MAX);
        // The first attempt may be the last, so that nothing is recognised.
        link.proxy.drop_replies_of("GetItem", usize::MAX);
        let error = link.through.lock("k").wait(WAIT).acquire().await.unwrap_err();
        assert_error(&error, ErrorKind::OutcomeUnknown, &["acquire `k`"]);
        link.proxy.clear_faults();
    }
}

#[tokio::test]
async fn a_server_that_is_gone() -> Result<()> {
    let nobody = loopback(free_port()?);
    let dynamodb = doclock::connect(&dynamodb_url(&format!("http://{nobody}"), "locks")).await?;
    let error = dynamodb.lock("k").wait(WAIT).acquire().await.unwrap_err();
    assert_caused(
        &error,
        ErrorKind::Unavailable,
        &["acquire `k`", "check the network"],
    );

    // The driver goes on looking for the server until the caller's time is over, so nobody knows what became of it.
    let server = format!("mongodb://root:{}@{nobody}/?authSource=admin", SECRETS[0]);
    let mongodb = doclock::connect(&mongodb_url(&server, "locks")).await?;
    let error = mongodb.lock("k").wait(WAIT).acquire().await.unwrap_err();
    let kind = error.kind();
    assert!(
        matches!(kind, ErrorKind::Unavailable | ErrorKind::OutcomeUnknown),
        "{error:?}"
    );
    assert_error(&error, kind, &["acquire `k`", "check"]);
    Ok(())
}

#[tokio::test]
async fn a_server_that_does_not_run_pipelines() -> Result<()> {
    if Site::MongoDb.is_left_out() {
        return Ok(());
    }
    let link = Link::to(Site::MongoDb).await?;
    // As an old server, or one that only speaks MongoDB's protocol, answers.
    let refusal = doc! { "ok": 0.0, "code": 9, "codeName": "FailedToParse", "errmsg": "update must be an object" };
    let reply = mongo_message(&refusal)?;
    for operation in ["findAndModify", "update"] {
        link.proxy
            .answer_instead(operation, usize::MAX, reply.clone());
    }
    let error = link.through.lock("k").acquire().await.unwrap_err();
    assert_caused(
        &error,
        ErrorKind::Unsupported,
        &["acquire `k`", "MongoDB 5.0", "DocumentDB"],
    );
    let error = link.through.setup().await.unwrap_err();
    assert_caused(&error, ErrorKind::Unsupported, &["setup", "MongoDB 5.0"]);
    Ok(())
}

#[tokio::test]
async fn dynamodb_asks_to_slow_down_or_denies() -> Result<()> {
    if Site::Dynoxide.is_left_out() {
        return Ok(());
    }
    let link = Link::to(Site::Dynoxide).await?;
    for (name, kind, says) in [
        (
            "ThrottlingException",
            ErrorKind::Throttled,
            "raise its capacity",
        ),
        (
            "AccessDeniedException",
            ErrorKind::PermissionDenied,
            "`dynamodb:UpdateItem`",
        ),
        (
            "UnrecognizedClientException",
            ErrorKind::PermissionDenied,
            "credentials",
        ),
        (
            "ExpiredTokenException",
            ErrorKind::PermissionDenied,
            "credentials",
        ),
        (
            "SomethingNewException",
            ErrorKind::Other,
            "SomethingNewException",
        ),
    ] {
        let body =
            format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{name}","message":"no"}}"#);
        let reply = http_reply("400 Bad Request", &[], &body);
        link.proxy.answer_instead("UpdateItem", usize::MAX, reply);
        let error = link
            .through
            .lock("k")
            .wait(WAIT)
            .acquire()
            .await
            .unwrap_err();
        assert_caused(&error, kind, &["acquire `k`", says]);
        link.proxy.clear_faults();
    }
    Ok(())
}
