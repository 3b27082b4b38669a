//! The terminal. Only one group of processes may read it, and the command is in one of its own.

use std::io;

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};

/// The terminal is the command's until this is dropped.
pub(super) struct Terminal {
    ours: Pid,
}

impl Terminal {
    /// Hands it over. `None` if stdin is no terminal, or not ours to hand over: we run in the background.
    pub(super) fn hand_to(group: Pid) -> Option<Self> {
        let ours = getpgrp();
        if tcgetpgrp(io::stdin()) != Ok(ours) {
            return None;
        }
        tcsetpgrp(io::stdin(), group).ok().map(|()| Self { ours })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Whoever takes it from the background is stopped by this signal.
        let mut stop = SigSet::empty();
        stop.add(Signal::SIGTTOU);
        let _ = stop.thread_block();
        let _ = tcsetpgrp(io::stdin(), self.ours);
        let _ = stop.thread_unblock();
    }
}
