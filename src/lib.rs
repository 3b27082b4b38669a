#![cfg_attr(
    all(feature = "mongodb", feature = "dynamodb"),
    doc = include_str!("../README.md")
)]
#![cfg_attr(
    not(all(feature = "mongodb", feature = "dynamodb")),
    doc = "Distributed locks as documents in the database you already have: MongoDB or DynamoDB."
)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod acquire;
mod backend;
mod client;
#[cfg(feature = "conformance")]
pub mod conformance;
mod connect;
mod convert;
#[cfg(feature = "diagnosis")]
mod diagnosis;
pub mod docs;
#[cfg(any(feature = "mongodb", feature = "dynamodb"))]
pub mod document;
mod election;
mod error;
mod event;
#[cfg(any(feature = "mongodb", feature = "dynamodb"))]
pub mod fence;
#[cfg(test)]
mod fuzz;
mod job;
mod key;
mod lease;
mod lock;
mod mode;
#[cfg(all(test, feature = "dynamodb"))]
mod model;
mod once;
mod plan;
mod record;
mod renewal;
pub mod rules;
mod set;
mod sync;
mod telemetry;
mod time;
mod wait;
mod wake;
mod worker;

#[cfg(feature = "dynamodb")]
pub use backend::dynamodb::DynamoBackend;
pub use backend::memory::MemoryBackend;
#[cfg(feature = "mongodb")]
pub use backend::mongodb::MongoBackend;
pub use backend::quorum::QuorumBackend;
pub use backend::{
    AcquireOutcome, AcquireRequest, Backend, Contention, Database, Grant, Linger, Occupant,
    Queueing, Reason, ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest, Slot, SlotStart,
    Validity, Watched,
};
pub use client::{LockClient, LockClientBuilder};
pub use connect::{URL_VARIABLE, connect, connect_from_env};
pub use convert::Upgrade;
#[cfg(feature = "diagnosis")]
pub use diagnosis::{Check, CheckStatus, Diagnosis};
pub use election::{Election, Leader, LeaderWatch, Leadership};
pub use error::{Error, ErrorKind, Result};
pub use event::{Effort, Event, EventKind, WhyNot};
pub use job::{Job, Run};
pub use key::{Key, LeaseId, MAX_KEY_BYTES, MAX_OWNER_BYTES, Owner};
pub use lease::{Lease, Loss};
pub use lock::{DEFAULT_TTL, DEFAULT_WAIT, Lock};
pub use mode::{Exclusive, Permit, Shared};
pub use once::{Once, Outcome, Status};
pub use record::{
    Claimant, FORMAT, Holder, Label, ListPage, LockRecord, MAX_PARTIES, MAX_PAYLOAD_BYTES, MAX_TTL,
    MIN_TTL, Mode, Payload, RETENTION, Ttl, WAITER_TTL, Waiter,
};
pub use set::{LeaseSet, LockSet, MAX_KEYS};
pub use time::{Clock, Moment, SystemClock, Timestamp};
pub use wake::{Wake, Wakes};
