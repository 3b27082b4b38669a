//! Short runs: everything goes wrong, and nothing is granted that must not be.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
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

/// The folder is deleted with what is returned.
async fn run(
    backend: Backend,
    length: Duration,
    sabotage: Option<Sabotage>,
) -> Result<(Summary, TempDir)> {
    let _alone = ALONE.lock().await;
    let folder = TempDir::with_prefix("doclock-torture-")?;
    let plan = Plan {
        backend,
        length,
        seed: fastrand::u64(..),
        folder: folder.path().to_owned(),
        sabotage,
    };
    let summary = Summary::new(&plan, conductor::run(&plan).await?);
    Ok((summary, folder))
}

async fn holds(backend: Backend) -> Result<()> {
    if backend.site().is_left_out() {
        return Ok(());
    }
    let (summary, folder) = run(backend, LENGTH, None).await?;
    println!("{summary}");
    let failures = summary.failures();
    if failures.is_empty() {
        return Ok(());
    }
    summary.write(folder.path())?;
    bail!("{failures:?}: everything is in {}", folder.keep().display());
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
    let (summary, _folder) = run(Backend::Dynoxide, Duration::from_secs(12), sabotage).await?;
    let violations = summary.violations();
    ensure!(violations.contains_key("I3"), "{violations:?}");
    Ok(())
}
