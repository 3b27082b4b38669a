//! Attempts to acquire that are under way.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::backend::{AcquireOutcome, ReleaseRequest};
use crate::{LeaseId, Result};

pub(super) type Reply = oneshot::Sender<Result<AcquireOutcome>>;

/// The attempts under way, and which of them nobody waits for any more.
///
/// A release must not overtake its acquire, or the acquire would hold for a whole ttl: so an abandoned attempt is
/// released when it lands, not before.
#[derive(Debug, Default)]
pub(super) struct Attempts(HashMap<LeaseId, Attempt>);

/// One attempt under way.
#[derive(Debug)]
pub(super) enum Attempt {
    /// Somebody waits for it.
    Awaited(Reply),
    /// Nobody does: what ends the lease that it may be granted.
    Abandoned(ReleaseRequest),
}

impl Attempts {
    pub(super) fn begin(&mut self, id: LeaseId, reply: Reply) {
        self.0.insert(id, Attempt::Awaited(reply));
    }

    /// Keeps the release until the attempt lands. Gives it back if none is under way: then it may be sent at once.
    pub(super) fn abandon(&mut self, release: ReleaseRequest) -> Option<ReleaseRequest> {
        match self.0.get_mut(&release.id) {
            Some(attempt) => {
                *attempt = Attempt::Abandoned(release);
                None
            }
            None => Some(release),
        }
    }

    /// Takes the attempt that landed out.
    pub(super) fn land(&mut self, id: &LeaseId) -> Option<Attempt> {
        self.0.remove(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Key, Owner};

    #[test]
    fn an_abandoned_attempt_has_nobody_to_reply_to() {
        let mut attempts = Attempts::default();
        let (key, owner) = (Key::new("k").unwrap(), Owner::random());
        let (wanted, abandoned) = (LeaseId::random(), LeaseId::random());
        for id in [&wanted, &abandoned] {
            attempts.begin(id.clone(), oneshot::channel().0);
        }
        let release = |id| ReleaseRequest::new(&key, &owner, id);
        assert!(attempts.abandon(release(&abandoned)).is_none());
        let landed = attempts.land(&abandoned);
        assert!(matches!(landed, Some(Attempt::Abandoned(kept)) if kept.id == abandoned));
        let landed = attempts.land(&wanted);
        assert!(matches!(landed, Some(Attempt::Awaited(_))));
        let at_once = attempts.abandon(release(&wanted));
        assert!(at_once.is_some(), "it is not under way any more");
    }
}
