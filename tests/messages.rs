//! Messages that get lost, come late or come twice, between a client and a real server.

mod duplicates;
mod late;
pub mod link;
mod lost;
mod throttled;
