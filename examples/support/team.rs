//! Several processes of one program: the first one starts the others, and reads what they print.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::{env, io};

use anyhow::{Context, Result, ensure};
use doclock::{LockClient, URL_VARIABLE};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

/// In one of the others: its client. It goes on when the first process says so, after [`Team::begin`].
pub(crate) async fn join() -> Result<LockClient> {
    let locks = doclock::connect_from_env().await?;
    println!("ready");
    io::stdin().read_line(&mut String::new())?;
    Ok(locks)
}

/// In the first process: the others, by their numbers from 1.
pub(crate) struct Team {
    members: BTreeMap<usize, Member>,
    lines: mpsc::Receiver<(usize, String)>,
}

struct Member {
    process: Child,
    input: ChildStdin,
}

impl Team {
    /// Starts so many processes of this program, and waits until all are ready.
    pub(crate) async fn start(url: &str, count: usize, arguments: &[&str]) -> Result<Self> {
        ensure!(
            !url.starts_with("memory:"),
            "locks in memory are seen by one process only: leave --url out for an embedded database"
        );
        let (sender, lines) = mpsc::channel(100);
        let mut members = BTreeMap::new();
        let mut outputs = Vec::new();
        for number in 1..=count {
            let (member, output) = Member::start(url, number, arguments)?;
            members.insert(number, member);
            outputs.push(output);
        }
        for (number, mut output) in (1..).zip(outputs) {
            let ready = output.next_line().await?;
            ready.context("a process ended before its work began")?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while let Ok(Some(line)) = output.next_line().await {
                    if sender.send((number, line)).await.is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Self { members, lines })
    }

    /// Lets one of them begin.
    pub(crate) async fn begin(&mut self, number: usize) -> Result<()> {
        let member = self.members.get_mut(&number);
        let member = member.context("no such process")?;
        Ok(member.input.write_all(b"begin\n").await?)
    }

    /// Lets all of them begin at once.
    pub(crate) async fn begin_all(&mut self) -> Result<()> {
        for member in self.members.values_mut() {
            member.input.write_all(b"begin\n").await?;
        }
        Ok(())
    }

    /// The next line that one of them prints, and its number; `None` when all have ended.
    pub(crate) async fn line(&mut self) -> Option<(usize, String)> {
        self.lines.recv().await
    }

    /// Kills one of them, which has no chance to clean up.
    pub(crate) async fn kill(&mut self, number: usize) -> Result<()> {
        let member = self.members.remove(&number);
        let mut member = member.context("no such process")?;
        Ok(member.process.kill().await?)
    }

    /// Waits until all have ended by themselves, and well.
    pub(crate) async fn end(self) -> Result<()> {
        for (number, mut member) in self.members {
            drop(member.input);
            let status = member.process.wait().await?;
            ensure!(status.success(), "process {number} failed");
        }
        Ok(())
    }
}

impl Member {
    fn start(
        url: &str,
        number: usize,
        arguments: &[&str],
    ) -> Result<(Self, Lines<BufReader<ChildStdout>>)> {
        let mut process = Command::new(env::current_exe()?)
            .args(["--process", &number.to_string()])
            .args(arguments)
            // Not as an argument: it may have a password, and arguments are seen by everyone on the machine.
            .env(URL_VARIABLE, url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = process.stdin.take().context("a process without input")?;
        let output = process.stdout.take().context("a process without output")?;
        Ok((Self { process, input }, BufReader::new(output).lines()))
    }
}
