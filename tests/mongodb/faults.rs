//! Answers that come late, by halves, or as an error.

use anyhow::Result;
use doclock::{
    Backend, ErrorKind, Mode, ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest,
};
use mongodb::bson::{Document, doc};
use tokio::sync::Mutex;

use super::fixture::{Fixture, request};
use super::queue::fair;

/// A server has one fail point: a test's takes the place of another one's.
pub(super) static ALONE: Mutex<()> = Mutex::const_new(());

pub(super) fn unconfirmed(command: &str, labels: &[&str]) -> Document {
    doc! {
        "failCommands": [command],
        "writeConcernError": { "code": 64, "errmsg": "waiting for replication timed out" },
        "errorLabels": labels.to_vec(),
    }
}

#[tokio::test]
async fn a_repeated_answer_is_recognised() -> Result<()> {
    let _alone = ALONE.lock().await;
    let locks = Fixture::new().await?;
    let mine = request("k", Mode::Exclusive);
    // Done, then lost: the driver sends it again, and the server repeats its answer without the projection.
    locks
        .fail(1, unconfirmed("findAndModify", &["RetryableWriteError"]))
        .await?;
    let grant = locks.granted(&mine).await?;
    assert_eq!(locks.commands.take(), ["findAndModify", "findAndModify"]);
    let record = locks.backend.inspect(&mine.key).await?.unwrap();
    assert_eq!((record.rev, record.token), (1, grant.token));

    locks
        .fail(1, unconfirmed("update", &["RetryableWriteError"]))
        .await?;
    let renewed = locks
        .backend
        .renew(&RenewRequest::new(&mine, grant.token, 2))
        .await?;
    assert!(matches!(renewed, RenewOutcome::Renewed(_)));
    locks
        .fail(1, unconfirmed("update", &["RetryableWriteError"]))
        .await?;
    let release = ReleaseRequest::new(&mine.key, &mine.owner, &mine.id);
    assert_eq!(
        locks.backend.release(&release).await?,
        ReleaseOutcome::Released
    );
    Ok(())
}

#[tokio::test]
async fn an_unconfirmed_write_is_unknown_an_unconfirmed_refusal_is_not() -> Result<()> {
    let _alone = ALONE.lock().await;
    let locks = Fixture::new().await?;
    let mut mine = request("k", Mode::Exclusive);
    locks.fail(1, unconfirmed("findAndModify", &[])).await?;
    let error = locks.backend.acquire(&mine).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    assert!(
        !format!("{error:?}").contains(mine.owner.as_str()),
        "{error:?}"
    );
    mine.seq = 2;
    assert_eq!(
        locks.granted(&mine).await?.validity.seq,
        1,
        "it had been granted"
    );

    locks.fail(1, unconfirmed("findAndModify", &[])).await?;
    let error = locks
        .backend
        .acquire(&request("k", Mode::Exclusive))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");

    locks.fail(1, unconfirmed("update", &[])).await?;
    let release = ReleaseRequest::new(&mine.key, &mine.owner, &mine.id);
    let error = locks.backend.release(&release).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    assert_eq!(
        locks.backend.release(&release).await?,
        ReleaseOutcome::Released
    );
    Ok(())
}

#[tokio::test]
async fn a_place_in_the_queue_survives_its_lost_answer_once() -> Result<()> {
    let _alone = ALONE.lock().await;
    let locks = Fixture::new().await?;
    locks.granted(&request("k", Mode::Exclusive)).await?;
    let lost = unconfirmed("findAndModify", &["RetryableWriteError"]);
    locks.commands.before(2, locks.failing(1, lost));
    let mut waiter = fair("k", Mode::Exclusive);
    locks.queued(&mut waiter).await?;
    // The repeated answer does not tell the time: one look more.
    assert_eq!(locks.commands.take().len(), 4);
    let record = locks.record(&waiter).await?;
    assert_eq!((record.queue.len(), record.rev), (1, 2));
    Ok(())
}

#[tokio::test]
async fn an_unconfirmed_place_in_the_queue_is_unknown() -> Result<()> {
    let _alone = ALONE.lock().await;
    let locks = Fixture::new().await?;
    locks.granted(&request("k", Mode::Exclusive)).await?;
    let fault = unconfirmed("findAndModify", &[]);
    locks.commands.before(2, locks.failing(1, fault));
    let mut waiter = fair("k", Mode::Exclusive);
    let error = locks.backend.acquire(&waiter).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    locks.commands.take();
    locks.queued(&mut waiter).await?;
    assert_eq!(locks.commands.take().len(), 1, "it stood there");
    let mut leave = ReleaseRequest::new(&waiter.key, &waiter.owner, &waiter.id);
    leave.queued = true;
    assert_eq!(
        locks.backend.release(&leave).await?,
        ReleaseOutcome::Released
    );
    Ok(())
}

#[tokio::test]
async fn codes_become_kinds() -> Result<()> {
    let _alone = ALONE.lock().await;
    let locks = Fixture::with(|options| options.retry_writes = Some(false), None).await?;
    for (code, kind) in [
        (13, ErrorKind::PermissionDenied),
        (50, ErrorKind::OutcomeUnknown),
        (17276, ErrorKind::Unsupported),
        (112, ErrorKind::Unavailable),
        (462, ErrorKind::Throttled),
    ] {
        locks
            .fail(
                1,
                doc! { "failCommands": ["findAndModify"], "errorCode": code },
            )
            .await?;
        let error = locks
            .backend
            .acquire(&request("k", Mode::Exclusive))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{code}: {error}");
        assert_eq!(
            (error.operation(), error.key().unwrap().as_str()),
            (Some("acquire"), "k")
        );
    }
    locks
        .fail(
            1,
            doc! { "failCommands": ["findAndModify"], "closeConnection": true },
        )
        .await?;
    let error = locks
        .backend
        .acquire(&request("k", Mode::Exclusive))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    let duplicate = doc! {
        "failCommands": ["findAndModify"],
        "errorCode": 11000,
        "errorExtraInfo": { "keyPattern": { "_id": 1 }, "keyValue": { "_id": "k" } },
    };
    locks.fail(4, duplicate.clone()).await?;
    let error = locks
        .backend
        .acquire(&request("k", Mode::Exclusive))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotSetUp, "{error}");
    locks.fail(3, duplicate).await?;
    locks.granted(&request("k", Mode::Exclusive)).await?;
    Ok(())
}
