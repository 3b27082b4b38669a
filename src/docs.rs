//! Longer texts.

#[doc = include_str!("../docs/protocol.md")]
pub mod protocol {}

#[doc = include_str!("../docs/performance.md")]
pub mod performance {}
