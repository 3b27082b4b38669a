//! What each call sends.

use anyhow::Result;
use doclock::{
    AcquireOutcome, Backend, Mode, ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest,
};
use mongodb::bson::doc;

use super::fixture::{Fixture, past, request};

const MODES: [Mode; 3] = [Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 2 }];

#[tokio::test]
async fn the_plain_cases_are_one_request_each() -> Result<()> {
    let locks = Fixture::new().await?;
    for mode in MODES {
        let key = mode.name();
        let acquire = request(key, mode);
        let grant = locks.granted(&acquire).await?;
        assert_eq!(locks.commands.take(), ["findAndModify"], "absent, {mode:?}");

        let renewal = RenewRequest::new(&acquire, grant.token, 2);
        let renewed = locks.backend.renew(&renewal).await?;
        assert!(matches!(renewed, RenewOutcome::Renewed(validity) if validity.seq == 2));
        assert_eq!(locks.commands.take(), ["update"], "renew, {mode:?}");

        let release = ReleaseRequest::new(&acquire.key, &acquire.owner, &acquire.id);
        assert_eq!(
            locks.backend.release(&release).await?,
            ReleaseOutcome::Released
        );
        assert_eq!(locks.commands.take(), ["update"], "release, {mode:?}");

        let again = request(key, mode);
        locks.granted(&again).await?;
        assert_eq!(
            locks.commands.take(),
            ["findAndModify"],
            "released, {mode:?}"
        );

        locks
            .set(key, doc! { "holders.0.expiresAt": past() })
            .await?;
        let heir = request(key, mode);
        locks.granted(&heir).await?;
        assert_eq!(locks.commands.take(), ["findAndModify"], "dead, {mode:?}");
        let holders = locks.backend.inspect(&heir.key).await?.unwrap().holders;
        assert_eq!(holders.len(), 1, "{mode:?}");
        locks.commands.take();

        if mode != Mode::Exclusive {
            locks.granted(&request(key, mode)).await?;
            assert_eq!(locks.commands.take(), ["findAndModify"], "beside, {mode:?}");
        }
        let other = if mode == Mode::Shared {
            Mode::Exclusive
        } else {
            mode
        };
        let contended = locks.backend.acquire(&request(key, other)).await?;
        assert!(
            matches!(contended, AcquireOutcome::Held(_)),
            "{contended:?}"
        );
        assert_eq!(
            locks.commands.take(),
            ["findAndModify"],
            "contended, {mode:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_needs_the_rules_is_two() -> Result<()> {
    let locks = Fixture::new().await?;
    let mut mine = request("k", Mode::Exclusive);
    let first = locks.granted(&mine).await?;
    locks.commands.take();

    // The same acquisition again: nothing to write.
    mine.seq = 2;
    let again = locks.granted(&mine).await?;
    assert_eq!((again.token, again.validity.seq), (first.token, 1));
    assert_eq!(locks.commands.take(), ["findAndModify"]);

    let mut takeover = request("k", Mode::Exclusive);
    takeover.owner = mine.owner.clone();
    let second = locks.granted(&takeover).await?;
    assert!(second.token > first.token);
    assert_eq!(locks.commands.take(), ["findAndModify", "findAndModify"]);

    // A late duplicate of an earlier renewal: nothing to update, so look.
    let renewal = RenewRequest::new(&takeover, second.token, 5);
    locks.backend.renew(&renewal).await?;
    let before = locks.bytes("k").await?;
    locks.commands.take();
    let late = RenewRequest::new(&takeover, second.token, 4);
    let renewed = locks.backend.renew(&late).await?;
    assert!(matches!(renewed, RenewOutcome::Renewed(validity) if validity.seq == 5));
    assert_eq!(locks.commands.take(), ["update", "findAndModify"]);
    assert_eq!(locks.bytes("k").await?, before);

    // Lost.
    let renewal = RenewRequest::new(&mine, first.token, 3);
    assert_eq!(locks.backend.renew(&renewal).await?, RenewOutcome::Lost);
    assert_eq!(locks.commands.take(), ["update", "findAndModify"]);
    Ok(())
}

#[tokio::test]
async fn a_refused_attempt_leaves_no_trace() -> Result<()> {
    let locks = Fixture::new().await?;
    for mode in MODES {
        let key = mode.name();
        let mut mine = request(key, Mode::Permit { limit: 1 });
        if mode == Mode::Shared {
            mine = request(key, Mode::Exclusive);
        }
        let grant = locks.granted(&mine).await?;
        let (before, entries) = (locks.bytes(key).await?, locks.oplog().await?);
        assert!(entries > 0);

        let theirs = match mode {
            Mode::Permit { .. } => Mode::Permit { limit: 1 },
            other => other,
        };
        let outcome = locks.backend.acquire(&request(key, theirs)).await?;
        assert!(matches!(outcome, AcquireOutcome::Held(_)));
        let mut stranger = RenewRequest::new(&request(key, mode), grant.token, 9);
        assert_eq!(locks.backend.renew(&stranger).await?, RenewOutcome::Lost);
        stranger.owner = mine.owner.clone();
        assert_eq!(locks.backend.renew(&stranger).await?, RenewOutcome::Lost);
        let release = ReleaseRequest::new(&mine.key, &mine.owner, &stranger.id);
        assert_eq!(
            locks.backend.release(&release).await?,
            ReleaseOutcome::NotHeld
        );

        assert_eq!(locks.bytes(key).await?, before, "{mode:?}");
        assert_eq!(locks.oplog().await?, entries, "{mode:?}");
    }
    Ok(())
}
