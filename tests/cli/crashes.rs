//! `doclock run` or its guard is stopped or killed: the command is gone before the next one starts.

use std::time::Duration;

use anyhow::Result;
use futures_util::future::try_join_all;
use nix::sys::signal::{Signal, kill};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::time::timeout;

use super::command::{BOUND, MEMORY, Notes, STUBBORN, SUCCESSOR, end_of, ended, signal};
use crate::processes::patterns::usual_or_full;
use crate::processes::site::{Site, on_every_server};

const TTL: Duration = Duration::from_secs(2);

/// What is done to a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    Stop,
    Kill,
    KillTheGuard,
}

/// How `doclock run` has ended, if it was there to tell.
async fn strike(site: Site, url: &str, key: &str, blow: Blow) -> Result<Option<i32>> {
    let notes = Notes::new()?;
    let holder = format!("run --ttl {}s {key}", TTL.as_secs());
    let holder = notes.doclock(url, &holder, STUBBORN).spawn()?;
    notes.written("child").await?;
    notes.written("grandchild").await?;
    match blow {
        Blow::Stop => signal(&holder, Signal::SIGSTOP)?,
        Blow::Kill => signal(&holder, Signal::SIGKILL)?,
        Blow::KillTheGuard => kill(notes.pid("guard").await?, Signal::SIGKILL)?,
    }
    // Twice the bound: a late grant shall be told apart from none.
    let wait = (2 * site.takeover(TTL)).as_secs();
    let successor = format!("run --wait {wait}s {key}");
    let successor = ended(notes.doclock(url, &successor, SUCCESSOR)).await?;
    assert_eq!(successor.code, Some(0), "{successor:?}");
    notes.in_order("child", "successor")?;
    notes.in_order("grandchild", "successor")?;
    if blow == Blow::Stop {
        signal(&holder, Signal::SIGCONT)?;
    }
    Ok(end_of(holder).await?.code)
}

async fn rounds(site: Site, blow: Blow) -> Result<Vec<Option<i32>>> {
    let url = site.fresh().await?;
    let mut codes = Vec::new();
    // Some at a time: most of it is waiting.
    for batch in 0..usual_or_full(1, 10) {
        let round = async |of| strike(site, &url, &format!("k-{batch}-{of}"), blow).await;
        codes.extend(try_join_all((0..2).map(round)).await?);
    }
    println!(
        "{site:?}: {blow:?}, {} of {} in order",
        codes.len(),
        codes.len()
    );
    Ok(codes)
}

on_every_server! {
    /// It does not even know that its lease is over. When it goes on, it says so.
    async fn of_a_stopped_holder_nothing_is_left(site: Site) {
        let _alone = site.alone().await;
        let codes = rounds(site, Blow::Stop).await?;
        assert!(codes.iter().all(|code| *code == Some(76)), "{codes:?}");
    }

    async fn of_a_killed_holder_nothing_is_left(site: Site) {
        let _alone = site.alone().await;
        let codes = rounds(site, Blow::Kill).await?;
        assert!(codes.iter().all(Option::is_none), "{codes:?}");
    }

    async fn of_a_holder_without_guard_nothing_is_left(site: Site) {
        let _alone = site.alone().await;
        let codes = rounds(site, Blow::KillTheGuard).await?;
        assert!(codes.iter().all(|code| *code == Some(76)), "{codes:?}");
    }
}

/// It is asked to end at once, long before the lease does.
#[tokio::test]
async fn the_command_of_a_killed_holder_is_asked_to_end() -> Result<()> {
    let notes = Notes::new()?;
    let script = "trap 'echo asked > asked; exit' TERM; echo up > up; while :; do sleep 0.02; done";
    let holder = notes.doclock(MEMORY, "run --ttl 1h k", script).spawn()?;
    notes.written("up").await?;
    signal(&holder, Signal::SIGKILL)?;
    assert_eq!(notes.written("asked").await?, "asked");
    Ok(())
}

/// Both at once: nobody is left who could end it but the kernel.
#[tokio::test]
async fn a_command_does_not_outlive_its_guard() -> Result<()> {
    let notes = Notes::new()?;
    // Open for writing in the command, and in nothing that outlives it.
    let life = notes.path("life");
    nix::unistd::mkfifo(&life, nix::sys::stat::Mode::S_IRWXU)?;
    let script = "exec 3> life; echo $PPID > guard; while :; do sleep 0.02; done";
    let mut ended = pipe::OpenOptions::new().open_receiver(life)?;
    let holder = notes.doclock(MEMORY, "run k", script).spawn()?;
    let guard = notes.pid("guard").await?;
    signal(&holder, Signal::SIGSTOP)?;
    kill(guard, Signal::SIGKILL)?;
    timeout(BOUND, ended.read_to_end(&mut Vec::new())).await??;
    Ok(())
}
