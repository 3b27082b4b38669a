//! Renewing many leases by one command.

use std::time::Duration;

use anyhow::Result;
use doclock::{AcquireRequest, Backend, ErrorKind, LeaseId, Mode, RenewRequest};
use futures_util::future::try_join_all;
use mongodb::bson::{Document, doc};

use super::faults::{ALONE, unconfirmed};
use super::fixture::{Fixture, request};
use crate::support::renewals::seqs;

const MANY: usize = 60;

/// Leases on as many keys, and a renewal of each.
async fn many(locks: &Fixture) -> Result<Vec<RenewRequest>> {
    let mode = |n: usize| match n % 3 {
        0 => Mode::Exclusive,
        1 => Mode::Shared,
        _ => Mode::Permit { limit: 2 },
    };
    let requests: Vec<AcquireRequest> = (0..MANY)
        .map(|n| request(&format!("k{n}"), mode(n)))
        .collect();
    let grants = try_join_all(requests.iter().map(|request| locks.granted(request))).await?;
    locks.commands.take();
    let renewal = |(request, grant): (&AcquireRequest, &doclock::Grant)| {
        RenewRequest::new(request, grant.token, 2)
    };
    Ok(requests.iter().zip(&grants).map(renewal).collect())
}

async fn stands(locks: &Fixture, renewal: &RenewRequest, seq: u64) -> Result<bool> {
    let record = locks.backend.inspect(&renewal.key).await?;
    let holder = record
        .as_ref()
        .and_then(|record| record.holder(&renewal.id));
    Ok(holder.is_some_and(|holder| holder.seq == seq))
}

#[tokio::test]
async fn all_that_is_due_is_one_command() -> Result<()> {
    let locks = Fixture::new().await?;
    let renewals = many(&locks).await?;
    assert_eq!(seqs(&locks.backend, &renewals).await, [Ok(Some(2)); MANY]);
    assert_eq!(locks.commands.take(), ["update"]);
    for renewal in &renewals {
        assert!(stands(&locks, renewal, 2).await?);
    }
    Ok(())
}

/// One look tells which it is; that one alone is asked for again.
#[tokio::test]
async fn one_that_is_lost_costs_no_other() -> Result<()> {
    let locks = Fixture::new().await?;
    let renewals = many(&locks).await?;
    locks.backend.force_release(&renewals[41].key).await?;
    locks.commands.take();
    let mut wanted = [Ok(Some(2)); MANY];
    wanted[41] = Ok(None);
    assert_eq!(seqs(&locks.backend, &renewals).await, wanted);
    assert_eq!(
        locks.commands.take(),
        ["update", "find", "update", "findAndModify"]
    );
    Ok(())
}

#[tokio::test]
async fn one_that_fails_fails_alone() -> Result<()> {
    let locks = Fixture::new().await?;
    let mut renewals = many(&locks).await?;
    locks.set("k7", doc! { "rev": "seven" }).await?;
    // No number of the database's.
    renewals.push(renewals[0].clone());
    renewals[MANY].seq = u64::MAX;
    let mut wanted = vec![Ok(Some(2)); MANY + 1];
    wanted[7] = Err(ErrorKind::CorruptRecord);
    wanted[MANY] = Err(ErrorKind::CorruptRecord);
    assert_eq!(seqs(&locks.backend, &renewals).await, wanted);
    Ok(())
}

#[tokio::test]
async fn what_is_not_confirmed_is_unknown_and_may_be_repeated() -> Result<()> {
    let _alone = ALONE.lock().await;
    let locks = Fixture::new().await?;
    let mut renewals = many(&locks).await?;
    let not_primary: Document = doc! { "failCommands": ["update"], "errorCode": 10107 };
    for (round, fault) in [(2, unconfirmed("update", &[])), (3, not_primary)] {
        locks.fail(1, fault).await?;
        assert_eq!(
            seqs(&locks.backend, &renewals).await,
            [Err(ErrorKind::OutcomeUnknown); MANY],
            "{round}"
        );
        for renewal in &mut renewals {
            renewal.seq += 1;
        }
        assert_eq!(
            seqs(&locks.backend, &renewals).await,
            [Ok(Some(round * 2 - 1)); MANY],
            "{round}"
        );
        for renewal in &mut renewals {
            renewal.seq += 1;
        }
    }
    Ok(())
}

/// What is wrong with one must not be told to all of them.
#[tokio::test]
async fn a_command_that_is_refused_is_taken_apart() -> Result<()> {
    let _alone = ALONE.lock().await;
    let locks = Fixture::new().await?;
    let renewals = many(&locks).await?;
    let fault = doc! { "failCommands": ["update"], "errorCode": 10334 };
    locks.fail(1, fault).await?;
    assert_eq!(seqs(&locks.backend, &renewals).await, [Ok(Some(2)); MANY]);
    let mut wanted = vec!["update", "find"];
    wanted.extend(["update"; MANY]);
    assert_eq!(locks.commands.take(), wanted);
    Ok(())
}

/// It may take longer than half of it: a slow majority would lose in a batch what it keeps by itself.
#[tokio::test]
async fn a_command_has_all_the_time_of_its_requests() -> Result<()> {
    let _alone = ALONE.lock().await;
    let locks = Fixture::new().await?;
    let mut renewals = many(&locks).await?;
    for renewal in &mut renewals {
        renewal.timeout = Duration::from_secs(5);
    }
    let slow = doc! { "failCommands": ["update"], "blockConnection": true, "blockTimeMS": 2600 };
    locks.fail(1, slow).await?;
    assert_eq!(seqs(&locks.backend, &renewals).await, [Ok(Some(2)); MANY]);
    Ok(())
}

/// The values of each stand beside an expression that all share.
#[tokio::test]
async fn an_id_that_looks_like_an_expression_is_only_a_name() -> Result<()> {
    let locks = Fixture::new().await?;
    let mut renewals = Vec::new();
    for id in ["$$ROOT", "$mode", "$$id", "{\"$eq\": [1, 1]}"] {
        let mut request = request(id, Mode::Exclusive);
        request.id = LeaseId::new(id)?;
        let grant = locks.granted(&request).await?;
        renewals.push(RenewRequest::new(&request, grant.token, 2));
    }
    locks.commands.take();
    assert_eq!(seqs(&locks.backend, &renewals).await, [Ok(Some(2)); 4]);
    assert_eq!(locks.commands.take(), ["update"]);
    Ok(())
}
