//! Acquisitions that are not leases yet: which attempts of each are under way, and what must be released in the end.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use tokio::sync::oneshot;

use crate::backend::{AcquireOutcome, Reason, ReleaseRequest};
use crate::{ErrorKind, LeaseId, Result};

pub(super) type Reply = oneshot::Sender<Result<AcquireOutcome>>;

/// The acquisitions that were begun, and neither handed out as leases nor abandoned.
///
/// A release must not overtake its acquire, or the acquire would hold for a whole ttl: so an abandoned one is released
/// when its last attempt has landed, not before.
#[derive(Debug, Default)]
pub(super) struct Attempts(HashMap<LeaseId, Acquisition>);

#[derive(Debug)]
struct Acquisition {
    /// What ends the lease that it may have been granted, and its place in the queue.
    ending: ReleaseRequest,
    /// How many attempts are.
    under_way: usize,
    /// The attempt that was sent last.
    newest: u64,
    /// The attempt that somebody waits for.
    awaited: Option<(u64, Reply)>,
    /// One of the attempts was granted, or may have been.
    may_hold: bool,
    abandoned: bool,
}

impl Attempts {
    /// An attempt was sent.
    pub(super) fn begin(&mut self, seq: u64, ending: ReleaseRequest, reply: Reply) {
        let acquisition = self.0.entry(ending.id.clone());
        let acquisition = acquisition.or_insert(Acquisition {
            ending,
            under_way: 0,
            newest: seq,
            awaited: None,
            may_hold: false,
            abandoned: false,
        });
        acquisition.under_way += 1;
        acquisition.newest = seq;
        acquisition.awaited = Some((seq, reply));
    }

    /// An attempt came to its end: tells who waits for it. What is to be released now.
    pub(super) fn land(
        &mut self,
        id: &LeaseId,
        seq: u64,
        outcome: Result<AcquireOutcome>,
    ) -> Option<ReleaseRequest> {
        let acquisition = self.0.get_mut(id)?;
        acquisition.under_way -= 1;
        acquisition.note(seq, &outcome);
        if let Some((_, reply)) = acquisition.awaited.take_if(|(awaited, _)| *awaited == seq) {
            let _ = reply.send(outcome);
        }
        self.release_if_abandoned(id)
    }

    /// Nobody wants it any more. What is to be released now; or it is when the last attempt lands.
    pub(super) fn abandon(&mut self, id: &LeaseId) -> Option<ReleaseRequest> {
        let acquisition = self.0.get_mut(id)?;
        acquisition.abandoned = true;
        self.release_if_abandoned(id)
    }

    /// It is a lease now, and no longer looked after here.
    pub(super) fn hand_over(&mut self, id: &LeaseId) {
        self.0.remove(id);
    }

    /// Abandons all. What is to be released now.
    pub(super) fn close(&mut self) -> Vec<ReleaseRequest> {
        for acquisition in self.0.values_mut() {
            if let Some((_, reply)) = acquisition.awaited.take() {
                let _ = reply.send(Err(super::closed()));
            }
        }
        let ids: Vec<_> = self.0.keys().cloned().collect();
        ids.iter().filter_map(|id| self.abandon(id)).collect()
    }

    fn release_if_abandoned(&mut self, id: &LeaseId) -> Option<ReleaseRequest> {
        let Entry::Occupied(entry) = self.0.entry(id.clone()) else {
            return None;
        };
        let is_over = entry.get().abandoned && entry.get().under_way == 0;
        let acquisition = is_over.then(|| entry.remove())?;
        let is_there = acquisition.may_hold || acquisition.ending.queued;
        is_there.then_some(acquisition.ending)
    }
}

impl Acquisition {
    fn note(&mut self, seq: u64, outcome: &Result<AcquireOutcome>) {
        match outcome {
            Ok(AcquireOutcome::Granted(_)) => self.may_hold = true,
            // A failure says nothing of an earlier attempt.
            Err(error) => self.may_hold |= error.kind() == ErrorKind::OutcomeUnknown,
            // Nor does a refusal say anything of a later one.
            Ok(_) if seq != self.newest => {}
            Ok(refused) => {
                self.may_hold = false;
                match refused {
                    AcquireOutcome::Queued(_) => self.ending.queued = true,
                    AcquireOutcome::Held(contention) if contention.reason != Reason::Border => {
                        self.ending.queued = false;
                    }
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Contention, Grant, Validity};
    use crate::{Error, Key, Mode, Owner};
    use std::time::Duration;

    fn ending(id: &LeaseId) -> ReleaseRequest {
        ReleaseRequest::new(&Key::new("k").unwrap(), &Owner::random(), id)
    }

    fn granted(seq: u64) -> AcquireOutcome {
        AcquireOutcome::Granted(Grant {
            token: 1,
            validity: Validity {
                seq,
                valid_for: Duration::from_secs(1),
                refresh: false,
            },
            slot: None,
        })
    }

    fn contention() -> Contention {
        Contention::new(Reason::Busy, Mode::Exclusive, Vec::new(), Duration::MAX)
    }

    fn refused() -> AcquireOutcome {
        AcquireOutcome::Held(contention())
    }

    fn unknown() -> Result<AcquireOutcome> {
        Err(Error::new(ErrorKind::OutcomeUnknown, "no answer"))
    }

    #[test]
    fn what_is_abandoned_is_released_when_it_lands() {
        let (mut attempts, id) = (Attempts::default(), LeaseId::random());
        attempts.begin(1, ending(&id), oneshot::channel().0);
        attempts.begin(2, ending(&id), oneshot::channel().0);
        assert!(attempts.abandon(&id).is_none());
        assert!(
            attempts.land(&id, 2, Ok(refused())).is_none(),
            "one is left"
        );
        let release = attempts.land(&id, 1, Ok(granted(1))).unwrap();
        assert_eq!((release.id, release.queued), (id.clone(), false));
        assert!(attempts.abandon(&id).is_none(), "once");
    }

    #[test]
    fn only_what_may_be_there_is_released() {
        let queued = || Ok(AcquireOutcome::Queued(contention()));
        let failed = || Err(Error::new(ErrorKind::Unavailable, "refused"));
        let skipped = || Ok(AcquireOutcome::Skipped);
        for (outcomes, held, in_queue) in [
            (vec![Ok(granted(1))], true, false),
            (vec![Ok(refused())], false, false),
            (vec![skipped()], false, false),
            (vec![failed()], false, false),
            (vec![unknown()], true, false),
            (vec![unknown(), failed()], true, false),
            (vec![unknown(), Ok(refused())], false, false),
            (vec![queued()], true, true),
            (vec![queued(), unknown()], true, true),
            (vec![queued(), skipped()], true, true),
            (vec![queued(), Ok(refused())], false, false),
        ] {
            let (mut attempts, id) = (Attempts::default(), LeaseId::random());
            let text = format!("{outcomes:?}");
            for (seq, outcome) in (1..).zip(outcomes) {
                let (reply, mut answer) = oneshot::channel();
                attempts.begin(seq, ending(&id), reply);
                assert!(attempts.land(&id, seq, outcome).is_none());
                assert!(answer.try_recv().is_ok());
            }
            let release = attempts.abandon(&id);
            assert_eq!(release.is_some(), held, "{text}");
            assert_eq!(release.is_some_and(|r| r.queued), in_queue, "{text}");
        }
    }

    #[test]
    fn a_late_refusal_of_an_earlier_attempt_says_nothing() {
        let (mut attempts, id) = (Attempts::default(), LeaseId::random());
        attempts.begin(1, ending(&id), oneshot::channel().0);
        let (reply, mut answer) = oneshot::channel();
        attempts.begin(2, ending(&id), reply);
        attempts.land(&id, 2, Ok(granted(2)));
        assert!(answer.try_recv().unwrap().is_ok());
        attempts.land(&id, 1, Ok(refused()));
        assert!(attempts.abandon(&id).is_some());
    }

    #[test]
    fn closing_answers_and_releases() {
        let mut attempts = Attempts::default();
        let [landed, under_way, lease] = [0; 3].map(|_| LeaseId::random());
        let (reply, mut answer) = oneshot::channel();
        attempts.begin(1, ending(&under_way), reply);
        for id in [&landed, &lease] {
            attempts.begin(1, ending(id), oneshot::channel().0);
            attempts.land(id, 1, Ok(granted(1)));
        }
        attempts.hand_over(&lease);
        let releases = attempts.close();
        let ids: Vec<_> = releases.into_iter().map(|release| release.id).collect();
        assert_eq!(ids, [landed]);
        let told = answer.try_recv().unwrap().unwrap_err();
        assert_eq!(told.kind(), ErrorKind::Closed);
        assert!(attempts.land(&under_way, 1, Ok(granted(1))).is_some());
    }
}
