//! The guard: a process between `doclock run` and the command, which ends the command in time even if `doclock run` is
//! stopped or killed.
//!
//! It leads the process group that the command is in. `doclock run` tells it of every renewal, by a pipe. Without news it
//! asks the group to end a while before the lease does, and kills it when the lease ends: nobody else is granted sooner.

use std::ffi::OsString;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, getpgid, getpgrp, getpid, getppid, setpgid};

use super::clock;
use super::control::Listener;
use super::exec;
use super::leash::{Leash, Step};
use super::process::{Change, Process, killed_by, tell_group};
use crate::exit::{Exit, Failure, say};

/// Timers stand still while the machine is suspended: look at the clock at least this often.
const LOOK: Duration = Duration::from_millis(100);

/// The name of the subcommand that is the guard.
pub(crate) const NAME: &str = "__guard";

/// What `doclock run` starts.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The number of the pipe's end
    #[arg(long)]
    pub(super) control: RawFd,
    /// How long before its end the command is asked to end, in ms
    #[arg(long)]
    pub(super) grace: u64,
    #[arg(last = true, required = true)]
    pub(super) command: Vec<OsString>,
}

/// The exit code is the command's own, or [`Exit::LOST`].
pub(crate) async fn run(args: Args) -> Result<Exit, Failure> {
    Ok(guard(args).await?)
}

async fn guard(args: Args) -> io::Result<Exit> {
    // All are meant for the command, which gets them itself; none may stop or end its guard.
    let mut signals = SigSet::all();
    signals.remove(Signal::SIGCHLD);
    signals.thread_block()?;
    let control = Listener::inherited(args.control)?;
    let Some(deadline) = control.told().await? else {
        return Ok(Exit::LOST);
    };
    let mut guard = Guard {
        leash: Leash::new(Duration::from_millis(args.grace), deadline),
        command: Process::spawn(&mut exec::shim(&args.command, getpid())?)?,
        control,
        group: getpgrp(),
    };
    let exit = guard.watch().await?;
    guard.end_group();
    // Not before it is over with it: the lock is released after this.
    guard.command.reap();
    Ok(if guard.leash.is_ending() {
        Exit::LOST
    } else {
        exit
    })
}

struct Guard {
    leash: Leash,
    command: Process,
    control: Listener,
    group: Pid,
}

impl Guard {
    /// Waits until the command has ended, or must be killed.
    async fn watch(&mut self) -> io::Result<Exit> {
        loop {
            let pause = match self.leash.step(clock::now()?) {
                Step::Wait(pause) => pause,
                Step::Terminate => {
                    self.ask_to_end();
                    continue;
                }
                Step::Kill => return Ok(Exit::LOST),
            };
            tokio::select! {
                change = self.command.changed() => match change? {
                    Change::Exited(code) => return Ok(Exit::new(code)),
                    Change::Killed(signal) => return Ok(killed_by(signal)),
                    // Its lock would stay taken, and the shell that Ctrl-Z is meant for does not get to know of it.
                    Change::Stopped(Signal::SIGTSTP) => tell_group(self.group, Signal::SIGCONT),
                    Change::Stopped(_) => {}
                },
                told = self.control.told(), if !self.leash.is_loose() => match told? {
                    Some(deadline) => self.leash.tell(deadline),
                    None => self.leash.let_go(),
                },
                () = tokio::time::sleep(pause.min(LOOK)) => {}
            }
        }
    }

    fn ask_to_end(&self) {
        say(if self.leash.is_loose() {
            &"`doclock run` was killed: the command has to end"
        } else {
            &"the lease is about to end, and was not renewed: the command has to end"
        });
        tell_group(self.group, Signal::SIGTERM);
        // One that is stopped could not.
        tell_group(self.group, Signal::SIGCONT);
    }

    /// Kills what is left of the group.
    fn end_group(&self) {
        // From outside, to tell how the command ended. Without `doclock run` there is nobody to tell, and no group to go to.
        let _ = getpgid(Some(getppid())).and_then(|group| setpgid(Pid::from_raw(0), group));
        tell_group(self.group, Signal::SIGKILL);
    }
}
