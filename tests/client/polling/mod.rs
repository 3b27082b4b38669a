//! Waiters that are told of nothing: how late they notice, what their looks cost, and who gets the lock.

pub(crate) mod crowds;
mod looks;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use doclock::rules::{ServerTime, Verdict, admit};
use doclock::{
    AcquireOutcome, AcquireRequest, Backend, Clock, Key, LockClient, LockRecord, MemoryBackend,
    ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest, Result,
};

use crate::{Virtual, pass};

/// How long a request takes.
const WAY: Duration = Duration::from_millis(4);

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A database as DynamoDB is one: whoever waits looks before it writes, nobody is told, and locks are handed on.
#[derive(Clone, Debug)]
struct Polled {
    inner: MemoryBackend,
    clock: Virtual,
    reads: Arc<AtomicUsize>,
    /// Sent to acquire or release, whatever came of them.
    writes: Arc<AtomicUsize>,
}

impl Polled {
    fn new() -> Self {
        let clock = Virtual::begin();
        Self {
            inner: MemoryBackend::with_clock(Arc::new(clock)),
            clock,
            reads: Arc::default(),
            writes: Arc::default(),
        }
    }

    fn client(&self) -> LockClient {
        crate::client(self.clone())
    }

    /// How many since the last call.
    fn reads(&self) -> usize {
        self.reads.swap(0, Ordering::Relaxed)
    }

    fn writes(&self) -> usize {
        self.writes.swap(0, Ordering::Relaxed)
    }

    /// `None`: there is something to write.
    async fn look(&self, request: &AcquireRequest) -> Result<Option<AcquireOutcome>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        pass(WAY / 2).await;
        let record = self.inner.inspect(&request.key).await?;
        let time = ServerTime::exact(self.clock.now().wall, Duration::ZERO);
        let verdict = admit(record.as_ref(), request, &time);
        pass(WAY / 2).await;
        Ok(match verdict {
            Verdict::Held { contention, .. } => Some(AcquireOutcome::Held(contention)),
            Verdict::Queued {
                contention,
                next: None,
            } => Some(AcquireOutcome::Queued(contention)),
            _ => None,
        })
    }

    async fn write(&self, request: &AcquireRequest) -> Result<AcquireOutcome> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        pass(WAY / 2).await;
        let outcome = self.inner.acquire(request).await?;
        pass(WAY / 2).await;
        Ok(outcome)
    }
}

#[async_trait]
impl Backend for Polled {
    async fn acquire(&self, request: &AcquireRequest) -> Result<AcquireOutcome> {
        if request.waiting
            && request.replaces.is_none()
            && let Some(outcome) = self.look(request).await?
        {
            return Ok(outcome);
        }
        let outcome = self.write(request).await?;
        let joins = matches!(outcome, AcquireOutcome::Queued(_)) && !request.waiting;
        // It was refused, and then it joined.
        self.writes.fetch_add(usize::from(joins), Ordering::Relaxed);
        Ok(outcome)
    }

    async fn renew(&self, request: &RenewRequest) -> Result<RenewOutcome> {
        self.inner.renew(request).await
    }

    async fn release(&self, request: &ReleaseRequest) -> Result<ReleaseOutcome> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        pass(WAY / 2).await;
        let outcome = self.inner.release(request).await?;
        pass(WAY / 2).await;
        Ok(outcome)
    }

    async fn inspect(&self, key: &Key) -> Result<Option<LockRecord>> {
        self.inner.inspect(key).await
    }

    async fn setup(&self) -> Result<()> {
        Ok(())
    }

    fn hands_over(&self) -> bool {
        true
    }
}
