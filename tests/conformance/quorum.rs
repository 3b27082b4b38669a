//! A majority of five stores in memory, some of which fail.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use doclock::conformance::{Fixture, Omission};
use doclock::{
    AcquireOutcome, AcquireRequest, Backend, Error, ErrorKind, Holder, Key, LockRecord,
    MemoryBackend, QuorumBackend, ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest,
    Result,
};

pub const WITHOUT: [Omission; 7] = [
    Omission::List,
    Omission::Damage,
    Omission::FirstTry,
    Omission::Permits,
    Omission::Queues,
    Omission::Slots,
    Omission::Upgrades,
];

/// What a member suffers.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// It refuses everything at once.
    Down,
    /// It never answers.
    Silent,
    /// It answers after this long.
    Slow(Duration),
}

/// Five members in memory, some of which fail.
pub struct Five {
    members: Vec<MemoryBackend>,
    faults: [Option<Fault>; 5],
}

impl Five {
    pub fn with(faults: [Option<Fault>; 5]) -> Self {
        let members = (0..5).map(|_| MemoryBackend::new()).collect();
        Self { members, faults }
    }
}

#[async_trait]
impl Fixture for Five {
    async fn connect(&self) -> Arc<dyn Backend> {
        let members = self.members.iter().zip(self.faults);
        let members = members.map(|(inner, fault)| faulty(inner, fault));
        Arc::new(QuorumBackend::new(members.collect()).unwrap())
    }

    async fn purge(&self, key: &Key) {
        for (member, fault) in self.members.iter().zip(self.faults) {
            // Behind whatever is on its way there.
            if let Some(Fault::Slow(by)) = fault {
                tokio::time::sleep(2 * by).await;
            }
            member.purge(key);
        }
    }

    fn uncertainty(&self) -> Duration {
        Duration::from_millis(500)
    }

    fn without(&self) -> &'static [Omission] {
        &WITHOUT
    }

    async fn silent(&self) -> Arc<dyn Backend> {
        let silent = |inner| faulty(inner, Some(Fault::Silent));
        Arc::new(QuorumBackend::new(self.members.iter().map(silent).collect()).unwrap())
    }
}

fn faulty(inner: &MemoryBackend, fault: Option<Fault>) -> Arc<dyn Backend> {
    let inner = inner.clone();
    match fault {
        None => Arc::new(inner),
        Some(fault) => Arc::new(Faulty { inner, fault }),
    }
}

#[derive(Debug)]
struct Faulty {
    inner: MemoryBackend,
    fault: Fault,
}

impl Faulty {
    async fn suffer<T>(&self, done: impl Future<Output = Result<T>>) -> Result<T> {
        match self.fault {
            Fault::Down => Err(Error::new(ErrorKind::Unavailable, "down")),
            Fault::Silent => std::future::pending().await,
            Fault::Slow(by) => {
                tokio::time::sleep(by).await;
                done.await
            }
        }
    }
}

#[async_trait]
impl Backend for Faulty {
    async fn acquire(&self, request: &AcquireRequest) -> Result<AcquireOutcome> {
        self.suffer(self.inner.acquire(request)).await
    }

    async fn renew(&self, request: &RenewRequest) -> Result<RenewOutcome> {
        self.suffer(self.inner.renew(request)).await
    }

    async fn release(&self, request: &ReleaseRequest) -> Result<ReleaseOutcome> {
        self.suffer(self.inner.release(request)).await
    }

    async fn inspect(&self, key: &Key) -> Result<Option<LockRecord>> {
        self.suffer(self.inner.inspect(key)).await
    }

    async fn setup(&self) -> Result<()> {
        self.suffer(self.inner.setup()).await
    }

    async fn force_release(&self, key: &Key) -> Result<Vec<Holder>> {
        self.suffer(self.inner.force_release(key)).await
    }
}
