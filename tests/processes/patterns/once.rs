//! Payments that are asked for five times each, by processes that are killed in the middle of one: each is made once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use doclock::{ErrorKind, LockClient, Outcome, Status};
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::sections::Log;
use super::team::Team;
use super::{Task, done, report, tell, usual_or_full};
use crate::processes::site::on_every_server;
use crate::processes::workers::Worker;

const PROCESSES: usize = 4;
/// For each payment.
const CALLS: usize = 5;
/// In each process.
const AT_ONCE: usize = 16;
const TTL: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_mins(1);
const KILLS: usize = 3;

fn key(id: usize) -> String {
    format!("payment:{id}")
}

/// A process's part of all calls.
#[derive(Clone, Serialize, Deserialize)]
pub struct Payments {
    log: PathBuf,
    worker: usize,
    ids: usize,
    bank: SocketAddr,
}

/// What a call was told: the token of the run that is on record.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Told {
    id: usize,
    token: u64,
    ran: bool,
}

impl Payments {
    pub async fn run(self, locks: &LockClient) -> Result<()> {
        let log = Log::open(&self.log)?;
        let mine = |(id, call): &(usize, usize)| (id + call) % PROCESSES == self.worker;
        let calls = (0..self.ids).flat_map(|id| (0..CALLS).map(move |call| (id, call)));
        stream::iter(calls.filter(mine))
            .map(|(id, _)| self.call(locks, &log, id))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    async fn call(&self, locks: &LockClient, log: &Log, id: usize) -> Result<()> {
        loop {
            let once = locks.once(key(id)).ttl(TTL).wait(PATIENCE);
            let run = once.run(async |lease| self.pay(id, lease.token()).await);
            let (token, ran) = match run.await {
                Ok(Outcome::Ran(token)) => (token, true),
                Ok(Outcome::Repeated(token)) => (token, false),
                Ok(other) => bail!("{other:?}"),
                // As whoever calls does then: again.
                Err(error) if error.is_retryable() || error.kind() == ErrorKind::LeaseLost => {
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            return log.write(&Told { id, token, ran });
        }
    }

    /// Whether it was paid now or by an earlier run does not matter, as long as the bank is sure.
    async fn pay(&self, id: usize, token: u64) -> Result<u64> {
        let (from, mut to) = TcpStream::connect(self.bank).await?.into_split();
        let line = format!("{} {id} {token}\n", self.worker);
        to.write_all(line.as_bytes()).await?;
        let answer = BufReader::new(from).lines().next_line().await?;
        answer.context("the bank is gone")?;
        Ok(token)
    }
}

/// One attempt to pay. The bank accepts one for each id.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    worker: usize,
    id: usize,
    token: u64,
    accepted: bool,
}

type Book = Arc<Mutex<Vec<Attempt>>>;

struct Bank {
    addr: SocketAddr,
    book: Book,
    /// Attempts that get no answer.
    unanswered: mpsc::UnboundedReceiver<Attempt>,
    task: JoinHandle<()>,
}

impl Bank {
    /// It leaves the attempts with these numbers without an answer, though it has accepted or refused them.
    async fn open(silent: Vec<usize>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let (send, unanswered) = mpsc::unbounded_channel();
        let book = Book::default();
        let shared = (Arc::clone(&book), Arc::new(silent), send);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (book, silent, send) = shared.clone();
                tokio::spawn(async move { serve(stream, &book, &silent, &send).await });
            }
        });
        Ok(Self {
            addr,
            book,
            unanswered,
            task,
        })
    }

    fn book(&self) -> Vec<Attempt> {
        (self.book.lock())
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    stream: TcpStream,
    book: &Book,
    silent: &[usize],
    unanswered: &mpsc::UnboundedSender<Attempt>,
) -> Result<()> {
    let (from, mut to) = stream.into_split();
    let line = BufReader::new(from).lines().next_line().await?;
    let line = line.context("no attempt")?;
    let mut words = line.split(' ');
    let mut next = || words.next().context("half an attempt");
    let (worker, id, token) = (next()?.parse()?, next()?.parse()?, next()?.parse()?);
    let (attempt, number) = {
        let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
        let accepted = book.iter().all(|earlier| earlier.id != id);
        let attempt = Attempt {
            worker,
            id,
            token,
            accepted,
        };
        book.push(attempt);
        (attempt, book.len())
    };
    if silent.contains(&number) {
        unanswered.send(attempt)?;
        std::future::pending::<()>().await;
    }
    Ok(to.write_all(b"ok\n").await?)
}

/// How often each id was paid or tried, by its runs. Fails if one was not paid once, or if two callers were told different
/// results.
fn check(ids: usize, told: &[Told], book: &[Attempt]) -> Result<Vec<usize>> {
    let mut results: BTreeMap<usize, Vec<Told>> = BTreeMap::new();
    for told in told {
        results.entry(told.id).or_default().push(*told);
    }
    let mut runs = Vec::new();
    for id in 0..ids {
        let attempts: Vec<_> = book.iter().filter(|attempt| attempt.id == id).collect();
        let paid = attempts.iter().filter(|attempt| attempt.accepted).count();
        ensure!(paid == 1, "{id} was paid {paid} times: {attempts:?}");
        let told = results.get(&id).context("nobody was told of one")?;
        ensure!(told.len() >= CALLS, "too few were told of {id}: {told:?}");
        let differ = told.iter().any(|other| other.token != told[0].token);
        ensure!(!differ, "two results of {id}: {told:?}");
        let its_run = |attempt: &&&Attempt| attempt.token == told[0].token;
        let is_known = attempts.iter().find(its_run).is_some();
        ensure!(is_known, "a result of {id} that no run had: {told:?}");
        let ran = told.iter().filter(|told| told.ran).count();
        ensure!(ran <= 1, "{ran} runs of {id} were the one: {told:?}");
        runs.push(attempts.len());
    }
    Ok(runs)
}

on_every_server! {
    async fn each_payment_is_made_once_whoever_dies(site: Site) {
        let _alone = site.alone().await;
        let url = site.fresh().await?;
        let locks = doclock::connect(&url).await?;
        let mut team = Team::start(&url, PROCESSES).await?;
        let ids = usual_or_full(100, 1000);
        let silent = (1..=KILLS).map(|kill| ids * kill / (KILLS + 1));
        let mut bank = Bank::open(silent.collect()).await?;
        let begun = Instant::now();
        let mut tasks = Vec::new();
        for worker in 0..PROCESSES {
            tasks.push(Payments { log: team.log(), worker, ids, bank: bank.addr });
            tell(&mut team.workers[worker], &Task::Pay(tasks[worker].clone())).await?;
        }
        let mut victims = Vec::new();
        for _ in 0..KILLS {
            // It has paid, and nobody has told it yet.
            let victim = tokio::time::timeout(PATIENCE, bank.unanswered.recv()).await?.context("closed")?;
            let mut fresh = Worker::start(&url).await?;
            let task = &mut tasks[victim.worker];
            task.log = team.log();
            tell(&mut fresh, &Task::Pay(task.clone())).await?;
            std::mem::replace(&mut team.workers[victim.worker], fresh).kill().await?;
            victims.push(victim);
        }
        try_join_all(team.workers.iter_mut().map(done)).await?;
        let took = begun.elapsed();

        let told: Vec<Told> = team.entries()?;
        let runs = check(ids, &told, &bank.book())?;
        for victim in victims {
            assert!(runs[victim.id] > 1, "the run of {victim:?} was not repeated");
        }
        for told in &told {
            let status = locks.once(key(told.id)).status::<u64>().await?;
            assert_eq!(status, Some(Status::Done(told.token)), "{}", told.id);
        }
        let repeated = runs.iter().filter(|runs| **runs > 1).count();
        report(
            site,
            "once",
            format_args!(
                "{ids} ids × {CALLS} calls on {PROCESSES} processes, {KILLS} killed: \
                 {} answers, {repeated} ids run again, all paid once; {took:.1?}",
                told.len()
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(id: usize, token: u64, ran: bool) -> Told {
        Told { id, token, ran }
    }

    fn attempt(id: usize, token: u64, accepted: bool) -> Attempt {
        Attempt {
            worker: 0,
            id,
            token,
            accepted,
        }
    }

    #[test]
    fn each_fault_is_seen() {
        let book = [attempt(0, 7, true), attempt(0, 8, false)];
        let mut all = vec![told(0, 8, false); CALLS];
        assert_eq!(check(1, &all, &book).unwrap(), [2]);
        all[0].ran = true;
        assert_eq!(check(1, &all, &book).unwrap(), [2]);

        let fault = |told: &[Told], book: &[Attempt]| check(1, told, book).unwrap_err().to_string();
        assert!(fault(&all, &[]).contains("paid 0 times"));
        let twice = [attempt(0, 7, true), attempt(0, 8, true)];
        assert!(fault(&all, &twice).contains("paid 2 times"));
        assert!(fault(&[], &book).contains("nobody"));
        assert!(fault(&all[1..], &book).contains("too few"));
        assert!(fault(&all, &book[..1]).contains("no run had"));
        all[1].ran = true;
        assert!(fault(&all, &book).contains("were the one"));
        all[1].token = 7;
        assert!(fault(&all, &book).contains("two results"));
    }
}
