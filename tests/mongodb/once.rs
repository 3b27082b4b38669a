//! What an idempotency record costs.

use std::time::Duration;

use anyhow::{Result, ensure};
use doclock::{Lease, LockClient, Once, Outcome};

use super::fixture::Fixture;

type Told = Outcome<u32, String>;

async fn runs(once: Once, value: u32) -> Result<Told> {
    Ok(once.run(async |_: &Lease| Ok(value)).await?)
}

#[tokio::test]
async fn a_first_run_is_two_requests_and_a_repeated_call_is_one() -> Result<()> {
    let locks = Fixture::new().await?;
    let client = LockClient::new(locks.backend.clone());
    let once = |id: &str| client.once(id).keep(Duration::from_hours(100));
    for id in ["first", "second"] {
        ensure!(runs(once(id), 1).await? == Outcome::Ran(1));
        assert_eq!(locks.commands.take(), ["findAndModify", "update"], "{id}");
        for _ in 0..2 {
            ensure!(runs(once(id), 2).await? == Outcome::Repeated(1));
            assert_eq!(locks.commands.take(), ["findAndModify"], "{id}");
        }
    }
    // A run that is repeated costs what the first one did.
    let failed = once("again").run(async |_| Err::<u32, _>("no".to_owned()));
    ensure!(failed.await? == Outcome::Failed("no".to_owned()));
    assert_eq!(locks.commands.take(), ["findAndModify", "update"]);
    ensure!(runs(once("again"), 1).await? == Outcome::Ran(1));
    assert_eq!(locks.commands.take(), ["findAndModify", "update"]);
    let status = once("again").status::<u32>().await?;
    ensure!(status == Some(doclock::Status::Done(1)));
    assert_eq!(locks.commands.take().len(), 1);
    Ok(())
}
