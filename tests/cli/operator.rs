//! What an operator types, and what is to be read then.

use std::fs::File;
use std::io::{Read, Write};

use anyhow::{Context, Result, ensure};
use nix::pty::{OpenptyResult, openpty};
use serde_json::Value;
use tokio::process::Command;

use super::command::{End, ended};

/// Runs it without a terminal, so without colours.
pub async fn run(command: Command) -> Result<End> {
    let end = ended(command).await?;
    let is_plain = !format!("{}{}", end.stdout, end.stderr).contains('\x1b');
    ensure!(is_plain, "an escape code: {end:?}");
    Ok(end)
}

impl End {
    /// What it printed, if it ended with this code.
    pub fn with(self, code: i32) -> Result<String> {
        ensure!(self.code == Some(code), "{self:?}");
        Ok(self.stdout)
    }

    /// What it printed, as lines of JSON.
    pub fn json(self, code: i32) -> Result<Vec<Value>> {
        let text = self.with(code)?;
        let parse = |line| serde_json::from_str(line).with_context(|| text.clone());
        text.lines().map(parse).collect()
    }
}

/// Runs it on a terminal until it shows this. Then types what that says or, if there is nothing to type, kills it: its exit
/// code, and all that is on the terminal.
pub async fn run_on_terminal(
    command: Command,
    shown: &'static str,
    typed: impl FnOnce() -> Option<&'static str> + Send + 'static,
) -> Result<(Option<i32>, String)> {
    let mut command = command.into_std();
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
        let mut typed = Some(typed);
        // The terminal ends with an error when the command does.
        while let Ok(read @ 1..) = master.read(&mut chunk) {
            screen.extend_from_slice(&chunk[..read]);
            if String::from_utf8_lossy(&screen).contains(shown)
                && let Some(typed) = typed.take()
            {
                match typed() {
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
