//! Requests to hand an exclusive lock on, where there is one.

use doclock::{AcquireRequest, LeaseId, LockRecord, Mode};
use proptest::prelude::*;
use proptest::sample::Index;

/// How a lock is handed on, before it is known who holds it.
#[derive(Clone, Debug)]
pub struct AnyHanding {
    which: Index,
    /// The lease that it names is a stranger's.
    strange: bool,
    /// Others hold as well, or in another mode.
    crowded: bool,
    /// It lives no shorter than the last one.
    longer: bool,
    /// By one that is in the queue as well.
    waits: bool,
}

pub fn handing() -> impl Strategy<Value = AnyHanding> {
    let seldom = || prop::bool::weighted(0.1);
    let longer = prop::bool::weighted(0.8);
    (any::<Index>(), seldom(), seldom(), longer, seldom()).prop_map(
        |(which, strange, crowded, longer, waits)| AnyHanding {
            which,
            strange,
            crowded,
            longer,
            waits,
        },
    )
}

impl AnyHanding {
    pub fn apply(&self, request: &mut AcquireRequest, record: &mut LockRecord) {
        record.holders.retain(|holder| holder.claimant.is_some());
        if record.holders.is_empty() {
            return;
        }
        let holder = self.which.get(&record.holders).clone();
        let claimant = holder.claimant.clone().unwrap();
        (request.mode, request.queued) = (Mode::Exclusive, false);
        if self.longer {
            request.ttl = request.ttl.max(holder.ttl);
        }
        if !self.crowded {
            (record.mode, record.holders) = (Mode::Exclusive, vec![holder]);
        }
        if !self.waits {
            record
                .queue
                .retain(|waiter| waiter.claimant.owner != claimant.owner);
        }
        request.owner = claimant.owner;
        request.replaces = Some(if self.strange {
            LeaseId::random()
        } else {
            claimant.id
        });
    }
}
