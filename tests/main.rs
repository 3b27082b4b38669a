//! The suite: one binary, so that the servers are started once and the drivers linked once.

#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::too_many_lines,
    clippy::unchecked_time_subtraction,
    clippy::unwrap_used,
    clippy::expect_used
)]

mod cli;
mod conformance;
mod connect;
mod differential;
mod documents;
mod dynamodb;
mod errors;
mod fences;
mod messages;
mod mongodb;
mod observing;
mod outages;
mod privileges;
mod processes;
mod secrecy;
mod support;
mod support_works;
