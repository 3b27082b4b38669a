//! The command, and what its children write down.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::support::poll;

/// No more than that the test ends.
pub const BOUND: Duration = Duration::from_mins(3);

/// In memory: a lock for one process, where the test is of something else.
pub const MEMORY: &str = "memory:";

/// Says again and again that it is there, and so does a child of its own; neither heeds SIGTERM.
pub const STUBBORN: &str = "trap '' TERM; echo $PPID > guard; \
     at_it() { while :; do date +%s%N >> $1; sleep 0.02; done; }; at_it grandchild & at_it child";
/// The same of the next holder: so long that a child that is left over would be seen beside it.
pub const SUCCESSOR: &str =
    "for _ in 1 2 3 4 5 6 7 8 9 10; do date +%s%N >> successor; sleep 0.02; done";

/// `doclock ARGS… -- sh -c SCRIPT`, with the locks of this database.
pub fn doclock(url: &str, args: &str, script: &str) -> Command {
    let mut command = plain(url, args);
    command.args(["--", "sh", "-c", script]);
    command
}

/// `doclock ARGS…`. Killed when the test is over with it; its guard then kills what it runs.
pub fn plain(url: &str, args: &str) -> Command {
    // Whoever runs the tests in the background may ignore these, and what is ignored stays so.
    let mut command = Command::new("env");
    command
        .args([
            "--default-signal=HUP,INT,QUIT",
            env!("CARGO_BIN_EXE_doclock"),
        ])
        .args(args.split_whitespace())
        .env("DOCLOCK_URL", url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// How it ended.
#[derive(Debug)]
pub struct End {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs it to its end.
pub async fn ended(mut command: Command) -> Result<End> {
    end_of(command.spawn()?).await
}

/// Waits for its end.
pub async fn end_of(child: Child) -> Result<End> {
    let output = timeout(BOUND, child.wait_with_output());
    let Output {
        status,
        stdout,
        stderr,
    } = output.await.context("it does not end")??;
    Ok(End {
        code: status.code(),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    })
}

/// Sends a signal to `doclock` alone.
pub fn signal(child: &Child, signal: Signal) -> Result<()> {
    let pid = child.id().context("it has ended")?;
    Ok(kill(Pid::from_raw(pid.try_into()?), signal)?)
}

/// A folder in which children write down what they do, each in a file of its own.
pub struct Notes(TempDir);

impl Notes {
    pub fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// With the folder as the working directory.
    pub fn doclock(&self, url: &str, args: &str, script: &str) -> Command {
        let mut command = doclock(url, args, script);
        command.current_dir(self.0.path());
        command
    }

    /// What is in a file; nothing if there is none.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Waits until something is in a file: a whole line of it.
    pub async fn written(&self, name: &str) -> Result<String> {
        poll::until_some(name, BOUND, || async {
            let text = self.read(name);
            text.ends_with('\n').then(|| text.trim().to_owned())
        })
        .await
    }

    /// The number in a file, of a process say.
    pub async fn pid(&self, name: &str) -> Result<Pid> {
        Ok(Pid::from_raw(self.written(name).await?.parse()?))
    }

    /// The instants in a file, by the machine's clock in ns. A process that was killed may have left half of one.
    pub fn instants(&self, name: &str) -> Result<Vec<u128>> {
        let text = self.read(name);
        let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
        let instants = whole.lines().map(|line| Ok(line.parse()?));
        instants.collect()
    }

    /// Every instant of the first comes before all of the second.
    pub fn in_order(&self, first: &str, second: &str) -> Result<()> {
        let last = self.instants(first)?.into_iter().max();
        let next = self.instants(second)?.into_iter().min();
        ensure!(last.is_some() && next.is_some(), "{last:?}, {next:?}");
        ensure!(
            last < next,
            "`{first}` was at it until {last:?}, `{second}` from {next:?}"
        );
        Ok(())
    }
}
