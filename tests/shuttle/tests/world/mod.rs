//! A lock service inside the scheduler's reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use doclock::{
    AcquireOutcome, AcquireRequest, Backend, Clock, Key, Lock, LockClient, LockRecord,
    MemoryBackend, Moment, ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest, Result,
    Timestamp,
};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, MaxSteps, Runner};
use tokio::task::yield_now;

const TTL: Duration = Duration::from_secs(4);
/// So many orders of each kind.
const ORDERS: usize = 500;
/// Nothing takes as many: who does waits for ever.
const STEPS: usize = 20_000;
/// Futures without optimisation are large: shuttle's own 60 KB are not enough for those of a grant.
const STACK: usize = 512 * 1024;

/// At random, and by priorities that change a few times, which finds what takes few but unlikely switches.
pub fn explore(test: impl Fn() + Send + Sync + Clone + 'static) {
    let mut config = Config::new();
    config.stack_size = STACK;
    config.max_steps = MaxSteps::FailAfter(STEPS);
    Runner::new(RandomScheduler::new(ORDERS), config.clone()).run(test.clone());
    Runner::new(PctScheduler::new(3, ORDERS), config).run(test);
}

/// Stands still unless it is told to go on.
#[derive(Clone, Debug, Default)]
pub struct Ticking(Arc<AtomicU64>);

impl Ticking {
    /// Goes on by so many quarters of a ttl, so many times.
    pub async fn pass(self, times: usize, quarters: u64) {
        for _ in 0..times {
            self.0.fetch_add(quarters, Ordering::SeqCst);
            yield_now().await;
        }
    }
}

impl Clock for Ticking {
    fn now(&self) -> Moment {
        // Time passes between any two looks at it.
        shuttle::thread::yield_now();
        let quarters = self.0.load(Ordering::SeqCst);
        let monotonic = TTL / 4 * u32::try_from(quarters).unwrap();
        Moment {
            monotonic,
            wall: Timestamp::from_millis(1_700_000_000_000).saturating_add(monotonic),
        }
    }
}

/// Others may come in before and after whatever it does.
#[derive(Debug)]
struct Slow(MemoryBackend);

#[async_trait]
impl Backend for Slow {
    async fn acquire(&self, request: &AcquireRequest) -> Result<AcquireOutcome> {
        yield_now().await;
        let outcome = self.0.acquire(request).await;
        yield_now().await;
        outcome
    }

    async fn renew(&self, request: &RenewRequest) -> Result<RenewOutcome> {
        yield_now().await;
        let outcome = self.0.renew(request).await;
        yield_now().await;
        outcome
    }

    async fn release(&self, request: &ReleaseRequest) -> Result<ReleaseOutcome> {
        yield_now().await;
        let outcome = self.0.release(request).await;
        yield_now().await;
        outcome
    }

    async fn inspect(&self, key: &Key) -> Result<Option<LockRecord>> {
        self.0.inspect(key).await
    }

    fn hands_over(&self) -> bool {
        true
    }

    async fn setup(&self) -> Result<()> {
        Ok(())
    }
}

#[derive(Clone)]
pub struct World {
    pub clock: Ticking,
    backend: MemoryBackend,
}

impl World {
    pub fn new() -> Self {
        let clock = Ticking::default();
        let backend = MemoryBackend::with_clock(Arc::new(clock.clone()));
        Self { clock, backend }
    }

    pub fn client(&self) -> LockClient {
        LockClient::builder(Slow(self.backend.clone()))
            .clock(Arc::new(self.clock.clone()))
            .build()
    }

    pub fn lock(&self, client: &LockClient) -> Lock {
        client.lock("key").ttl(TTL)
    }

    pub async fn record(&self) -> Option<LockRecord> {
        let key = Key::new("key").unwrap();
        self.backend.inspect(&key).await.unwrap()
    }
}
