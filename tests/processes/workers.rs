//! Worker processes, from the outside.

use std::fmt;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// Where a worker takes its locks: doclock's URL.
pub const URL: &str = "DOCLOCK_TEST_WORKER_URL";
/// What clock it goes by: see [`Skewed`](super::skewed::Skewed).
pub const CLOCK: &str = "DOCLOCK_TEST_WORKER_CLOCK";
/// What tells an answer from what the test harness prints.
const MARK: &str = "@@ ";

/// No answer takes as long: a worker that hangs ends its test.
const PATIENCE: Duration = Duration::from_mins(3);

/// A worker process; dropping it kills it.
pub struct Worker {
    child: Child,
    pid: Pid,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    /// Answers that nobody has asked for yet.
    early: Vec<String>,
}

impl Worker {
    /// With the machine's own clock.
    pub async fn start(url: &str) -> Result<Self> {
        Self::start_with(url, &[]).await
    }

    /// With more environment variables.
    pub async fn start_with(url: &str, env: &[(&str, &str)]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([
                "--exact",
                super::ENTRY,
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(URL, url)
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().context("it ended at once")?;
        let stdin = child.stdin.take().context("no stdin")?;
        let stdout = child.stdout.take().context("no stdout")?;
        let mut worker = Self {
            child,
            pid: Pid::from_raw(pid.try_into()?),
            stdin,
            stdout: BufReader::new(stdout).lines(),
            early: Vec::new(),
        };
        worker.answer("ready").await?;
        Ok(worker)
    }

    /// Sends a command and waits for its answer.
    pub async fn ask(&mut self, command: &str) -> Result<String> {
        self.tell(command).await?;
        let name = command.split_whitespace().next().unwrap_or_default();
        self.answer(name).await.with_context(|| command.to_owned())
    }

    /// The same, for what must be granted: its fencing token.
    pub async fn granted(&mut self, command: &str) -> Result<u64> {
        let answer = self.ask(command).await?;
        token(&answer).with_context(|| command.to_owned())
    }

    /// Sends a command only. A stopped process will read it once it goes on.
    pub async fn tell(&mut self, command: &str) -> Result<()> {
        self.stdin
            .write_all(format!("{command}\n").as_bytes())
            .await?;
        Ok(self.stdin.flush().await?)
    }

    /// The next answer to this kind of command.
    pub async fn answer(&mut self, command: &str) -> Result<String> {
        let is_mine = |line: &String| line.split(' ').next() == Some(command);
        loop {
            if let Some(at) = self.early.iter().position(is_mine) {
                let line = self.early.remove(at);
                let (_, text) = line.split_once(' ').unwrap_or_default();
                return Ok(text.to_owned());
            }
            let line = timeout(PATIENCE, self.stdout.next_line())
                .await
                .with_context(|| format!("no answer to `{command}`"))??
                .ok_or_else(|| anyhow!("the worker ended before it answered `{command}`"))?;
            if let Some((_, answer)) = line.split_once(MARK) {
                self.early.push(answer.to_owned());
            }
        }
    }

    /// SIGSTOP: it stands still in the middle of whatever it does.
    pub fn pause(&self) -> Result<()> {
        Ok(kill(self.pid, Signal::SIGSTOP)?)
    }

    /// SIGCONT: it goes on.
    pub fn resume(&self) -> Result<()> {
        Ok(kill(self.pid, Signal::SIGCONT)?)
    }

    /// SIGKILL. It is gone when this returns.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// In the worker: says something.
pub fn answer(command: &str, text: impl fmt::Display) {
    // The test harness may have begun the line.
    println!("{MARK}{command} {text}");
}

/// The fencing token of an answer.
pub fn token(answer: &str) -> Result<u64> {
    let token = answer.strip_prefix("granted ");
    ensure!(token.is_some(), "not granted: {answer}");
    Ok(token.unwrap_or_default().parse()?)
}
