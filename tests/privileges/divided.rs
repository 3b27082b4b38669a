//! Two users: one that takes locks, one that sets up.

use async_trait::async_trait;
use doclock::{
    AcquireOutcome, AcquireRequest, Backend, Holder, Key, ListPage, LockRecord, ReleaseOutcome,
    ReleaseRequest, RenewOutcome, RenewRequest, Result,
};

/// A backend whose `setup` has other rights than all else.
#[derive(Debug)]
pub struct Divided<B> {
    pub run_time: B,
    pub setup: B,
}

#[async_trait]
impl<B: Backend> Backend for Divided<B> {
    async fn acquire(&self, request: &AcquireRequest) -> Result<AcquireOutcome> {
        self.run_time.acquire(request).await
    }

    async fn renew(&self, request: &RenewRequest) -> Result<RenewOutcome> {
        self.run_time.renew(request).await
    }

    async fn release(&self, request: &ReleaseRequest) -> Result<ReleaseOutcome> {
        self.run_time.release(request).await
    }

    async fn inspect(&self, key: &Key) -> Result<Option<LockRecord>> {
        self.run_time.inspect(key).await
    }

    async fn setup(&self) -> Result<()> {
        self.setup.setup().await
    }

    async fn renew_many(&self, requests: &[RenewRequest]) -> Vec<Result<RenewOutcome>> {
        self.run_time.renew_many(requests).await
    }

    async fn list(&self, prefix: &str, page: Option<&str>) -> Result<ListPage> {
        self.run_time.list(prefix, page).await
    }

    async fn force_release(&self, key: &Key) -> Result<Vec<Holder>> {
        self.run_time.force_release(key).await
    }
}
