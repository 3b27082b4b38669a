//! What is known of an acquisition at each member, and who may talk to that member about it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::LeaseId;
use crate::sync::{Mutex, MutexGuard};
use crate::time::Moment;

/// An acquisition's place at one member.
#[derive(Debug, Default)]
pub(super) struct Seat {
    /// Its token there, if it was granted.
    pub(super) token: Option<u64>,
    /// What the token is to become; it may have, if no answer said so.
    pub(super) raising: Option<u64>,
    /// It is part of a lease that was handed out.
    pub(super) kept: bool,
    /// The last attempt that was given back. What stands there from before may yet be ended by that, late.
    pub(super) given_back: u64,
}

/// An acquisition at all members.
///
/// Each seat is locked for as long as something about it is under way: one attempt's end must not overtake its begin, nor
/// end what the next one was granted.
#[derive(Debug)]
pub(super) struct Seats {
    pub(super) each: Vec<tokio::sync::Mutex<Seat>>,
    /// The fencing token that was handed out.
    token: AtomicU64,
    /// It ended: whoever has not asked yet does not. Who has is waited for by the release, at the seat.
    over: AtomicBool,
}

impl Seats {
    pub(super) fn new(members: usize) -> Self {
        Self {
            each: (0..members)
                .map(|_| tokio::sync::Mutex::default())
                .collect(),
            token: AtomicU64::new(0),
            over: AtomicBool::new(false),
        }
    }

    pub(super) fn hand_out(&self, token: u64) {
        self.token.store(token, Ordering::Release);
    }

    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

/// How long an acquisition is remembered that nobody asks about, beyond twice its ttl.
const IDLE: Duration = Duration::from_mins(1);
/// Fewer are never swept.
const FEW: usize = 64;

/// The acquisitions that somebody may still ask about.
#[derive(Debug, Default)]
pub(super) struct Acquisitions(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    known: HashMap<LeaseId, Entry>,
    /// At so many the forgotten ones are swept out.
    sweep_at: usize,
}

#[derive(Debug)]
struct Entry {
    seats: Arc<Seats>,
    asked: Moment,
    ttl: Duration,
}

impl Acquisitions {
    /// The seats of an acquisition that is attempted.
    pub(super) fn enter(
        &self,
        id: &LeaseId,
        members: usize,
        ttl: Duration,
        now: Moment,
    ) -> Arc<Seats> {
        let mut table = self.table();
        table.sweep(now);
        let entry = table.known.entry(id.clone()).or_insert_with(|| Entry {
            seats: Arc::new(Seats::new(members)),
            asked: now,
            ttl,
        });
        (entry.asked, entry.ttl) = (now, entry.ttl.max(ttl));
        Arc::clone(&entry.seats)
    }

    /// The seats of the lease that was handed out with this token.
    pub(super) fn held(&self, id: &LeaseId, token: u64, now: Moment) -> Option<Arc<Seats>> {
        let mut table = self.table();
        let entry = table.known.get_mut(id)?;
        entry.asked = now;
        let is_it = entry.seats.token.load(Ordering::Acquire) == token;
        is_it.then(|| Arc::clone(&entry.seats))
    }

    /// It is over. Its seats, if they are known.
    pub(super) fn leave(&self, id: &LeaseId) -> Option<Arc<Seats>> {
        let entry = self.table().known.remove(id)?;
        entry.seats.end();
        Some(entry.seats)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table().known.len()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Forgets leases that nobody renewed or released: whoever held them is gone, or found them lost by its own clock.
    fn sweep(&mut self, now: Moment) {
        if self.known.len() < self.sweep_at.max(FEW) {
            return;
        }
        self.known.retain(|_, entry| {
            let idle = now.at_least_since(entry.asked);
            Arc::strong_count(&entry.seats) > 1 || idle < entry.ttl * 2 + IDLE
        });
        self.sweep_at = self.known.len() * 2;
    }
}
