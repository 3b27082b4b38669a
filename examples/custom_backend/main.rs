//! A backend of one's own: locks in a JSON file, for the processes of one machine.
//!
//! ```console
//! cargo run --example custom_backend
//! cargo test --example custom_backend --features conformance
//! ```

#[cfg(all(test, feature = "conformance"))]
mod conformance;
mod record;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use doclock::rules::{self, Released, Renewed, ServerTime, Verdict};
use doclock::{
    AcquireOutcome, AcquireRequest, Backend, Error, ErrorKind, Grant, Key, LockClient, LockRecord,
    ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest, Result, Timestamp, Ttl, Validity,
};
use serde_json::Value;

#[tokio::main]
async fn main() -> Result<()> {
    let directory = tempfile::tempdir().map_err(broken)?;
    let path = directory.path().join("locks.json");
    let locks = LockClient::new(FileBackend { path: path.clone() });

    let lease = locks.lock("item:1").acquire().await?;
    println!("held with fencing token {}", lease.token());
    assert!(locks.lock("item:1").try_acquire().await?.is_none());
    lease.release().await?;
    println!("{}", fs::read_to_string(path).map_err(broken)?);
    Ok(())
}

/// The file, and a lock on another one beside it while it is read and replaced.
#[derive(Clone, Debug)]
struct FileBackend {
    path: PathBuf,
}

impl FileBackend {
    /// One operation, as one step among all processes: reads the record, decides, and writes what was decided. It
    /// blocks for a moment; a slower store would be asked by `spawn_blocking`.
    fn step<T>(
        &self,
        key: &Key,
        decide: impl FnOnce(Option<&LockRecord>, &ServerTime) -> (T, Option<Box<LockRecord>>),
    ) -> Result<T> {
        let guard = File::create(self.path.with_extension("lock")).map_err(broken)?;
        guard.lock().map_err(broken)?; // until it is dropped
        let mut records = self.load()?;
        let seen = records.get(key.as_str()).map(record::decode).transpose()?;
        let time = ServerTime::exact(SystemTime::now().into(), Duration::ZERO);
        let (outcome, next) = decide(seen.as_ref(), &time);
        if let Some(next) = next {
            records.insert(key.as_str().to_owned(), record::encode(&next));
            self.save(&records)?;
        }
        Ok(outcome)
    }

    fn load(&self) -> Result<BTreeMap<String, Value>> {
        match fs::read(&self.path) {
            Ok(json) => serde_json::from_slice(&json).map_err(broken),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(broken(error)),
        }
    }

    /// Whole or not at all, also if the process dies in the middle.
    fn save(&self, records: &BTreeMap<String, Value>) -> Result<()> {
        let new = self.path.with_extension("new");
        fs::write(&new, serde_json::to_vec(records).map_err(broken)?).map_err(broken)?;
        fs::rename(&new, &self.path).map_err(broken)
    }
}

#[async_trait]
impl Backend for FileBackend {
    async fn acquire(&self, request: &AcquireRequest) -> Result<AcquireOutcome> {
        let granted = |token, seq, ttl, slot: Option<Timestamp>| {
            AcquireOutcome::Granted(Grant {
                token,
                validity: validity(seq, ttl),
                slot: request.slot.and(slot),
            })
        };
        self.step(&request.key, |seen, time| {
            match rules::admit(seen, request, time) {
                Verdict::Granted(next) => {
                    let slot = next.slot_started;
                    let granted = granted(next.token, request.seq, request.ttl, slot);
                    (granted, Some(next))
                }
                Verdict::Existing(holder) => {
                    let slot = seen.and_then(|seen| seen.slot_started);
                    let token = holder.token.unwrap_or(0);
                    (granted(token, holder.seq, holder.ttl, slot), None)
                }
                Verdict::Queued { contention, next } => (AcquireOutcome::Queued(contention), next),
                Verdict::Held { contention, mended } => (AcquireOutcome::Held(contention), mended),
                Verdict::Skipped(state) => (AcquireOutcome::Skipped(state), None),
            }
        })
    }

    async fn renew(&self, request: &RenewRequest) -> Result<RenewOutcome> {
        let renewed = |seq, ttl| Ok(RenewOutcome::Renewed(validity(seq, ttl)));
        self.step(&request.key, |seen, time| {
            match rules::renew(seen, request, time) {
                Renewed::Write(next) => (renewed(request.seq, request.ttl), Some(next)),
                Renewed::Newer { seq, ttl, .. } => (renewed(seq, ttl), None),
                Renewed::Passed => {
                    let passed = "a later grant has this token: ask for a greater one";
                    (Err(Error::new(ErrorKind::Unavailable, passed)), None)
                }
                Renewed::Lost => (Ok(RenewOutcome::Lost), None),
            }
        })?
    }

    async fn release(&self, request: &ReleaseRequest) -> Result<ReleaseOutcome> {
        self.step(&request.key, |seen, time| {
            match rules::release(seen, request, time) {
                Released::Write(next) => (ReleaseOutcome::Released, Some(next)),
                Released::Already => (ReleaseOutcome::Released, None),
                Released::NotHeld => (ReleaseOutcome::NotHeld, None),
            }
        })
    }

    async fn inspect(&self, key: &Key) -> Result<Option<LockRecord>> {
        self.step(key, |seen, _| (seen.cloned(), None))
    }

    async fn setup(&self) -> Result<()> {
        self.load().map(|_| ())
    }
}

/// One clock stamps every record. If it jumps, leases may overlap: fence what the lock guards.
fn validity(seq: u64, ttl: Ttl) -> Validity {
    Validity {
        seq,
        valid_for: ttl.as_duration(),
        refresh: false,
    }
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Other, "the file of locks cannot be used").with_source(error)
}
