//! What a [`Proxy`](super::proxy::Proxy) has been told to do, and what it has seen.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::wire::Frame;

/// A request as it went by.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub operation: String,
    pub bytes: Vec<u8>,
}

/// What befalls one request.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    DropRequest,
    DropReply,
    CutReply,
    Answer(Vec<u8>),
}

/// The link as a whole.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Link {
    pub(super) delay: Duration,
    pub(super) requests_vanish: bool,
    pub(super) replies_vanish: bool,
    /// Counts the calls of `reset_connections`.
    pub(super) resets: u64,
}

/// What the handle and the connections share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) link: watch::Sender<Link>,
    traffic: Mutex<Traffic>,
}

#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// For which operation, how many times more, what.
    pub(super) faults: Vec<(String, usize, Fault)>,
    pub(super) counts: HashMap<String, usize>,
    pub(super) recording: bool,
    pub(super) recorded: Vec<Recorded>,
}

impl Shared {
    /// Counts and records a request, and says what is to befall it.
    pub(super) fn note(&self, request: &Frame) -> Option<Fault> {
        let mut traffic = self.traffic();
        let operation = request.operation.clone();
        *traffic.counts.entry(operation.clone()).or_default() += 1;
        if traffic.recording {
            let bytes = request.bytes.clone();
            traffic.recorded.push(Recorded { operation, bytes });
        }
        let mut faults = traffic.faults.iter_mut();
        let (_, left, fault) =
            faults.find(|(name, left, _)| *left > 0 && *name == request.operation)?;
        *left -= 1;
        Some(fault.clone())
    }

    pub(super) fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
