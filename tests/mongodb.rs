//! `MongoBackend` on a real replica set: what the suite for all backends does not ask.

mod broken;
mod cases;
mod commuting;
mod faults;
pub mod fixture;
mod handing;
mod many;
mod once;
mod purge;
mod queue;
mod requests;
mod rules;
mod scheduled;
mod strings;
mod swaps;
mod waking;
