//! Real servers for the tests, and a network between that can be broken at will.
//!
//! Shared servers are in [`servers`]; a test that kills its server starts its own ([`replica_set`], [`mongod`], [`dynamodb_local`]).

// In a test binary nothing is reachable from outside; `pub` says what a test may use.
#![allow(unreachable_pub)]

pub mod counter;
pub mod dynamodb_local;
pub mod dynoxide;
pub mod generate;
pub mod install;
pub mod mongod;
pub mod poll;
pub mod port;
pub mod process;
pub mod proxy;
pub mod raw;
mod relay;
pub mod renewals;
pub mod replica_set;
pub mod servers;
mod traffic;
pub mod wire;
mod wrapper;
