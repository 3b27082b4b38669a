//! No server at all.

use async_trait::async_trait;
use doclock::{
    AcquireOutcome, AcquireRequest, Backend, Grant, Key, LockRecord, ReleaseOutcome,
    ReleaseRequest, RenewOutcome, RenewRequest, Validity,
};

/// Grants everything at once and keeps nothing.
#[derive(Debug)]
pub(crate) struct Yes;

#[async_trait]
impl Backend for Yes {
    async fn acquire(&self, request: &AcquireRequest) -> doclock::Result<AcquireOutcome> {
        let validity = Validity {
            seq: request.seq,
            valid_for: request.ttl.as_duration(),
            refresh: false,
        };
        Ok(AcquireOutcome::Granted(Grant {
            token: 1,
            validity,
            slot: None,
        }))
    }

    async fn renew(&self, request: &RenewRequest) -> doclock::Result<RenewOutcome> {
        Ok(RenewOutcome::Renewed(Validity {
            seq: request.seq,
            valid_for: request.ttl.as_duration(),
            refresh: false,
        }))
    }

    async fn release(&self, _: &ReleaseRequest) -> doclock::Result<ReleaseOutcome> {
        Ok(ReleaseOutcome::Released)
    }

    async fn inspect(&self, _: &Key) -> doclock::Result<Option<LockRecord>> {
        Ok(None)
    }

    async fn setup(&self) -> doclock::Result<()> {
        Ok(())
    }
}
