//! Instances as processes: one is killed, another is told to end, and each time the other one leads.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

use crate::web::Health;

#[path = "../support/mod.rs"]
mod support;

const SOON: Duration = Duration::from_secs(30);

struct Instance {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    address: String,
}

impl Instance {
    async fn start(url: &str) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["--exact", "tests::an_instance", "--ignored", "--nocapture"])
            .env("DOCLOCK_URL", url)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = process.stdout.take().context("no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let address = said(&mut lines, "listening on ").await?;
        Ok(Self {
            process,
            lines,
            address,
        })
    }

    /// The status, and the body.
    async fn get(&self, path: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("half an answer")?;
        let status = head.split(' ').nth(1).context("no status")?;
        Ok((status.parse()?, body.to_owned()))
    }

    async fn health(&self) -> Result<Health> {
        Ok(serde_json::from_str(&self.get("/healthz").await?.1)?)
    }

    /// Waits until it leads.
    async fn leads(&self) -> Result<u64> {
        let leads = async {
            loop {
                if let Some(term) = self.health().await?.term {
                    return Ok(term);
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(SOON, leads).await?
    }
}

/// Reads until a line begins so: its rest.
async fn said(lines: &mut Lines<BufReader<ChildStdout>>, begin: &str) -> Result<String> {
    let said = async {
        while let Some(line) = lines.next_line().await? {
            // The first stands behind what the test's runner says of it.
            if let Some((_, rest)) = line.split_once(begin) {
                return Ok(rest.to_owned());
            }
        }
        anyhow::bail!("it ended before it said `{begin}`")
    };
    timeout(SOON, said).await?
}

#[tokio::test]
#[ignore = "a process of the test below"]
async fn an_instance() -> Result<()> {
    let url = std::env::var("DOCLOCK_URL").context("only the test below starts it")?;
    crate::run(&url, ([127, 0, 0, 1], 0).into()).await
}

#[tokio::test]
async fn when_the_leader_ends_another_instance_leads() -> Result<()> {
    let endpoint = support::embedded_endpoint().await?;
    let url = format!("dynamodb://local/locks?endpoint={endpoint}");
    let mut first = Instance::start(&url).await?;
    let first_term = first.leads().await?;
    let mut second = Instance::start(&url).await?;
    let health = second.health().await?;
    assert_eq!(health.locks, "ok");
    assert_eq!(health.term, None, "two leaders");
    assert_eq!(health.leader.as_ref(), Some(&first.address));

    first.process.kill().await?;
    let second_term = second.leads().await?;
    assert!(second_term > first_term);
    let (status, metrics) = second.get("/metrics").await?;
    assert_eq!(status, 200);
    let holds_one = |line: &str| line.starts_with("doclock_leases_held") && line.ends_with(" 1");
    assert!(metrics.lines().any(holds_one), "{metrics}");

    let third = Instance::start(&url).await?;
    assert_eq!(third.health().await?.term, None, "two leaders");
    let id = second.process.id().context("it has ended")?;
    kill(Pid::from_raw(id.try_into()?), Signal::SIGTERM)?;
    said(&mut second.lines, "ended").await?;
    let status = timeout(SOON, second.process.wait()).await??;
    ensure!(status.success(), "{status}");
    assert!(third.leads().await? > second_term);
    Ok(())
}

/// It says so, and does not end.
#[tokio::test]
async fn without_the_database_it_is_not_healthy() -> Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let database = dynoxide::Database::memory()?;
    let server = tokio::spawn(dynoxide::server::serve_on(listener, database));
    let url = format!("dynamodb://local/locks?endpoint={endpoint}");
    let instance = Instance::start(&url).await?;
    instance.leads().await?;
    server.abort();
    let unhealthy = async {
        loop {
            let (status, body) = instance.get("/healthz").await?;
            if status == 503 {
                return anyhow::Ok(serde_json::from_str::<Health>(&body)?);
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let health = timeout(SOON, unhealthy).await??;
    assert_ne!(health.locks, "ok");
    assert_eq!(health.leader, None);
    Ok(())
}
