//! Answers that come late, by halves, or as an error.

use anyhow::Result;
use doclock::{
    Backend, ErrorKind, Mode, ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest,
};
use mongodb::bson::{Document, doc};

use super::fixture::{Fixture, request};

fn unconfirmed(command: &str, labels: &[&str]) -> Document {
    doc! {
        "failCommands": [command],
        "writeConcernError": { "code": 64, "errmsg": "waiting for replication timed out" },
        "errorLabels": labels.to_vec(),
    }
}

#[tokio::test]
async fn a_repeated_answer_is_recognised() -> Result<()> {
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
async fn codes_become_kinds() -> Result<()> {
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
