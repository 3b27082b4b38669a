//! Fuzz targets, and what they draw from. Those of what is private stand beside it, as `fuzz.rs`.
//!
//! Each is an ordinary test that tries a bounded number of inputs, and runs for as long as one likes under libFuzzer:
//! see CONTRIBUTING.md.

#[cfg(any(feature = "mongodb", feature = "dynamodb"))]
pub(crate) mod damage;
mod names;
pub(crate) mod record;
pub(crate) mod request;
pub(crate) mod rules;

/// How many inputs an ordinary test run tries; `BOLERO_RANDOM_ITERATIONS` says otherwise.
pub(crate) const TRIES: usize = 2000;
