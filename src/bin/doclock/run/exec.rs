//! How the command is started, and whether it can be.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::SigSet;
use nix::unistd::{AccessFlags, Pid, access, getppid};

use crate::exit::{Exit, Failure};

/// The name of the subcommand that becomes the command.
pub(crate) const NAME: &str = "__exec";

/// What the guard starts.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The process that the command must not outlive
    #[arg(long)]
    parent: i32,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// This very program, even if its file has been replaced meanwhile.
pub(super) fn ourselves() -> io::Result<Command> {
    let link = Path::new("/proc/self/exe");
    let path = if link.exists() {
        link.to_owned()
    } else {
        env::current_exe()?
    };
    let mut command = Command::new(path);
    command.arg0("doclock");
    Ok(command)
}

/// Becomes the command, once it is sure to die with its parent.
pub(super) fn shim(command: &[OsString], parent: Pid) -> io::Result<Command> {
    let mut shim = ourselves()?;
    let parent = parent.to_string();
    shim.args([NAME, "--parent", &parent, "--"]).args(command);
    Ok(shim)
}

/// Returns only if the command cannot be run.
pub(crate) fn run(args: &Args) -> Failure {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL) {
        return Failure::new(Exit::SOFTWARE, format!("no death signal: {error}"));
    }
    if getppid() != Pid::from_raw(args.parent) {
        // It died before that.
        return Failure::new(Exit::LOST, "the guard was killed");
    }
    // What is blocked for the guard is not for the command.
    let _ = SigSet::all().thread_unblock();
    let Some((program, arguments)) = args.command.split_first() else {
        return Failure::new(Exit::USAGE, "no command");
    };
    let error = Command::new(program).args(arguments).exec();
    let exit = match error.kind() {
        io::ErrorKind::NotFound => Exit::NOT_FOUND,
        _ => Exit::CANNOT_RUN,
    };
    Failure::new(exit, format!("{}: {error}", program.display()))
}

/// Whether the command is there and may be run: to know before a lock is taken.
pub(super) fn check(command: &[OsString]) -> Result<(), Failure> {
    let program = command.first().map_or(OsStr::new(""), OsString::as_os_str);
    let is_there = |path: &PathBuf| path.is_file();
    let may_run = |path: &PathBuf| access(path, AccessFlags::X_OK).is_ok();
    let found: Vec<PathBuf> = candidates(program).into_iter().filter(is_there).collect();
    if found.iter().any(may_run) {
        return Ok(());
    }
    let (exit, what) = if found.is_empty() {
        (Exit::NOT_FOUND, "command not found")
    } else {
        (Exit::CANNOT_RUN, "permission denied")
    };
    Err(Failure::new(exit, format!("{}: {what}", program.display())))
}

/// Where a shell would look.
fn candidates(program: &OsStr) -> Vec<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return vec![program.into()];
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(program))
        .collect()
}
