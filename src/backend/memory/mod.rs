//! The reference: the rules and a map.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{
    AcquireOutcome, AcquireRequest, Backend, Database, Grant, ReleaseOutcome, ReleaseRequest,
    RenewOutcome, RenewRequest, Validity,
};
use crate::record::ListPage;
use crate::rules::{self, Released, Renewed, ServerTime, Verdict};
use crate::sync::{Mutex, MutexGuard};
use crate::time::{Clock, SystemClock, Timestamp};
use crate::{Key, LockRecord, Result};

/// How many records a page of [`Backend::list`] has.
const PAGE: usize = 100;

/// Locks in this process's memory, **for tests**: they guard nothing against other processes.
///
/// Clones share their locks. The clock is the server's; by default it follows tokio's, so that tests with paused
/// time see leases expire.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> doclock::Result<()> {
/// use doclock::{LockClient, MemoryBackend};
///
/// let locks = LockClient::new(MemoryBackend::new());
/// let lease = locks.lock("item:1").acquire().await?;
/// assert!(locks.lock("item:1").try_acquire().await?.is_none());
/// lease.release().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct MemoryBackend {
    store: Arc<Mutex<Store>>,
    time: ServerClock,
}

#[derive(Debug, Default)]
struct Store {
    records: BTreeMap<Key, LockRecord>,
    /// What no token is below any more: a purge may meet a record that was granted within this microsecond.
    token_floor: u64,
}

/// What the server's clock shows.
#[derive(Clone, Debug)]
enum ServerClock {
    /// The wall clock as it was at the start, and what the monotonic one has run since.
    Steady { since: crate::time::Moment },
    /// The wall half of a clock that somebody else sets.
    Set(Arc<dyn Clock>),
}

impl ServerClock {
    fn now(&self) -> Timestamp {
        match self {
            Self::Steady { since } => {
                let elapsed = SystemClock.now().at_least_since(*since);
                since.wall.saturating_add(elapsed)
            }
            Self::Set(clock) => clock.now().wall,
        }
    }
}

impl MemoryBackend {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            store: Arc::default(),
            time: ServerClock::Steady {
                since: SystemClock.now(),
            },
        }
    }

    /// An empty one whose server time is the wall time of `clock`.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self {
            store: Arc::default(),
            time: ServerClock::Set(clock),
        }
    }

    /// Removes a record, as a database's TTL or an operator would. The token still never goes back.
    pub fn purge(&self, key: &Key) {
        let mut store = self.lock();
        if let Some(purged) = store.records.remove(key) {
            store.token_floor = store.token_floor.max(purged.token.saturating_add(1));
        }
    }

    fn with_records<T>(
        &self,
        act: impl FnOnce(&mut BTreeMap<Key, LockRecord>, &ServerTime) -> T,
    ) -> T {
        let mut store = self.lock();
        // Read under the lock: the server's time does not run backwards between two decisions.
        let mut time = ServerTime::exact(self.time.now(), Duration::ZERO);
        time.token_floor = time.token_floor.max(store.token_floor);
        act(&mut store.records, &time)
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryBackend {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Backend for MemoryBackend {
    async fn acquire(&self, request: &AcquireRequest) -> Result<AcquireOutcome> {
        super::check_supported(request)?;
        self.with_records(|records, time| {
            let seen = records.get(&request.key);
            let (token, seq, ttl, slot) = match rules::admit(seen, request, time) {
                Verdict::Granted(next) => {
                    let (token, slot) = (next.token, next.slot_started);
                    records.insert(request.key.clone(), *next);
                    (token, request.seq, request.ttl, slot)
                }
                Verdict::Existing(holder) => {
                    let slot = seen.and_then(|seen| seen.slot_started);
                    let token = holder.token.unwrap_or_default();
                    (token, holder.seq, holder.ttl, slot)
                }
                Verdict::Queued { contention, next } => {
                    if let Some(next) = next {
                        records.insert(request.key.clone(), *next);
                    }
                    return Ok(AcquireOutcome::Queued(contention));
                }
                Verdict::Held { contention, mended } => {
                    if let Some(mended) = mended {
                        records.insert(request.key.clone(), *mended);
                    }
                    return Ok(AcquireOutcome::Held(contention));
                }
                Verdict::Skipped(state) => return Ok(AcquireOutcome::Skipped(state)),
            };
            Ok(AcquireOutcome::Granted(Grant {
                token,
                validity: validity(seq, ttl),
                slot: request.slot.and(slot),
            }))
        })
    }

    async fn renew(&self, request: &RenewRequest) -> Result<RenewOutcome> {
        self.with_records(|records, time| {
            match rules::renew(records.get(&request.key), request, time) {
                Renewed::Write(next) => {
                    let seq = next.holder(&request.id).map(|holder| holder.seq);
                    records.insert(request.key.clone(), *next);
                    let seq = seq.unwrap_or(request.seq);
                    Ok(RenewOutcome::Renewed(validity(seq, request.ttl)))
                }
                Renewed::Newer { seq, ttl, .. } => Ok(RenewOutcome::Renewed(validity(seq, ttl))),
                Renewed::Passed => Err(super::passed()),
                Renewed::Lost => Ok(RenewOutcome::Lost),
            }
        })
    }

    async fn release(&self, request: &ReleaseRequest) -> Result<ReleaseOutcome> {
        self.with_records(|records, time| {
            match rules::release(records.get(&request.key), request, time) {
                Released::Write(next) => {
                    records.insert(request.key.clone(), *next);
                    Ok(ReleaseOutcome::Released)
                }
                Released::Already => Ok(ReleaseOutcome::Released),
                Released::NotHeld => Ok(ReleaseOutcome::NotHeld),
            }
        })
    }

    async fn inspect(&self, key: &Key) -> Result<Option<LockRecord>> {
        Ok(self.with_records(|records, _| records.get(key).cloned()))
    }

    async fn setup(&self) -> Result<()> {
        Ok(())
    }

    async fn list(&self, prefix: &str, page: Option<&str>) -> Result<ListPage> {
        Ok(self.with_records(|records, _| {
            let mut found = records
                .iter()
                .filter(|(key, _)| key.as_str().starts_with(prefix))
                .filter(|(key, _)| page.is_none_or(|page| key.as_str() > page))
                .map(|(key, record)| (key.clone(), record.clone()));
            let records: Vec<_> = found.by_ref().take(PAGE).collect();
            let more = found.next().is_some();
            let last = records.last().filter(|_| more);
            let next = last.map(|(key, _)| key.as_str().to_owned());
            ListPage::new(records, next)
        }))
    }

    fn hands_over(&self) -> bool {
        true
    }

    fn database(&self) -> Database {
        Database::new("memory")
    }
}

fn validity(seq: u64, ttl: crate::Ttl) -> Validity {
    Validity {
        seq,
        valid_for: ttl.as_duration(),
        refresh: false,
    }
}
