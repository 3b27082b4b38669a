//! What a leader writes to: it keeps the highest term, refuses older ones, and remembers every attempt.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use doclock::LockClient;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(30);

/// One attempt to write.
#[derive(Clone, Copy, Debug)]
pub struct Write {
    pub writer: usize,
    pub term: u64,
    pub accepted: bool,
    pub at: Instant,
}

type Attempts = Arc<watch::Sender<Vec<Write>>>;

pub struct Resource {
    pub addr: SocketAddr,
    attempts: Attempts,
    task: JoinHandle<()>,
}

impl Resource {
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let attempts = Attempts::default();
        let shared = Arc::clone(&attempts);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Ok(Self {
            addr,
            attempts,
            task,
        })
    }

    pub fn attempts(&self) -> Vec<Write> {
        self.attempts.borrow().clone()
    }

    /// The first write in a later term.
    pub async fn next_term(&self, after: u64) -> Result<Write> {
        let find = |attempts: &[Write]| {
            let mut later = attempts.iter().filter(|write| write.term > after);
            later.find(|write| write.accepted).copied()
        };
        let mut attempts = self.attempts.subscribe();
        let waited = attempts.wait_for(|attempts| find(attempts).is_some());
        let found = tokio::time::timeout(PATIENCE, waited)
            .await
            .context("nobody leads")??;
        find(&found).context("forgotten")
    }

    /// Waits until this term's leader has written as often.
    pub async fn written(&self, term: u64, times: usize) -> Result<()> {
        let mut attempts = self.attempts.subscribe();
        let enough = |attempts: &Vec<Write>| {
            let of_term = attempts.iter().filter(|write| write.term == term);
            of_term.count() >= times
        };
        tokio::time::timeout(PATIENCE, attempts.wait_for(enough))
            .await
            .context("it does not write")??;
        Ok(())
    }
}

impl Drop for Resource {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, attempts: Attempts) -> Result<()> {
    let (from, mut to) = stream.into_split();
    let mut lines = BufReader::new(from).lines();
    while let Some(line) = lines.next_line().await? {
        let (writer, term) = line.split_once(' ').context("no attempt")?;
        let (writer, term) = (writer.parse()?, term.parse()?);
        let mut accepted = false;
        attempts.send_modify(|attempts| {
            accepted = attempts.iter().all(|write| write.term <= term);
            attempts.push(Write {
                writer,
                term,
                accepted,
                at: Instant::now(),
            });
        });
        let answer: &[u8] = if accepted { b"ok\n" } else { b"refused\n" };
        to.write_all(answer).await?;
    }
    Ok(())
}

/// A candidate that writes whenever it leads.
#[derive(Serialize, Deserialize)]
pub struct Lead {
    pub key: String,
    pub ttl: Duration,
    pub writer: usize,
    pub resource: SocketAddr,
}

impl Lead {
    pub async fn run(self, locks: &LockClient) -> Result<()> {
        let election = locks.election(&self.key).ttl(self.ttl);
        election
            .run_as_leader(async |leadership| self.write(leadership.term()).await)
            .await?
    }

    /// Until it is stopped. A refusal is no reason to stop: the lease itself must be.
    async fn write(&self, term: u64) -> Result<()> {
        let (from, mut to) = TcpStream::connect(self.resource).await?.into_split();
        let mut answers = BufReader::new(from).lines();
        loop {
            to.write_all(format!("{} {term}\n", self.writer).as_bytes())
                .await?;
            answers.next_line().await?.context("no answer")?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
