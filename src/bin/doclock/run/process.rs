//! A child process, and what becomes of it.

use std::io;
use std::process::{Child, Command};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::{self, SignalKind, signal};

use crate::exit::Exit;

/// What happened to a process.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Exited(u8),
    Killed(Signal),
    Stopped(Signal),
}

pub(super) struct Process {
    child: Child,
    changes: unix::Signal,
}

impl Process {
    pub(super) fn spawn(command: &mut Command) -> io::Result<Self> {
        // Before it starts, so that nothing is missed.
        let changes = signal(SignalKind::child())?;
        let child = command.spawn()?;
        Ok(Self { child, changes })
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Waits for the next change. Cancel safe.
    pub(super) async fn changed(&mut self) -> io::Result<Change> {
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
        loop {
            match waitpid(self.pid(), Some(flags))? {
                WaitStatus::Exited(_, code) => {
                    return Ok(Change::Exited(u8::try_from(code).unwrap_or(u8::MAX)));
                }
                WaitStatus::Signaled(_, signal, _) => return Ok(Change::Killed(signal)),
                WaitStatus::Stopped(_, signal) => return Ok(Change::Stopped(signal)),
                _ => self.changes.recv().await,
            };
        }
    }

    /// Waits for its end, and blocks: for one that was killed.
    pub(super) fn reap(&mut self) {
        // It may have been waited for.
        let _ = self.child.wait();
    }
}

/// Sends a signal to every process of a group. That there is none is as good.
pub(super) fn tell_group(group: Pid, signal: Signal) {
    match killpg(group, signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => crate::exit::say(&format!("cannot send {signal} to the command: {error}")),
    }
}

/// As a shell says it.
pub(super) fn killed_by(signal: Signal) -> Exit {
    Exit::new(u8::try_from(128 + signal as i32).unwrap_or(u8::MAX))
}
