//! A backend that fails on purpose, between the client and the in-memory one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use doclock::{
    AcquireOutcome, AcquireRequest, Backend, Database, Error, ErrorKind, Key, LockRecord,
    MemoryBackend, ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest, Result,
};

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It never arrives.
    RequestLost,
    /// It is applied, and its answer never arrives.
    ReplyLost,
    /// It is applied after this long, whoever still waits.
    Late(Duration),
    /// It is applied, and its answer takes this long.
    LateReply(Duration),
    /// It is refused with this kind.
    Refused(ErrorKind),
    /// Nothing ever comes back, and the request's timeout is ignored.
    Hang,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Acquire,
    Renew,
    Release,
}
pub use Operation::{Acquire, Release, Renew};

#[derive(Debug, Default)]
struct Script {
    once: VecDeque<(Operation, Fault)>,
    always: Vec<(Operation, Fault)>,
    sent: Vec<Operation>,
}

/// Counts every request and applies the faults that are scripted.
#[derive(Clone, Debug)]
pub struct Faulty {
    inner: MemoryBackend,
    script: Arc<Mutex<Script>>,
}

impl Faulty {
    pub fn new(inner: &MemoryBackend) -> Self {
        Self {
            inner: inner.clone(),
            script: Arc::default(),
        }
    }

    /// The next request of this kind suffers this.
    pub fn once(&self, operation: Operation, fault: Fault) {
        let mut script = self.script.lock().unwrap();
        script.once.push_back((operation, fault));
    }

    /// Every request of this kind suffers this, from now on.
    pub fn always(&self, operation: Operation, fault: Fault) {
        self.script.lock().unwrap().always.push((operation, fault));
    }

    pub fn heal(&self) {
        self.script.lock().unwrap().always.clear();
    }

    /// How many requests of this kind were sent.
    pub fn sent(&self, operation: Operation) -> usize {
        let script = self.script.lock().unwrap();
        script
            .sent
            .iter()
            .filter(|sent| **sent == operation)
            .count()
    }

    pub fn requests(&self) -> usize {
        self.script.lock().unwrap().sent.len()
    }

    fn fault(&self, operation: Operation) -> Option<Fault> {
        let mut script = self.script.lock().unwrap();
        script.sent.push(operation);
        let planned = script.once.iter().position(|(of, _)| *of == operation);
        let planned = planned.and_then(|index| script.once.remove(index));
        let general = script.always.iter().find(|(of, _)| *of == operation);
        planned.or(general.copied()).map(|(_, fault)| fault)
    }

    async fn suffer<T: Send + 'static>(
        &self,
        operation: Operation,
        timeout: Duration,
        apply: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        match self.fault(operation) {
            None => apply.await,
            Some(Fault::RequestLost) => {
                tokio::time::sleep(timeout).await;
                Err(unknown())
            }
            Some(Fault::ReplyLost) => {
                apply.await?;
                tokio::time::sleep(timeout).await;
                Err(unknown())
            }
            Some(Fault::Late(after)) => {
                // A request on its way does not care who waits for its answer.
                let landed = tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    apply.await
                });
                landed.await.unwrap()
            }
            Some(Fault::LateReply(after)) => {
                let result = apply.await;
                tokio::time::sleep(after).await;
                result
            }
            Some(Fault::Refused(kind)) => Err(Error::new(kind, "scripted")),
            Some(Fault::Hang) => std::future::pending().await,
        }
    }
}

fn unknown() -> Error {
    Error::new(ErrorKind::OutcomeUnknown, "scripted")
}

#[async_trait]
impl Backend for Faulty {
    async fn acquire(&self, request: &AcquireRequest) -> Result<AcquireOutcome> {
        let (inner, sent) = (self.inner.clone(), request.clone());
        let apply = async move { inner.acquire(&sent).await };
        self.suffer(Acquire, request.timeout, apply).await
    }

    async fn renew(&self, request: &RenewRequest) -> Result<RenewOutcome> {
        let (inner, sent) = (self.inner.clone(), request.clone());
        let apply = async move { inner.renew(&sent).await };
        let renewed = self.suffer(Renew, request.timeout, apply).await;
        renewed.map_err(|error| error.with_operation("renew").with_key(&request.key))
    }

    async fn release(&self, request: &ReleaseRequest) -> Result<ReleaseOutcome> {
        let (inner, sent) = (self.inner.clone(), request.clone());
        let apply = async move { inner.release(&sent).await };
        let released = self.suffer(Release, request.timeout, apply).await;
        released.map_err(|error| error.with_operation("release").with_key(&request.key))
    }

    async fn inspect(&self, key: &Key) -> Result<Option<LockRecord>> {
        self.inner.inspect(key).await
    }

    async fn setup(&self) -> Result<()> {
        self.inner.setup().await
    }

    fn hands_over(&self) -> bool {
        self.inner.hands_over()
    }

    fn database(&self) -> Database {
        self.inner.database()
    }
}
