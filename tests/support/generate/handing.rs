//! Requests to hand an exclusive lock on, where there is one.

use doclock::{AcquireRequest, LeaseId, LockRecord, Mode};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// How a lock is handed on, before it is known who holds it.
#[derive(Clone, Debug)]
pub struct AnyHanding {
    which: Index,
    but: Option<But>,
}

/// What makes it none of the plain ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum But {
    /// The lease that it names is a stranger's.
    Strange,
    /// Others hold as well, or in another mode.
    Crowded,
    /// It may live shorter than the last one.
    Shorter,
    /// Its owner stands in the queue as well, if anybody does.
    Waits,
}

pub fn handing() -> impl Strategy<Value = AnyHanding> {
    let but = select(vec![
        But::Strange,
        But::Crowded,
        But::Shorter,
        But::Waits,
        But::Waits,
    ]);
    (any::<Index>(), option::weighted(0.5, but)).prop_map(|(which, but)| AnyHanding { which, but })
}

impl AnyHanding {
    pub fn apply(&self, request: &mut AcquireRequest, record: &mut LockRecord) {
        let is = |but| self.but == Some(but);
        record.holders.retain(|holder| holder.claimant.is_some());
        if record.holders.is_empty() {
            return;
        }
        let holder = self.which.get(&record.holders).clone();
        let claimant = holder.claimant.clone().unwrap();
        (request.mode, request.queued) = (Mode::Exclusive, false);
        if !is(But::Shorter) {
            request.ttl = request.ttl.max(holder.ttl);
        }
        if !is(But::Crowded) {
            (record.mode, record.holders) = (Mode::Exclusive, vec![holder]);
        }
        let queue = &mut record.queue;
        queue.retain(|waiter| waiter.claimant.owner != claimant.owner);
        if is(But::Waits)
            && let Some(waiter) = queue.first_mut()
        {
            waiter.claimant.owner = claimant.owner.clone();
            waiter.claimant.id = LeaseId::random();
        }
        request.owner = claimant.owner;
        request.replaces = Some(if is(But::Strange) {
            LeaseId::random()
        } else {
            claimant.id
        });
    }
}
