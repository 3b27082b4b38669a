//! How far `doclock run` has come, which says what a signal is for.

use std::cell::Cell;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::process::{killed_by, tell_group};
use super::signals::Signals;
use crate::exit::Exit;

/// Shared by the work and by what heeds signals meanwhile.
#[derive(Default)]
pub(super) struct Stage(Cell<At>);

#[derive(Clone, Copy, Default)]
enum At {
    /// For the lock.
    #[default]
    Waiting,
    Running(Pid),
    /// The lock is being given back.
    Ended(Exit),
}

impl Stage {
    pub(super) fn runs(&self, group: Pid) {
        self.0.set(At::Running(group));
    }

    pub(super) fn has_ended(&self, exit: Exit) {
        self.0.set(At::Ended(exit));
    }

    /// Passes signals on to the command, until one is for us: then it tells the exit code. Cancel safe.
    pub(super) async fn heed(&self, signals: &mut Signals) -> Exit {
        loop {
            let signal = signals.next().await;
            match self.0.get() {
                At::Running(group) => tell_group(group, signal),
                // It ends nobody.
                _ if signal == Signal::SIGWINCH => {}
                At::Waiting => return killed_by(signal),
                At::Ended(exit) => return exit,
            }
        }
    }
}
