//! Starts the processes, lets them begin at once, and collects what they tell.

use std::env;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use doclock::URL_VARIABLE;
use futures_util::future::try_join_all;
use indicatif::{ProgressBar, ProgressStyle};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::stock::Stock;
use crate::{EACH, PROCESSES};

/// What came of one run.
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) left: u32,
    pub(crate) processes: Vec<Vec<Grant>>,
}

/// One time that a process got the lock.
pub(crate) struct Grant {
    pub(crate) token: u64,
    pub(crate) waited: Duration,
}

impl Outcome {
    /// Whatever is left of the stock was taken, and forgotten.
    pub(crate) fn lost(&self) -> u32 {
        self.left
    }
}

/// Fills the stock and has four processes empty it.
pub(crate) async fn run(url: &str, name: &'static str, locked: bool) -> Result<Outcome> {
    let folder = TempDir::with_prefix("doclock-quickstart-")?;
    let stock = Stock::at(folder.path().join("stock"));
    stock.set(PROCESSES * EACH)?;

    let mut members = Vec::new();
    for _ in 0..PROCESSES {
        let mut command = Command::new(env::current_exe()?);
        command.arg("worker").arg(folder.path().join("stock"));
        command.args(locked.then_some("--locked"));
        // Not as an argument: it may have a password, and arguments are seen by everyone on the machine.
        command.env(URL_VARIABLE, url);
        members.push(Member::start(&mut command)?);
    }
    let style = ProgressStyle::with_template("{prefix:14} {bar:40} {pos:>3}/{len} {elapsed}")?;
    // Not drawn where the output is no terminal.
    let progress = ProgressBar::new(u64::from(PROCESSES * EACH))
        .with_style(style)
        .with_prefix(name);
    try_join_all(members.iter_mut().map(Member::is_ready)).await?;
    let all = members.into_iter().map(|member| member.work(&progress));
    let processes = try_join_all(all).await?;
    let seconds = progress.elapsed().as_secs_f64();
    progress.finish_and_clear();
    println!("  {name:14}  done in {seconds:.1} s");
    Ok(Outcome {
        name,
        left: stock.count()?,
        processes,
    })
}

/// One of the processes, as the first one sees it.
struct Member {
    process: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Member {
    fn start(command: &mut Command) -> Result<Self> {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = process.stdin.take().context("a process without input")?;
        let output = process.stdout.take().context("a process without output")?;
        Ok(Self {
            process,
            input,
            lines: BufReader::new(output).lines(),
        })
    }

    async fn is_ready(&mut self) -> Result<()> {
        let line = self.lines.next_line().await?;
        line.map(drop)
            .context("a process ended before its work began")
    }

    async fn work(mut self, progress: &ProgressBar) -> Result<Vec<Grant>> {
        self.input.write_all(b"begin\n").await?;
        let mut grants = Vec::new();
        while let Some(line) = self.lines.next_line().await? {
            let (token, micros) = line.split_once(' ').context("an unexpected line")?;
            grants.push(Grant {
                token: token.parse()?,
                waited: Duration::from_micros(micros.parse()?),
            });
            progress.inc(1);
        }
        ensure!(self.process.wait().await?.success(), "a process failed");
        Ok(grants)
    }
}
