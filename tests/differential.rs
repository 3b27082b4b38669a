//! What a server decides by its own expressions is what the rules say: thousands of random records and requests, on
//! every backend, against `admit`, `renew` and `release`.
//!
//! Records are written and read by an encoder of this test's own. `DOCLOCK_TEST_SEED=n` replays one case.

mod check;
mod dynamodb;
mod handing;
mod mongodb;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use doclock::rules::ServerTime;
use doclock::{
    AcquireRequest, Backend, Key, LeaseId, LockRecord, Reason, ReleaseRequest, Slot, SlotStart,
    Timestamp,
};
use futures_util::future::join_all;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::support::generate;
use crate::support::servers::{dynamodb_local_url, dynoxide_url, mongodb_url, without};
use check::{Failure, Seen};

/// The default of both backends.
const SKEW: Duration = Duration::from_millis(500);
const WORKERS: usize = 16;
/// How often a failing case is made smaller: it must not take as long as its leases live.
const SHRINKS: usize = 100;

/// Whether a record must be there for the server to decide such a request, if it does at all.
fn rests_on_the_record(request: &AcquireRequest) -> bool {
    let recurs = |slot: Slot| slot.start != SlotStart::Once;
    request.slot.is_some_and(recurs) || request.replaces.is_some()
}

/// A backend, and the database under it.
trait Database {
    /// A document or an item.
    type Raw: Clone + Debug;

    fn backend(&self) -> &dyn Backend;

    /// How many the backend has sent so far.
    fn requests(&self) -> usize;

    /// What this database keeps of a record that holds more.
    fn keeps(&self, record: &mut LockRecord);

    /// What the backend knew of the time if it wrote this stamp, to a record that existed.
    fn time(&self, stamp: Timestamp, exists: bool) -> ServerTime;

    /// Whether the server decides this grant by itself, in the first request that writes.
    fn is_plain(&self, seen: Option<&LockRecord>, request: &AcquireRequest, now: Timestamp)
    -> bool;

    /// Whether the server hands this lock on by itself, in the first request.
    fn hands_over(
        &self,
        seen: Option<&LockRecord>,
        request: &AcquireRequest,
        now: Timestamp,
    ) -> bool;

    /// Whether the server refreshes this place in the queue by itself, in the first request that writes.
    fn is_plain_refresh(
        &self,
        _seen: Option<&LockRecord>,
        _request: &AcquireRequest,
        _now: Timestamp,
    ) -> bool {
        false
    }

    /// The most requests that such a release takes, if it ends something.
    fn release_cost(&self, seen: Option<&LockRecord>, request: &ReleaseRequest) -> usize {
        let standing = seen.and_then(|seen| seen.holder(&request.id));
        let plain = standing.is_some_and(|holder| holder.owner() == Some(&request.owner));
        if plain { 1 } else { 2 }
    }

    /// Whether it takes one request more to create a record for a run that starts at a given time.
    fn creates_late(&self) -> bool {
        false
    }

    /// Whether a waiter looks again before it believes such a refusal.
    fn confirms(&self, _request: &AcquireRequest, _reason: Reason) -> bool {
        false
    }

    /// What this database never does, of the ways that [`Seen`] wants to see.
    fn never(&self) -> &[&str] {
        &["acquire: plain turn"]
    }

    /// Whether a plain grant evicts the dead. If not, they count.
    fn plain_evicts(&self) -> bool;

    /// Whether a sharer that is recognised gets a new token.
    fn retokens(&self) -> bool;

    /// Whether one that waits looks before it writes.
    fn looks(&self) -> bool;

    /// The record as it is stored, with fields of somebody else's.
    fn encode(&self, key: &Key, record: &LockRecord) -> Self::Raw;

    async fn plant(&self, raw: &Self::Raw) -> Result<()>;

    async fn read(&self, key: &Key) -> Result<Option<Self::Raw>>;

    /// Equal only if nothing was written.
    fn bytes(&self, raw: &Self::Raw) -> Vec<u8>;

    /// Equal if the same record is stored.
    fn fields(&self, raw: &Self::Raw) -> BTreeMap<String, String>;
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_decides_as_the_rules_do() -> Result<()> {
    if without("mongodb") {
        return Ok(());
    }
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(mongodb::Documents::connect(mongodb_url()).await?);
    }
    Box::pin(all(&workers, 2000)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn dynoxide_decides_as_the_rules_do() -> Result<()> {
    if without("dynoxide") {
        return Ok(());
    }
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(dynamodb::Items::connect(dynoxide_url()).await?);
    }
    Box::pin(all(&workers, 1000)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_local_decides_as_the_rules_do() -> Result<()> {
    if without("dynamodb-local") {
        return Ok(());
    }
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(dynamodb::Items::connect(dynamodb_local_url()).await?);
    }
    Box::pin(all(&workers, 1000)).await
}

async fn all<D: Database>(workers: &[D], cases: u64) -> Result<()> {
    let mut seen = Seen::default();
    let mut failed = Vec::new();
    let acquired = cases / 10 * 6;
    let others = cases / 10 * 2;
    failed.extend(
        run(
            "acquire",
            workers,
            acquired,
            generate::acquire,
            check::acquire,
            &mut seen,
        )
        .await?,
    );
    failed.extend(
        run(
            "renew",
            workers,
            others,
            generate::renew,
            check::renew,
            &mut seen,
        )
        .await?,
    );
    failed.extend(
        run(
            "release",
            workers,
            others,
            generate::release,
            check::release,
            &mut seen,
        )
        .await?,
    );
    println!("{seen:#?}");
    if !failed.is_empty() {
        bail!("{}", failed.join("\n\n"));
    }
    if !is_replay() {
        seen.expect_all(workers[0].never())?;
    }
    Ok(())
}

/// The failures, the first one made as small as it gets.
async fn run<D: Database, R: Clone + Debug, S: Strategy<Value = (Option<LockRecord>, R)>>(
    operation: &str,
    workers: &[D],
    cases: u64,
    strategy: impl Fn(Timestamp) -> S,
    check: impl AsyncFn(&D, &Key, Option<LockRecord>, R) -> Result<&'static str, Failure>,
    ways: &mut Seen,
) -> Result<Option<String>> {
    let replay = std::env::var("DOCLOCK_TEST_SEED").ok();
    let replay = replay
        .map(|seed| seed.parse().context("DOCLOCK_TEST_SEED"))
        .transpose()?;
    let seeds: Vec<u64> = replay.map_or_else(|| (1..=cases).collect(), |seed| vec![seed]);
    let work = workers.iter().enumerate().map(async |(index, database)| {
        let mut ends = Vec::new();
        for seed in seeds.iter().skip(index).step_by(workers.len()) {
            let (record, request) = tree(*seed, &strategy(now())).current();
            let end = check(database, &fresh_key(*seed), record, request).await;
            ends.push((*seed, end));
        }
        ends
    });
    let mut failures = BTreeMap::new();
    for (seed, end) in join_all(work).await.into_iter().flatten() {
        match end {
            Ok(how) => ways.note(operation, how),
            Err(failure) => drop(failures.insert(seed, failure)),
        }
    }
    let count = failures.len();
    let Some((seed, mut failure)) = failures.pop_first() else {
        return Ok(None);
    };
    let mut kinds = BTreeMap::new();
    for (seed, other) in &failures {
        kinds
            .entry(other.what.clone())
            .or_insert_with(Vec::new)
            .push(seed);
    }
    let mut tree = tree(seed, &strategy(now()));
    let mut case = tree.current();
    let mut more = tree.simplify();
    for _ in 0..SHRINKS {
        if !more {
            break;
        }
        let smaller = tree.current();
        let (record, request) = smaller.clone();
        more = match check(&workers[0], &fresh_key(seed), record, request).await {
            Err(other) if other.what == failure.what => {
                (failure, case) = (other, smaller);
                tree.simplify()
            }
            _ => tree.complicate(),
        };
    }
    Ok(Some(format!(
        "{operation}: {count} of {cases} cases failed; more: {kinds:?}\n\
         DOCLOCK_TEST_SEED={seed}, made smaller: {}\n{}\nrecord: {:#?}\nrequest: {:#?}",
        failure.what, failure.detail, case.0, case.1
    )))
}

fn is_replay() -> bool {
    std::env::var_os("DOCLOCK_TEST_SEED").is_some()
}

fn tree<S: Strategy>(seed: u64, strategy: &S) -> S::Tree {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    strategy.new_tree(&mut runner).unwrap()
}

/// One that no run before has used, with characters that mean something elsewhere.
fn fresh_key(seed: u64) -> Key {
    let hard = ["", "$", ".", "#", ":", "'\"", "🔑", "$$ROOT."];
    let prefix = hard[usize::try_from(seed).unwrap() % hard.len()];
    Key::new(format!("{prefix}{}", LeaseId::random())).unwrap()
}

fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}
