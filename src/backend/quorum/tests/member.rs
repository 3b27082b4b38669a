//! A member that fails on purpose.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use crate::time::{Clock, Moment};
use crate::{
    AcquireOutcome, AcquireRequest, Backend, Error, ErrorKind, Key, LockRecord, MemoryBackend,
    ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest, Result, Timestamp,
};

/// A clock that follows tokio's.
#[derive(Debug)]
pub(super) struct Virtual {
    start: tokio::time::Instant,
    wall: Timestamp,
}

impl Virtual {
    /// Before the epoch: tokens are what members count.
    pub(super) fn before_all_tokens() -> Self {
        Self::at(Timestamp::from_millis(-24 * 3_600_000))
    }

    pub(super) fn at(wall: Timestamp) -> Self {
        let start = tokio::time::Instant::now();
        Self { start, wall }
    }
}

impl Clock for Virtual {
    fn now(&self) -> Moment {
        let monotonic = self.start.elapsed();
        Moment {
            monotonic,
            wall: self.wall.saturating_add(monotonic),
        }
    }
}

/// What requests suffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// They are refused at once, without effect.
    Down,
    /// They never arrive, and nobody says so.
    Silent,
    /// They are done, and nobody says so.
    Mute,
    /// They are done after this long, whoever still waits.
    Late(Duration),
    /// Renewals only are refused at once, without effect.
    RenewsNot,
    /// Renewals only never arrive.
    RenewsSilent,
    /// Releases only never arrive.
    ReleasesNot,
}

#[derive(Debug)]
pub(super) struct Faulty {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    inner: MemoryBackend,
    fault: Option<Fault>,
    requests: usize,
}

impl Faulty {
    pub(super) fn new(clock: &Arc<dyn Clock>) -> Self {
        let state = State {
            inner: MemoryBackend::with_clock(Arc::clone(clock)),
            fault: None,
            requests: 0,
        };
        Self {
            clock: Arc::clone(clock),
            state: Mutex::new(state),
        }
    }

    pub(super) fn suffer(&self, fault: Option<Fault>) {
        self.state.lock().unwrap().fault = fault;
    }

    /// It comes back without its data.
    pub(super) fn forget(&self) {
        self.state.lock().unwrap().inner = MemoryBackend::with_clock(Arc::clone(&self.clock));
    }

    pub(super) fn inner(&self) -> MemoryBackend {
        self.state.lock().unwrap().inner.clone()
    }

    pub(super) fn requests(&self) -> usize {
        self.state.lock().unwrap().requests
    }

    fn fault(&self) -> Option<Fault> {
        let mut state = self.state.lock().unwrap();
        state.requests += 1;
        state.fault
    }

    async fn apply<T: Send + 'static>(
        &self,
        fault: Option<Fault>,
        done: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        match fault {
            Some(Fault::Down) => Err(Error::new(ErrorKind::Unavailable, "down")),
            Some(Fault::Silent) => std::future::pending().await,
            Some(Fault::Mute) => {
                done.await?;
                std::future::pending().await
            }
            Some(Fault::Late(after)) => {
                let landed = tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    done.await
                });
                landed.await.unwrap()
            }
            _ => done.await,
        }
    }
}

#[async_trait]
impl Backend for Faulty {
    async fn acquire(&self, request: &AcquireRequest) -> Result<AcquireOutcome> {
        let (inner, request) = (self.inner(), request.clone());
        self.apply(self.fault(), async move { inner.acquire(&request).await })
            .await
    }

    async fn renew(&self, request: &RenewRequest) -> Result<RenewOutcome> {
        let (inner, request) = (self.inner(), request.clone());
        let fault = match self.fault() {
            Some(Fault::RenewsNot) => Some(Fault::Down),
            Some(Fault::RenewsSilent) => Some(Fault::Silent),
            fault => fault,
        };
        self.apply(fault, async move { inner.renew(&request).await })
            .await
    }

    async fn release(&self, request: &ReleaseRequest) -> Result<ReleaseOutcome> {
        let (inner, request) = (self.inner(), request.clone());
        let fault = match self.fault() {
            Some(Fault::ReleasesNot) => Some(Fault::Silent),
            fault => fault,
        };
        self.apply(fault, async move { inner.release(&request).await })
            .await
    }

    async fn inspect(&self, key: &Key) -> Result<Option<LockRecord>> {
        let (inner, key) = (self.inner(), key.clone());
        self.apply(self.fault(), async move { inner.inspect(&key).await })
            .await
    }

    async fn setup(&self) -> Result<()> {
        self.apply(self.fault(), async { Ok(()) }).await
    }
}
