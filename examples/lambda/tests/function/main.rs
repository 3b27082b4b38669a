//! The function as Lambda runs it: processes that ask a runtime API for work, are frozen between invocations, time out, and
//! are tried again. Before an embedded DynamoDB, with a proxy that counts.

#![allow(unreachable_pub, dead_code, clippy::unwrap_used, clippy::expect_used)]

mod concurrency;
mod emulator;
mod freezes;
mod payments;
mod retries;
mod rights;
mod runtime;
mod support;
mod timeouts;
mod world;
