//! `MongoBackend` on a real replica set: what the suite for all backends does not ask.

mod broken;
mod cases;
mod faults;
mod fixture;
mod purge;
mod requests;
mod rules;
mod strings;
mod swaps;
