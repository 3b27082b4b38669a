//! What the command has of `doclock run`: its streams, its environment, and the signals that come.

use std::process::Stdio;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::command::{BOUND, MEMORY, Notes, doclock, end_of, ended, signal};
use crate::processes::site::Site;
use crate::support::poll;

#[tokio::test]
async fn the_streams_are_the_commands_own() -> Result<()> {
    let mut command = doclock(MEMORY, "run k", "cat; echo err >&2");
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    stdin.write_all(b"hello\n").await?;
    drop(stdin);
    let end = end_of(child).await?;
    assert_eq!(end.code, Some(0));
    assert_eq!(
        (end.stdout.as_str(), end.stderr.as_str()),
        ("hello\n", "err\n")
    );
    Ok(())
}

#[tokio::test]
async fn a_hundred_megabytes_go_by() -> Result<()> {
    const BYTES: u64 = 100_000_000;
    let script = format!("head -c {BYTES} /dev/zero");
    let mut child = doclock(MEMORY, "run k", &script).spawn()?;
    let mut stdout = child.stdout.take().context("no stdout")?;
    let (mut count, mut buffer) = (0, vec![0; 1 << 16]);
    loop {
        match stdout.read(&mut buffer).await? {
            0 => break,
            bytes => count += bytes as u64,
        }
    }
    assert_eq!((count, child.wait().await?.code()), (BYTES, Some(0)));
    Ok(())
}

#[tokio::test]
async fn the_environment_tells_of_the_lock() -> Result<()> {
    if Site::Dynoxide.is_left_out() {
        return Ok(());
    }
    let url = Site::Dynoxide.fresh().await?;
    let script = "echo $DOCLOCK_KEY $DOCLOCK_OWNER $DOCLOCK_TOKEN";
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let end = ended(doclock(&url, "run --owner me the/key", script)).await?;
        let token = end.stdout.trim().strip_prefix("the/key me ");
        tokens.push(token.context(end.stdout.clone())?.parse::<u64>()?);
    }
    assert!(tokens[0] < tokens[1], "{tokens:?}");
    Ok(())
}

/// To the child and to what it has started; what they make of them is the end.
#[tokio::test]
async fn signals_are_passed_on() -> Result<()> {
    for which in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ] {
        let number = which as i32;
        let notes = Notes::new()?;
        // In the foreground: a shell has its background ignore some of them.
        let grandchild = format!(
            "trap 'echo got > grandchild; exit' {number}; echo up > up; while :; do sleep 0.02; done"
        );
        let script = format!("trap 'code=42' {number}; sh -c \"{grandchild}\"; exit $code");
        let child = notes.doclock(MEMORY, "run k", &script).spawn()?;
        notes.written("up").await?;
        signal(&child, which)?;
        let end = end_of(child).await?;
        assert_eq!(end.code, Some(42), "{which}: {end:?}");
        assert_eq!(notes.read("grandchild"), "got\n", "{which}");
    }
    Ok(())
}

#[tokio::test]
async fn a_command_that_ignores_a_signal_goes_on() -> Result<()> {
    let notes = Notes::new()?;
    let script = "trap '' TERM; echo up > up; while [ ! -e go ]; do sleep 0.02; done; exit 7";
    let child = notes.doclock(MEMORY, "run k", script).spawn()?;
    notes.written("up").await?;
    signal(&child, Signal::SIGTERM)?;
    std::fs::write(notes.path("go"), "")?;
    assert_eq!(end_of(child).await?.code, Some(7));
    Ok(())
}

/// As under `nohup`.
#[tokio::test]
async fn a_signal_that_was_ignored_stays_so() -> Result<()> {
    let notes = Notes::new()?;
    let doclock = env!("CARGO_BIN_EXE_doclock");
    let script = format!(
        "trap '' HUP; exec {doclock} run k -- sh -c 'echo up > up; while [ ! -e go ]; do sleep 0.02; done; kill -HUP $$'"
    );
    let mut shell = tokio::process::Command::new("sh");
    shell.args(["-c", &script]).env("DOCLOCK_URL", MEMORY);
    let child = shell
        .current_dir(notes.path(""))
        .kill_on_drop(true)
        .spawn()?;
    notes.written("up").await?;
    signal(&child, Signal::SIGHUP)?;
    std::fs::write(notes.path("go"), "")?;
    assert_eq!(end_of(child).await?.code, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_signal_ends_the_wait_and_leaves_no_place() -> Result<()> {
    if Site::Dynoxide.is_left_out() {
        return Ok(());
    }
    let (url, notes) = (Site::Dynoxide.fresh().await?, Notes::new()?);
    let locks = doclock::connect(&url).await?;
    let lease = locks.lock("k").acquire().await?;
    let waits = "run --fair --wait forever k";
    let waiter = notes.doclock(&url, waits, "echo ran > ran").spawn()?;
    let places = async || {
        let record = locks.inspect("k").await.ok().flatten();
        record.map_or(0, |record| record.queue.len())
    };
    poll::until("it stands in line", BOUND, || async { places().await == 1 }).await?;
    signal(&waiter, Signal::SIGTERM)?;
    assert_eq!(end_of(waiter).await?.code, Some(143));
    assert_eq!(places().await, 0);
    lease.release().await?;
    assert_eq!(notes.read("ran"), "");
    Ok(())
}

/// Nothing of the command works on without the lock.
#[tokio::test]
async fn what_the_command_leaves_running_is_killed() -> Result<()> {
    let notes = Notes::new()?;
    let script = "(trap '' TERM HUP; while :; do date +%s%N >> left; sleep 0.02; done) & \
         while [ ! -s left ]; do sleep 0.02; done; exit 3";
    let end = ended(notes.doclock(MEMORY, "run k", script)).await?;
    assert_eq!(end.code, Some(3));
    let after = "for _ in 1 2 3 4 5 6 7 8 9 10; do date +%s%N >> after; sleep 0.02; done";
    ended(notes.doclock(MEMORY, "run k", after)).await?;
    notes.in_order("left", "after")
}
