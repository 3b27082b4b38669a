//! What ends a server when the tests end, however they end.
//!
//! `Drop` is not enough: statics are never dropped, and a SIGKILL of the tests runs no code at all.
//! So a shell stands between. It reads a pipe whose other end only the tests have; at the end of
//! that pipe it kills the server and deletes the server's folder.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};
use nix::unistd::Pid;

/// `$1` is the server's folder, the rest its command. The pipe goes on as 3, because a shell gives its background
/// jobs `/dev/null`. The folder goes only at the pipe's end: a server that was killed may be restarted.
const WRAPPER: &str = r#"
home=$1
shift
exec 3<&0
"$@" 3<&- </dev/null >>"$home/log" 2>&1 &
server=$!
echo "$server"
exec >/dev/null 2>&1
(
    while read -r _ <&3; do :; done
    trap '' TERM
    kill -9 "$server"
    exit 0
) &
watcher=$!
wait "$server"
kill "$watcher"
wait "$watcher" && rm -rf "$home"
"#;

/// A shell with one run of one server.
#[derive(Debug)]
pub(super) struct Wrapper {
    /// The server's, not the shell's.
    pub(super) pid: Pid,
    shell: Child,
    /// Not left inside `shell`: `Child::wait` would close it.
    lifeline: ChildStdin,
}

impl Wrapper {
    pub(super) fn spawn(
        home: &Path,
        command: &[OsString],
        env: &[(String, String)],
    ) -> Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", WRAPPER, "wrapper"])
            .arg(home)
            .args(command)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C reaches the tests only; the shell must live to clean up after them.
            .process_group(0)
            .spawn()
            .context("cannot run sh")?;
        let lifeline = shell.stdin.take().context("no pipe to the shell")?;
        let stdout = shell.stdout.take().context("no pipe from the shell")?;
        let mut pid = String::new();
        BufReader::new(stdout).read_line(&mut pid)?;
        let pid = Pid::from_raw(pid.trim().parse().context("the shell told no pid")?);
        Ok(Self {
            pid,
            shell,
            lifeline,
        })
    }

    /// The shell lives exactly as long as the server.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.shell.try_wait(), Ok(None))
    }

    /// Server and folder are gone when this returns.
    pub(super) fn end(mut self) {
        drop(self.lifeline);
        let _ = self.shell.wait();
    }
}
