//! What the examples share: a database to run on, and a line at the end that says what to do next.

#![allow(
    dead_code,
    reason = "every example compiles it, and none of them needs all"
)]

pub(crate) mod log;
pub(crate) mod team;

use std::env;
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::net::TcpListener;

/// What every example understands.
#[derive(clap::Args)]
pub(crate) struct Common {
    /// Where the locks are: mongodb://…, mongodb+srv://… or dynamodb://…; an embedded database if left out
    #[arg(long)]
    url: Option<String>,
    /// The number of a process that the first one started
    #[arg(long, hide = true)]
    pub(crate) process: Option<usize>,
}

impl Common {
    /// The URL of a database that is ready for locks.
    pub(crate) async fn database(&self) -> Result<String> {
        let url = match &self.url {
            Some(url) => url.clone(),
            None => embedded().await?,
        };
        // Once per deployment: makes the table, or the index. In memory there is nothing to make.
        doclock::connect(&url).await?.setup().await?;
        Ok(url)
    }

    /// The last words: what to read, and how to run it on a database of one's own.
    pub(crate) fn say_what_is_next(&self, read: &str) {
        println!();
        println!("Next: read {read}");
        if self.url.is_none() {
            let program = env::current_exe().unwrap_or_default();
            let example = program.file_stem().unwrap_or_default().display();
            println!("On a database of yours:");
            println!(
                "  cargo run --all-features --example {example} -- --url mongodb://localhost/test"
            );
        }
    }
}

async fn embedded() -> Result<String> {
    Ok(format!(
        "dynamodb://local/locks?endpoint={}",
        embedded_endpoint().await?
    ))
}

/// An empty DynamoDB inside this process, which others reach over HTTP.
pub(crate) async fn embedded_endpoint() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let database = dynoxide::Database::memory().context("the embedded database does not start")?;
    tokio::spawn(dynoxide::server::serve_on(listener, database));
    Ok(format!("http://{address}"))
}

/// A bar that is not drawn where the output is no terminal.
pub(crate) fn progress(length: usize, name: &'static str) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("{prefix:14} {bar:40} {pos:>3}/{len} {elapsed}")?;
    let progress = ProgressBar::new(length as u64)
        .with_style(style)
        .with_prefix(name);
    progress.enable_steady_tick(Duration::from_millis(100));
    Ok(progress)
}
