//! The command itself, as somebody types it.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use nix::pty::{OpenptyResult, openpty};
use serde_json::Value;

/// A command line, with this database in the environment.
pub fn doclock(url: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doclock"));
    command.env("DOCLOCK_URL", url).args(args);
    command
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    fn new(output: Output) -> Result<Self> {
        let ended = Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        };
        let is_plain = |text: &str| !text.contains('\x1b');
        ensure!(
            is_plain(&ended.stdout) && is_plain(&ended.stderr),
            "an escape code: {ended:?}"
        );
        Ok(ended)
    }

    /// What it printed, if it ended with this code.
    pub fn with(self, code: i32) -> Result<String> {
        ensure!(self.code == Some(code), "{self:?}");
        Ok(self.stdout)
    }

    /// What it printed, as lines of JSON.
    pub fn json(self, code: i32) -> Result<Vec<Value>> {
        let text = self.with(code)?;
        let lines = text
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| text.clone()));
        lines.collect()
    }
}

/// Runs it without a terminal. Leases of this test go on meanwhile.
pub async fn run(mut command: Command) -> Result<Ended> {
    command.stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    Ended::new(output)
}

/// Runs it on a terminal until it shows this, and then types that or, if there is nothing to type, kills it: its exit code,
/// and all that is on the terminal.
pub async fn run_on_terminal(
    mut command: Command,
    shown: &'static str,
    typed: Option<&'static str>,
) -> Result<(Option<i32>, String)> {
    let run = move || -> Result<_> {
        let OpenptyResult { master, slave } = openpty(None, None)?;
        command
            .env("TERM", "xterm")
            .stdin(slave.try_clone()?)
            .stdout(slave.try_clone()?)
            .stderr(slave);
        let mut child = command.spawn()?;
        // Its ends of the terminal: what reads would never end.
        drop(command);
        let mut master = File::from(master);
        let mut screen = Vec::new();
        let mut chunk = [0; 4096];
        let mut waits = true;
        // The terminal ends with an error when the command does.
        while let Ok(read @ 1..) = master.read(&mut chunk) {
            screen.extend_from_slice(&chunk[..read]);
            if waits && String::from_utf8_lossy(&screen).contains(shown) {
                waits = false;
                match typed {
                    Some(typed) => master.write_all(typed.as_bytes())?,
                    None => child.kill()?,
                }
            }
        }
        let code = child.wait()?.code();
        Ok((code, String::from_utf8_lossy(&screen).into_owned()))
    };
    tokio::task::spawn_blocking(run).await?
}
