//! The command `doclock`: locks in MongoDB or DynamoDB, from a shell.
//!
//! One file for each subcommand; what they share is [`connect`](mod@connect), [`exit`], [`out`], [`span`] and [`view`].

mod connect;
mod doctor;
mod exit;
mod ls;
mod out;
mod release;
#[cfg(unix)]
mod run;
mod setup;
mod shell;
mod show;
mod span;
mod view;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use tokio::runtime;

use crate::connect::Database;
use crate::exit::{Exit, Failure};

/// Distributed locks in the database that you already have: MongoDB or DynamoDB
#[derive(Parser)]
#[command(name = "doclock", version, after_help = exit::HELP)]
struct Cli {
    #[command(flatten)]
    database: Database,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[cfg(unix)]
    Run(run::Args),
    Ls(ls::Args),
    Show(show::Args),
    Watch(watch::Args),
    Release(release::Args),
    Setup(setup::Args),
    Doctor(doctor::Args),
    Completions(shell::Completions),
    Man(shell::Manual),
    #[cfg(unix)]
    #[command(name = run::guard::NAME, hide = true)]
    Guard(run::guard::Args),
    #[cfg(unix)]
    #[command(name = run::exec::NAME, hide = true)]
    Exec(run::exec::Args),
}

impl Command {
    async fn run(self, database: &Database) -> Result<Exit, Failure> {
        match self {
            #[cfg(unix)]
            Self::Run(args) => run::run(args, database).await,
            Self::Ls(args) => ls::run(args, database).await,
            Self::Show(args) => show::run(args, database).await,
            Self::Watch(args) => watch::run(args, database).await,
            Self::Release(args) => release::run(args, database).await,
            Self::Setup(args) => setup::run(args, database).await,
            Self::Doctor(args) => doctor::run(args, database).await,
            Self::Completions(args) => shell::completions(&args, &Cli::command()),
            Self::Man(args) => shell::manual(&args, Cli::command()),
            #[cfg(unix)]
            Self::Guard(args) => run::guard::run(args).await,
            #[cfg(unix)]
            Self::Exec(args) => Err(run::exec::run(&args)),
        }
    }
}

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => ended(start(cli)).into(),
        Err(error) => {
            // Help that was asked for is no mistake.
            let exit = if error.use_stderr() {
                Exit::USAGE
            } else {
                Exit::SUCCESS
            };
            // There is nobody left to tell that it cannot be printed.
            let _ = error.print();
            exit.into()
        }
    }
}

fn start(cli: Cli) -> Result<Exit, Failure> {
    // One thread: what `run` starts dies with the thread that started it.
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(cli.command.run(&cli.database));
    // A look-up of a name may take long, and nobody waits for it any more.
    runtime.shutdown_background();
    result
}

/// Says what went wrong, if something did.
fn ended(result: Result<Exit, Failure>) -> Exit {
    result.unwrap_or_else(|failure| {
        exit::say(&failure);
        failure.exit()
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }
}
