//! The lease is lost while the command runs.

use anyhow::Result;

use super::command::{MEMORY, Notes, STUBBORN, SUCCESSOR, doclock, end_of, ended};
use crate::processes::site::{Site, dynamodb_url, on_every_server};
use crate::support::proxy::Proxy;
use crate::support::servers;
use crate::support::wire::Wire;

/// Ends well when it is asked to.
const OBEDIENT: &str =
    "trap 'echo asked > asked; exit 0' TERM; echo up > up; while :; do sleep 0.02; done";

on_every_server! {
    /// By an operator: learnt at the next renewal. Others may have it at once.
    async fn a_lock_that_is_taken_away_ends_the_command(site: Site) {
        let (url, notes) = (site.fresh().await?, Notes::new()?);
        let mut holder = notes.doclock(&url, "run --ttl 8s k", STUBBORN).spawn()?;
        notes.written("child").await?;
        let taken = doclock::connect(&url).await?.force_release("k").await?;
        assert_eq!(taken.len(), 1);
        assert_eq!(holder.wait().await?.code(), Some(76));
        let successor = ended(notes.doclock(&url, "run --no-wait k", SUCCESSOR)).await?;
        assert_eq!(successor.code, Some(0), "{successor:?}");
        notes.in_order("child", "successor")?;
        let end = end_of(holder).await?;
        assert!(end.stderr.contains("gone from the database"), "{end:?}");
    }
}

/// The command is asked to end before the lease does, and what it makes of that is no success.
#[tokio::test]
async fn a_database_that_is_cut_off_ends_the_command() -> Result<()> {
    if Site::Dynoxide.is_left_out() {
        return Ok(());
    }
    let (straight, notes) = (Site::Dynoxide.fresh().await?, Notes::new()?);
    let server = servers::dynoxide_url();
    let proxy = Proxy::start(servers::addr_of(server)?, Wire::Http).await?;
    let table = straight.split(['/', '?']).nth(3).unwrap_or_default();
    let through = dynamodb_url(&proxy.http_url(), table);
    let holder = notes
        .doclock(&through, "run --ttl 8s k", OBEDIENT)
        .spawn()?;
    notes.written("up").await?;
    proxy.black_hole(true);
    let end = end_of(holder).await?;
    assert_eq!(end.code, Some(76), "{end:?}");
    assert_eq!(notes.read("asked"), "asked\n");
    Ok(())
}

#[tokio::test]
async fn a_maximum_hold_ends_the_command() -> Result<()> {
    let notes = Notes::new()?;
    for (hold, script, asked) in [("1s", STUBBORN, ""), ("8s", OBEDIENT, "asked\n")] {
        let args = format!("run --max-hold {hold} k");
        let end = ended(notes.doclock(MEMORY, &args, script)).await?;
        assert_eq!(end.code, Some(76), "{end:?}");
        assert_eq!(notes.read("asked"), asked);
    }
    Ok(())
}

/// As long as the lease is renewed.
#[tokio::test]
async fn a_command_may_take_longer_than_the_ttl() -> Result<()> {
    let args = "run --ttl 2s --max-hold 1h k";
    let end = ended(doclock(MEMORY, args, "sleep 3; exit 3")).await?;
    assert_eq!((end.code, end.stderr.as_str()), (Some(3), ""));
    Ok(())
}
