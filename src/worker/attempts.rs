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
pub(super) struct Attempt {
    /// Who waits for it; `None` once it is abandoned.
    pub(super) reply: Option<Reply>,
    /// What ends the lease that it may be granted.
    pub(super) release: ReleaseRequest,
}

impl Attempts {
    pub(super) fn begin(&mut self, release: ReleaseRequest, reply: Reply) {
        let attempt = Attempt {
            reply: Some(reply),
            release,
        };
        self.0.insert(attempt.release.id.clone(), attempt);
    }

    /// Marks an attempt as abandoned. `false` if none is under way, so that it may be released at once.
    pub(super) fn abandon(&mut self, id: &LeaseId) -> bool {
        let attempt = self.0.get_mut(id);
        attempt.map(|attempt| attempt.reply = None).is_some()
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
            attempts.begin(ReleaseRequest::new(&key, &owner, id), oneshot::channel().0);
        }
        assert!(attempts.abandon(&abandoned));
        assert!(attempts.land(&abandoned).unwrap().reply.is_none());
        assert!(attempts.land(&wanted).unwrap().reply.is_some());
        assert!(!attempts.abandon(&wanted), "it is not under way any more");
    }
}
