//! Short runs: everything goes wrong, and nothing is granted that must not be.

use std::time::Duration;

use anyhow::{Result, ensure};
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::child::Role;
use crate::conductor::{self, Plan, Sabotage};
use crate::report::Summary;
use crate::servers::Backend;

/// Long enough for each kind of misfortune.
const LENGTH: Duration = Duration::from_secs(25);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "entry point of the processes that other tests start"]
async fn child() -> Result<()> {
    match Role::told()? {
        Some(role) => role.play().await,
        // Somebody runs all ignored tests.
        None => Ok(()),
    }
}

/// Two cores bear one run at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

async fn run(backend: Backend, length: Duration, sabotage: Option<Sabotage>) -> Result<Summary> {
    let _alone = ALONE.lock().await;
    let folder = TempDir::with_prefix("doclock-torture-")?;
    let plan = Plan {
        backend,
        length,
        seed: fastrand::u64(..),
        folder: folder.path().to_owned(),
        sabotage,
    };
    let outcome = conductor::run(&plan).await;
    let summary = outcome.map(|outcome| Summary::new(&plan, outcome));
    if !matches!(&summary, Ok(summary) if summary.failures().is_empty()) {
        println!("what it left is in {}", folder.keep().display());
    }
    summary
}

async fn holds(backend: Backend) -> Result<()> {
    if backend.site().is_left_out() {
        return Ok(());
    }
    let summary = run(backend, LENGTH, None).await?;
    println!("{summary}");
    let failures = summary.failures();
    ensure!(failures.is_empty(), "{failures:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_holds() -> Result<()> {
    holds(Backend::Mongodb).await
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_local_holds() -> Result<()> {
    holds(Backend::DynamodbLocal).await
}

#[tokio::test(flavor = "multi_thread")]
async fn dynoxide_holds() -> Result<()> {
    holds(Backend::Dynoxide).await
}

/// Who believes in a lease for ever is found out.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_ignores_its_deadline_is_found() -> Result<()> {
    if Backend::Dynoxide.site().is_left_out() {
        return Ok(());
    }
    let sabotage = Some(Sabotage::IgnoreDeadline);
    let summary = run(Backend::Dynoxide, Duration::from_secs(12), sabotage).await?;
    let violations = summary.violations();
    ensure!(violations.contains_key("I3"), "{violations:?}");
    Ok(())
}
