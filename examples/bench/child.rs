//! The other processes: this very program, told by an environment variable what to be. They talk in lines of JSON.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader, Lines, Stdin, stdin};
use tokio::net::TcpListener;
use tokio::process::{ChildStdin, ChildStdout, Command};

use crate::raw::Way;
use crate::repeat::{Operation, repeat};
use crate::server::Site;
use crate::time::on_one_thread;
use crate::{cold, contention, handover};

/// A [`Role`] as JSON.
const ROLE: &str = "DOCLOCK_BENCH_ROLE";

/// What a child is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    Dynoxide,
    Contender {
        site: Site,
        tasks: usize,
    },
    Waiter {
        site: Site,
    },
    Shot {
        site: Site,
        way: Way,
    },
    Repeat {
        site: Option<Site>,
        operation: Operation,
        rounds: usize,
    },
}

impl Role {
    /// What this process is told to be, if it is a child.
    pub(crate) fn told() -> Result<Option<Self>> {
        match std::env::var(ROLE) {
            Ok(role) => Ok(Some(serde_json::from_str(&role)?)),
            Err(_) => Ok(None),
        }
    }

    pub(crate) async fn play(self) -> Result<()> {
        match self {
            Self::Dynoxide => dynoxide().await,
            Self::Contender { site, tasks } => contention::contend(&site, tasks).await,
            Self::Waiter { site } => handover::wait(&site).await,
            Self::Shot { site, way } => cold::shoot(&site, way).await,
            Self::Repeat {
                site,
                operation,
                rounds,
            } => on_one_thread(async move || repeat(site.as_ref(), operation, rounds).await).await,
        }
    }
}

/// A running child; dropping it kills it.
pub(crate) struct Child {
    process: tokio::process::Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Child {
    pub(crate) fn start(role: &Role) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .env(ROLE, serde_json::to_string(role)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = process.stdin.take().context("no stdin")?;
        let output = process.stdout.take().context("no stdout")?;
        Ok(Self {
            process,
            input,
            output: BufReader::new(output).lines(),
        })
    }

    pub(crate) async fn say(&mut self, what: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(what)? + "\n";
        Ok(self.input.write_all(line.as_bytes()).await?)
    }

    pub(crate) async fn hear<T: DeserializeOwned>(&mut self) -> Result<T> {
        heard(&mut self.output).await?.context("a child ended")
    }

    /// Waits until it has ended, well. It has nothing more to hear.
    pub(crate) async fn end(self) -> Result<()> {
        let Self {
            mut process, input, ..
        } = self;
        drop(input);
        let status = process.wait().await?;
        ensure!(status.success(), "a child failed: {status}");
        Ok(())
    }
}

/// In a child: what its parent says.
pub(crate) struct Parent(Lines<BufReader<Stdin>>);

impl Parent {
    pub(crate) fn new() -> Self {
        Self(BufReader::new(stdin()).lines())
    }

    /// `None` when it has nothing more to say.
    pub(crate) async fn hear<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        heard(&mut self.0).await
    }
}

/// In a child: tells its parent.
pub(crate) fn say(what: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(what)?);
    Ok(())
}

async fn heard<T: DeserializeOwned>(
    lines: &mut Lines<BufReader<impl AsyncRead + Unpin>>,
) -> Result<Option<T>> {
    let line = lines.next_line().await?;
    Ok(line.map(|line| serde_json::from_str(&line)).transpose()?)
}

async fn dynoxide() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    say(&format!("http://{}", listener.local_addr()?))?;
    let database = ::dynoxide::Database::memory().context("dynoxide")?;
    let mut parent = Parent::new();
    tokio::select! {
        () = ::dynoxide::server::serve_on(listener, database) => Ok(()),
        ended = parent.hear::<()>() => ended.map(drop),
    }
}
