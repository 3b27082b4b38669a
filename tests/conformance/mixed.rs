//! A majority of three stores: one of each database that there is.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use doclock::conformance::{Fixture, Omission};
use doclock::{
    AcquireOutcome, AcquireRequest, Backend, Holder, Key, LockRecord, QuorumBackend,
    ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest, Result,
};
use tokio::sync::watch;

use super::dynamodb::Dynamo;
use super::mongodb::Mongo;
use super::quorum::WITHOUT;
use crate::support::servers;

pub struct Mixed {
    members: Vec<Box<dyn Fixture>>,
    flight: Flight,
}

impl Mixed {
    /// `None`: one of them is left out.
    pub async fn start() -> Option<Self> {
        let missing = ["mongodb", "dynamodb-local", "dynoxide"].map(servers::without);
        if missing.contains(&true) {
            return None;
        }
        Some(Self {
            members: vec![
                Box::new(Mongo::at(servers::mongodb_url()).await),
                Box::new(Dynamo::at(servers::dynamodb_local_url()).await),
                Box::new(Dynamo::at(servers::dynoxide_url()).await),
            ],
            flight: Flight::default(),
        })
    }
}

#[async_trait]
impl Fixture for Mixed {
    async fn connect(&self) -> Arc<dyn Backend> {
        let mut members: Vec<Arc<dyn Backend>> = Vec::new();
        for member in &self.members {
            members.push(Arc::new(Watched {
                inner: member.connect().await,
                flight: self.flight.clone(),
                is_whole: false,
            }));
        }
        Arc::new(Watched {
            inner: Arc::new(QuorumBackend::new(members).unwrap()),
            flight: self.flight.clone(),
            is_whole: true,
        })
    }

    async fn purge(&self, key: &Key) {
        self.flight.landed().await;
        for member in &self.members {
            member.purge(key).await;
        }
    }

    fn without(&self) -> &'static [Omission] {
        &WITHOUT
    }

    async fn silent(&self) -> Arc<dyn Backend> {
        let mut members = Vec::new();
        for member in &self.members {
            members.push(member.silent().await);
        }
        Arc::new(QuorumBackend::new(members).unwrap())
    }
}

/// The requests that are under way to members: a majority answers before the slowest member has.
#[derive(Clone, Debug)]
struct Flight(watch::Sender<Aloft>);

#[derive(Debug, Default)]
struct Aloft {
    next: u64,
    numbers: BTreeSet<u64>,
}

impl Default for Flight {
    fn default() -> Self {
        Self(watch::Sender::new(Aloft::default()))
    }
}

impl Flight {
    fn start(&self) -> Flying {
        let mut number = 0;
        self.0.send_modify(|aloft| {
            number = aloft.next;
            aloft.next += 1;
            aloft.numbers.insert(number);
        });
        Flying(self.clone(), number)
    }

    /// All that are under way now have landed, and what follows at once on each.
    async fn landed(&self) {
        for _ in 0..3 {
            let mut aloft = self.0.subscribe();
            let mine = aloft.borrow().next;
            let is_clear = |aloft: &Aloft| aloft.numbers.first().is_none_or(|first| *first >= mine);
            aloft.wait_for(is_clear).await.unwrap();
            // Who waited for one that has landed takes off now.
            tokio::task::yield_now().await;
        }
    }
}

struct Flying(Flight, u64);

impl Drop for Flying {
    fn drop(&mut self) {
        self.0.0.send_modify(|aloft| {
            aloft.numbers.remove(&self.1);
        });
    }
}

/// A member whose requests are counted, or the whole, which begins nothing before those under way have landed. On its way
/// to the slowest member, a grant could otherwise be overtaken by what ends it.
#[derive(Debug)]
struct Watched {
    inner: Arc<dyn Backend>,
    flight: Flight,
    is_whole: bool,
}

impl Watched {
    async fn counted<T>(&self, done: impl Future<Output = T>) -> T {
        if self.is_whole {
            self.flight.landed().await;
            return done.await;
        }
        let _flying = self.flight.start();
        done.await
    }
}

#[async_trait]
impl Backend for Watched {
    async fn acquire(&self, request: &AcquireRequest) -> Result<AcquireOutcome> {
        self.counted(self.inner.acquire(request)).await
    }

    async fn renew(&self, request: &RenewRequest) -> Result<RenewOutcome> {
        self.counted(self.inner.renew(request)).await
    }

    async fn release(&self, request: &ReleaseRequest) -> Result<ReleaseOutcome> {
        self.counted(self.inner.release(request)).await
    }

    async fn inspect(&self, key: &Key) -> Result<Option<LockRecord>> {
        self.counted(self.inner.inspect(key)).await
    }

    async fn setup(&self) -> Result<()> {
        self.counted(self.inner.setup()).await
    }

    async fn force_release(&self, key: &Key) -> Result<Vec<Holder>> {
        self.counted(self.inner.force_release(key)).await
    }
}
