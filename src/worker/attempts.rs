//! Attempts to acquire that are under way.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::backend::AcquireOutcome;
use crate::{LeaseId, Result};

pub(super) type Reply = oneshot::Sender<Result<AcquireOutcome>>;

/// The attempts under way, and which of them nobody waits for any more.
///
/// A release must not overtake its acquire, or the acquire would hold for a whole ttl: so an abandoned attempt is
/// released when it lands, not before.
#[derive(Debug, Default)]
pub(super) struct Attempts(HashMap<LeaseId, Option<Reply>>);

impl Attempts {
    pub(super) fn begin(&mut self, id: LeaseId, reply: Reply) {
        self.0.insert(id, Some(reply));
    }

    /// Marks an attempt as abandoned. `false` if none is under way, so that it may be released at once.
    pub(super) fn abandon(&mut self, id: &LeaseId) -> bool {
        self.0.get_mut(id).map(Option::take).is_some()
    }

    /// Takes the attempt that landed out: `None` if it was abandoned.
    pub(super) fn land(&mut self, id: &LeaseId) -> Option<Reply> {
        self.0.remove(id).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abandoned_attempt_has_nobody_to_reply_to() {
        let mut attempts = Attempts::default();
        let (wanted, abandoned) = (LeaseId::random(), LeaseId::random());
        attempts.begin(wanted.clone(), oneshot::channel().0);
        attempts.begin(abandoned.clone(), oneshot::channel().0);
        assert!(attempts.abandon(&abandoned));
        assert!(attempts.land(&abandoned).is_none());
        assert!(attempts.land(&wanted).is_some());
        assert!(!attempts.abandon(&wanted), "it is not under way any more");
    }
}
