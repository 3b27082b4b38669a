//! Which database the locks are in.

use doclock::{LockClient, URL_VARIABLE, connect};

use crate::exit::{Exit, Failure};

/// Said once, and understood by every subcommand.
#[derive(clap::Args)]
pub(crate) struct Database {
    /// Where the locks are: `mongodb://host/database?collection=locks`, `mongodb+srv://…` or `dynamodb://region/table`
    ///
    /// A URL with a password belongs in the environment: everybody on the machine can read the arguments of a command.
    #[arg(long, global = true, env = URL_VARIABLE, hide_env_values = true)]
    url: Option<String>,
}

impl Database {
    /// A client. Nothing is sent yet.
    pub(crate) async fn connect(&self) -> Result<LockClient, Failure> {
        let Some(url) = &self.url else {
            let message = format!(
                "no database: set {URL_VARIABLE}, or --url, to a URL such as dynamodb://eu-west-1/locks or \
                 mongodb://host/database"
            );
            return Err(Failure::new(Exit::CONFIG, message));
        };
        connect(url)
            .await
            .map_err(|error| Failure::from(error).with_exit(Exit::CONFIG))
    }
}
