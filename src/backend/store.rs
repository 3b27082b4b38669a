//! The acquire loop that the database backends share: the server decides the plain cases, [`admit`] the rest,
//! written as a whole under compare-and-swap.

use async_trait::async_trait;

#[cfg(feature = "mongodb")]
use crate::backend::Validity;
use crate::backend::{AcquireOutcome, AcquireRequest, Grant};
use crate::rules::{ServerTime, Verdict, admit};
use crate::{Error, ErrorKind, Holder, LockRecord, Result};

/// How often a decision is taken anew after somebody else's write, before the attempt reports contention.
const SWAPS: usize = 8;

/// A record as some answer showed it, and what that answer told of the server's time.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) record: Option<LockRecord>,
    pub(super) time: ServerTime,
}

/// How a request that may write ended.
#[derive(Debug)]
pub(super) enum Written {
    /// The grant was written.
    Granted(Grant),
    /// It was not; this is what stands there.
    Refused(Box<Seen>),
}

/// The requests that an acquisition is made of.
#[async_trait]
pub(super) trait Store: Sync {
    /// Lets the server decide: one request that grants a plain case or shows what is in the way.
    async fn try_acquire(&self, request: &AcquireRequest) -> Result<Written>;

    /// Writes a grant that [`admit`] decided. One that commutes with what others do meanwhile is written so, or a
    /// crowd would never find the record unchanged; any other by [`swap`](Self::swap).
    async fn grant(
        &self,
        request: &AcquireRequest,
        seen: &Seen,
        next: &LockRecord,
    ) -> Result<Written>;

    /// Writes a place in the queue, or its refresh, that [`admit`] decided; as [`grant`](Self::grant).
    async fn enqueue(
        &self,
        request: &AcquireRequest,
        seen: &Seen,
        next: &LockRecord,
    ) -> Result<Written>;

    /// Writes `next` if the record is still the one that was seen. Granted if this acquisition holds then.
    async fn swap(
        &self,
        request: &AcquireRequest,
        seen: &Seen,
        next: &LockRecord,
    ) -> Result<Written>;

    /// What a grant of ours that stands in the record is worth, as [`Grant`] says. May write, where the record
    /// has no token of its own for each holder.
    async fn recognise(
        &self,
        request: &AcquireRequest,
        seen: &Seen,
        holder: &Holder,
    ) -> Result<Grant>;
}

/// One attempt to acquire.
pub(super) async fn acquire(
    store: &impl Store,
    request: &AcquireRequest,
) -> Result<AcquireOutcome> {
    let mut written = store.try_acquire(request).await?;
    for _ in 0..SWAPS {
        let seen = match written {
            Written::Granted(grant) => return Ok(AcquireOutcome::Granted(grant)),
            Written::Refused(seen) => seen,
        };
        written = match admit(seen.record.as_ref(), request, &seen.time) {
            Verdict::Granted(next) => store.grant(request, &seen, &next).await?,
            Verdict::Existing(holder) => {
                let grant = store.recognise(request, &seen, &holder).await?;
                return Ok(AcquireOutcome::Granted(grant));
            }
            Verdict::Queued { contention, next } => match next {
                None => return Ok(AcquireOutcome::Queued(contention)),
                Some(next) => store.enqueue(request, &seen, &next).await?,
            },
            Verdict::Held { contention, mended } => {
                return Ok(match mend(store, request, &seen, mended.as_deref()).await {
                    Some(grant) => AcquireOutcome::Granted(grant),
                    None => AcquireOutcome::Held(contention),
                });
            }
            Verdict::Skipped(state) => return Ok(AcquireOutcome::Skipped(state)),
        };
    }
    match written {
        Written::Granted(grant) => Ok(AcquireOutcome::Granted(grant)),
        Written::Refused(_) => Err(Error::new(
            ErrorKind::Unavailable,
            format!("the record changed {SWAPS} times while it was being decided: try again"),
        )),
    }
}

/// Cuts implausible expiries down, for the sake of others: whoever changed the record meanwhile has seen the same, and
/// an error changes nothing for us. A grant of ours that turns up in passing is one.
async fn mend(
    store: &impl Store,
    request: &AcquireRequest,
    seen: &Seen,
    mended: Option<&LockRecord>,
) -> Option<Grant> {
    match store.swap(request, seen, mended?).await {
        Ok(Written::Granted(grant)) => Some(grant),
        Ok(Written::Refused(_)) => None,
        Err(error) => {
            tracing::debug!(doclock.key = %request.key, %error, "an implausible expiry could not be cut down");
            None
        }
    }
}

/// The validity of a lease on a server that stamps expiries by its own clock: the whole ttl, from the send.
#[cfg(feature = "mongodb")]
pub(super) fn whole_ttl(holder: &Holder) -> Validity {
    Validity {
        seq: holder.seq,
        valid_for: holder.ttl.as_duration(),
        refresh: false,
    }
}
