//! The other processes: this very program, told by an environment variable what to be.

use std::fs::OpenOptions;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::sync::watch;

use crate::client::{self, Settings};
use crate::{resource, servers};

/// A [`Role`] as JSON.
pub(crate) const ROLE: &str = "DOCLOCK_TORTURE_ROLE";
/// What tells a child's words from what the test harness prints.
const MARK: &str = "@@ ";

/// What a child is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    Client(Settings),
    Resource { folder: PathBuf, fenced: bool },
    Dynoxide { port: u16, file: PathBuf },
}

impl Role {
    /// What this process is told to be, if it is a child.
    pub(crate) fn told() -> Result<Option<Self>> {
        match std::env::var(ROLE) {
            Ok(role) => Ok(Some(serde_json::from_str(&role)?)),
            Err(_) => Ok(None),
        }
    }

    pub(crate) async fn play(self) -> Result<()> {
        match self {
            Self::Client(settings) => client::work(settings).await,
            Self::Resource { folder, fenced } => resource::serve(&folder, fenced).await,
            Self::Dynoxide { port, file } => servers::serve_dynoxide(port, &file).await,
        }
    }

    pub(crate) fn env(&self) -> Result<(String, String)> {
        Ok((ROLE.to_owned(), serde_json::to_string(self)?))
    }
}

/// What makes this program a child; in a test binary, that is one ignored test.
pub(crate) fn arguments() -> &'static [&'static str] {
    if cfg!(test) {
        &[
            "--exact",
            "tests::child",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ]
    } else {
        &[]
    }
}

/// A running child; dropping it kills it.
pub(crate) struct Child {
    process: tokio::process::Child,
    pid: Pid,
    stdin: ChildStdin,
}

/// What a child says.
pub(crate) struct Words(Lines<BufReader<ChildStdout>>);

impl Words {
    /// `None` once it has ended.
    pub(crate) async fn next(&mut self) -> Option<String> {
        while let Ok(Some(line)) = self.0.next_line().await {
            // The test harness may have begun the line.
            if let Some((_, words)) = line.split_once(MARK) {
                return Some(words.to_owned());
            }
        }
        None
    }
}

impl Child {
    /// `log` gets what it prints on its standard error.
    pub(crate) fn start(
        role: &Role,
        env: &[(String, String)],
        log: &Path,
    ) -> Result<(Self, Words)> {
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let mut process = Command::new(std::env::current_exe()?)
            .args(arguments())
            .envs([role.env()?])
            .envs(env.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let pid = process.id().context("it ended at once")?;
        let stdin = process.stdin.take().context("no stdin")?;
        let stdout = process.stdout.take().context("no stdout")?;
        let child = Self {
            process,
            pid: Pid::from_raw(pid.try_into()?),
            stdin,
        };
        Ok((child, Words(BufReader::new(stdout).lines())))
    }

    /// SIGSTOP or SIGCONT.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(self.pid, signal)?)
    }

    /// SIGKILL. It is gone when this returns.
    pub(crate) async fn kill(mut self) -> Result<()> {
        Ok(self.process.kill().await?)
    }

    /// False once it has ended, by itself or by a signal.
    pub(crate) fn is_running(&mut self) -> Result<bool> {
        Ok(self.process.try_wait()?.is_none())
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.stdin.write_all(b"stop\n").await?;
        let status = self.process.wait().await?;
        anyhow::ensure!(status.success(), "it ended with {status}");
        Ok(())
    }
}

/// In the child: says something to the conductor.
pub(crate) fn say(words: &str) {
    println!("{MARK}{words}");
}

/// In the child: true once it is to stop. Without a conductor it ends at once.
pub(crate) fn orders() -> watch::Receiver<bool> {
    let (stop, stopped) = watch::channel(false);
    std::thread::spawn(move || {
        let mut lines = std::io::stdin().lock().lines();
        while let Some(Ok(_)) = lines.next() {
            stop.send_replace(true);
        }
        std::process::exit(0);
    });
    stopped
}
