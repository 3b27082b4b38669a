//! The command under its guard, as `doclock run` sees it.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::control::{self, Teller};
use super::exec::ourselves;
use super::guard;
use super::process::{Change, Process, killed_by, tell_group};
use super::terminal::Terminal;
use crate::exit::Exit;

/// Dropped while it runs, it is killed: then the lease is lost, and another may hold the lock.
pub(super) struct Guarded {
    guard: Process,
    control: Teller,
    has_ended: bool,
    _terminal: Option<Terminal>,
}

impl Guarded {
    pub(super) fn start(
        command: &[OsString],
        env: &[(&str, String)],
        grace: Duration,
        deadline: Duration,
    ) -> io::Result<Self> {
        let (control, listener) = control::pair()?;
        let mut guard = ourselves()?;
        guard
            .args([guard::NAME, "--control", &listener.as_raw_fd().to_string()])
            .args(["--grace", &grace.as_millis().to_string(), "--"])
            .args(command)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .process_group(0);
        let guard = Process::spawn(&mut guard)?;
        let terminal = Terminal::hand_to(guard.pid());
        // Only now is the command started: it may read the terminal at once.
        control.tell(deadline);
        Ok(Self {
            guard,
            control,
            has_ended: false,
            _terminal: terminal,
        })
    }

    /// The process group of the command.
    pub(super) fn group(&self) -> Pid {
        self.guard.pid()
    }

    /// Until when the lease is held now.
    pub(super) fn tell(&self, deadline: Duration) {
        self.control.tell(deadline);
    }

    /// Waits for the end. Cancel safe.
    pub(super) async fn ended(&mut self) -> io::Result<Exit> {
        let exit = loop {
            match self.guard.changed().await? {
                Change::Exited(code) => break Exit::new(code),
                // By itself, at the end of the lease, or by somebody else: the command was not left without it.
                Change::Killed(Signal::SIGKILL) => break Exit::LOST,
                Change::Killed(signal) => break killed_by(signal),
                Change::Stopped(_) => {}
            }
        };
        self.has_ended = true;
        tell_group(self.group(), Signal::SIGKILL);
        Ok(exit)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if !self.has_ended {
            tell_group(self.group(), Signal::SIGKILL);
            self.guard.reap();
        }
    }
}
