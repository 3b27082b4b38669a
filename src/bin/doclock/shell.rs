//! `doclock completions` and `doclock man`: for packagers.

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::exit::{Exit, Failure};
use crate::out::print_raw;

const NAME: &str = env!("CARGO_BIN_NAME");

/// Print the completions of a shell
///
/// For instance `doclock completions bash > /etc/bash_completion.d/doclock`.
#[derive(clap::Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

/// Print a manual page, as roff
///
/// For instance `doclock man | man -l -`, or `doclock man run > doclock-run.1`.
#[derive(clap::Args)]
pub(crate) struct Manual {
    /// The page of a subcommand
    subcommand: Option<String>,
}

pub(crate) fn completions(args: &Completions, command: &Command) -> Result<Exit, Failure> {
    // They would offer what is hidden as well.
    let is_shown = |subcommand: &&Command| !subcommand.is_hide_set();
    let mut shown = Command::new(NAME)
        .args(command.get_arguments())
        .subcommands(command.get_subcommands().filter(is_shown));
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut shown, NAME, &mut script);
    print_raw(&script)?;
    Ok(Exit::SUCCESS)
}

pub(crate) fn manual(args: &Manual, mut command: Command) -> Result<Exit, Failure> {
    // So that each page knows what is said once for all of them.
    command.build();
    let page = match &args.subcommand {
        None => command,
        Some(name) => {
            let Some(found) = command.find_subcommand(name) else {
                let message = format!("there is no subcommand `{name}`: see doclock --help");
                return Err(Failure::new(Exit::USAGE, message));
            };
            found.clone()
        }
    };
    let mut roff = Vec::new();
    Man::new(page).render(&mut roff)?;
    print_raw(&roff)?;
    Ok(Exit::SUCCESS)
}
