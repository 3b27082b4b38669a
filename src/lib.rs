//! Distributed locks as documents in the database you already have: MongoDB or DynamoDB.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod backend;
mod error;
mod key;
mod record;
pub mod rules;
mod time;

pub use backend::memory::MemoryBackend;
pub use backend::{
    AcquireOutcome, AcquireRequest, Backend, Contention, Fairness, Grant, Occupant, Reason,
    ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest, Validity, Watched,
};
pub use error::{Error, ErrorKind, Result};
pub use key::{Key, LeaseId, MAX_KEY_BYTES, MAX_OWNER_BYTES, Owner};
pub use record::{
    Claimant, FORMAT, Holder, Label, ListPage, LockRecord, MAX_PARTIES, MAX_PAYLOAD_BYTES, MAX_TTL,
    MIN_TTL, Mode, Payload, RETENTION, Ttl, Waiter,
};
pub use time::{Clock, Moment, SystemClock, Timestamp};
