//! On a terminal: the command may read it, Ctrl-C is the command's, and Ctrl-Z does not suspend it.

use std::process::Stdio;

use anyhow::{Context, Result};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::command::{MEMORY, Notes, end_of};

/// Runs what it is told on a terminal of its own, with our stdin for a keyboard, and ends as it does. Whoever runs the tests
/// in the background may ignore signals, and what is ignored stays so.
const ON_A_TERMINAL: &str = "import os, pty, signal, sys
for ignored in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    signal.signal(ignored, signal.SIG_DFL)
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";

/// What is typed when the command is up: the exit code, and what was to be seen.
async fn typed(
    notes: &Notes,
    script: &str,
    keys: &[(&str, &str)],
) -> Result<(Option<i32>, String)> {
    let mut command = Command::new("python3");
    command
        .args([
            "-c",
            ON_A_TERMINAL,
            env!("CARGO_BIN_EXE_doclock"),
            "run",
            "k",
            "--",
        ])
        .args(["sh", "-c", script])
        .env("DOCLOCK_URL", MEMORY)
        .current_dir(notes.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut keyboard = child.stdin.take().context("no stdin")?;
    for (when, keys) in keys {
        notes.written(when).await?;
        keyboard.write_all(keys.as_bytes()).await?;
    }
    let end = end_of(child).await?;
    drop(keyboard);
    Ok((end.code, end.stdout + &end.stderr))
}

#[tokio::test]
async fn the_command_reads_the_terminal() -> Result<()> {
    let notes = Notes::new()?;
    let script = "echo up > up; read line; echo \"<$line>\"; exit 9";
    let (code, seen) = typed(&notes, script, &[("up", "hello\n")]).await?;
    assert_eq!(code, Some(9), "{seen}");
    assert!(seen.contains("<hello>"), "{seen}");
    Ok(())
}

#[tokio::test]
async fn ctrl_c_is_the_commands() -> Result<()> {
    let notes = Notes::new()?;
    let script = "trap 'echo got it; exit 9' INT; echo up > up; while :; do sleep 0.02; done";
    let (code, seen) = typed(&notes, script, &[("up", "\x03")]).await?;
    assert_eq!(code, Some(9), "{seen}");
    assert!(seen.contains("got it"), "{seen}");
    Ok(())
}

/// It would keep its lock.
#[tokio::test]
async fn ctrl_z_does_not_suspend_it() -> Result<()> {
    let notes = Notes::new()?;
    let script = "trap 'echo went on > on' CONT; echo up > up; while [ ! -e on ]; do sleep 0.02; done; read line; exit 9";
    let (code, seen) = typed(&notes, script, &[("up", "\x1a"), ("on", "hello\n")]).await?;
    assert_eq!(code, Some(9), "{seen}");
    Ok(())
}
