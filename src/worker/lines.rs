//! Who of this client wants a key that another of it has or asks for: they wait here, so that one at a time asks the
//! database.

use std::collections::{HashMap, VecDeque};

use tokio::sync::oneshot;

use crate::backend::AcquireOutcome;
use crate::plan::Plan;
use crate::renewal::Renewal;
use crate::{Key, LeaseId, Owner, Result};

/// How often in a row a lock is handed on before it is released: others may wait for it.
const ROW: u32 = 16;

/// An acquisition that waits for its turn.
pub(crate) struct Waiter {
    pub(crate) plan: Plan,
    pub(crate) renewal: Renewal,
    pub(crate) turn: oneshot::Sender<Result<Turn>>,
}

/// What it waited for.
pub(crate) enum Turn {
    /// It asks the database now.
    Ask(Crowd),
    /// The lease that ended is handed to it, if the database agrees.
    Offer(Box<Offer>),
}

/// Who else wants the key, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crowd {
    /// Nobody of this client came before.
    Alone,
    /// Others of this client did.
    Some,
}

/// An attempt in the name of the lease that ends, by its owner.
pub(crate) struct Offer {
    pub(crate) owner: Owner,
    /// With the attempt that was sent.
    pub(crate) renewal: Renewal,
    pub(crate) answer: oneshot::Receiver<Result<AcquireOutcome>>,
}

/// The lines of all keys that somebody of this client has or wants.
#[derive(Default)]
pub(super) struct Lines {
    lines: HashMap<Key, Line>,
    places: HashMap<LeaseId, Key>,
}

struct Line {
    /// Who asks the database, or has the lock.
    first: LeaseId,
    has_it: bool,
    /// How often it was handed on since it was acquired.
    row: u32,
    waiters: VecDeque<Waiter>,
}

impl Line {
    fn of(first: LeaseId) -> Self {
        Self {
            first,
            has_it: false,
            row: 0,
            waiters: VecDeque::new(),
        }
    }
}

impl Lines {
    /// Takes somebody in.
    pub(super) fn join(&mut self, waiter: Waiter) {
        let (key, id) = (&waiter.plan.request.key, waiter.plan.request.id.clone());
        self.places.insert(id.clone(), key.clone());
        if let Some(line) = self.lines.get_mut(key) {
            line.waiters.push_back(waiter);
            return;
        }
        self.lines.insert(key.clone(), Line::of(id));
        let _ = waiter.turn.send(Ok(Turn::Ask(Crowd::Alone)));
    }

    /// Somebody has the lock now. One that never waited has its place in the line, if nobody has it.
    pub(super) fn hold(&mut self, key: &Key, id: &LeaseId) {
        let line = self.lines.entry(key.clone());
        let line = line.or_insert_with(|| Line::of(id.clone()));
        if line.first == *id {
            line.has_it = true;
            self.places.insert(id.clone(), key.clone());
        }
    }

    /// Who has the lock.
    pub(super) fn holder(&self, key: &Key) -> Option<&LeaseId> {
        let line = self.lines.get(key).filter(|line| line.has_it);
        line.map(|line| &line.first)
    }

    /// Nobody wants this acquisition any more. One that has the lock ends otherwise.
    pub(super) fn abandon(&mut self, id: &LeaseId) {
        let line = self.places.get(id).and_then(|key| self.lines.get(key));
        if line.is_some_and(|line| line.first != *id || !line.has_it) {
            self.leave(id);
        }
    }

    /// It is over with this one. The next in line asks.
    pub(super) fn leave(&mut self, id: &LeaseId) {
        let Some(key) = self.places.remove(id) else {
            return;
        };
        let Some(line) = self.lines.get_mut(&key) else {
            return;
        };
        if line.first != *id {
            line.waiters.retain(|waiter| waiter.plan.request.id != *id);
            return;
        }
        (line.row, line.has_it) = (0, false);
        while let Some(waiter) = line.waiters.pop_front() {
            let next = waiter.plan.request.id.clone();
            if waiter.turn.send(Ok(Turn::Ask(Crowd::Some))).is_ok() {
                line.first = next;
                return;
            }
            self.places.remove(&next);
        }
        self.lines.remove(&key);
    }

    /// Whom the lock of a lease that ends is handed to: the next in line, if it `may` be and the row is not too long.
    pub(super) fn next(&mut self, id: &LeaseId, may: impl Fn(&Plan) -> bool) -> Option<Waiter> {
        let line = self.lines.get_mut(self.places.get(id)?)?;
        if line.first != *id || line.row >= ROW {
            return None;
        }
        while line
            .waiters
            .front()
            .is_some_and(|next| next.turn.is_closed())
        {
            let gone = line.waiters.pop_front()?;
            self.places.remove(&gone.plan.request.id);
        }
        let next = line.waiters.pop_front_if(|next| may(&next.plan))?;
        self.places.remove(id);
        line.first = next.plan.request.id.clone();
        (line.row, line.has_it) = (line.row + 1, false);
        Some(next)
    }
}

#[cfg(test)]
mod tests;
