//! Acquisitions that are not leases yet: which attempts of each are under way, and what must be released in the end.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::backend::{AcquireOutcome, AcquireRequest, Reason, ReleaseRequest};
use crate::{ErrorKind, Key, LeaseId, Owner, Result};

/// One attempt of an acquisition; whoever asked may be gone when it lands.
pub(crate) struct Attempt {
    pub(crate) request: AcquireRequest,
    /// What ends it, should nobody want it any more.
    pub(crate) ending: ReleaseRequest,
    pub(crate) reply: oneshot::Sender<Result<AcquireOutcome>>,
}

/// The acquisitions that were begun, and neither handed out as leases nor abandoned.
///
/// A release must not overtake its acquire, or the acquire would hold for a whole ttl: so an abandoned one is released
/// when its last attempt has landed, not before.
///
/// Nor may an owner's older acquisition overtake its newer one: it would take that one's lock over, as its own, and give it
/// back. So the newer one waits until nothing of the older is under way.
#[derive(Default)]
pub(super) struct Attempts {
    acquisitions: HashMap<LeaseId, Acquisition>,
    /// Whose attempts are under way.
    busy: HashMap<(Key, Owner), LeaseId>,
    deferred: Vec<Attempt>,
}

struct Acquisition {
    /// What ends the lease that it may have been granted, and its place in the queue.
    ending: ReleaseRequest,
    /// How many attempts are.
    under_way: usize,
    /// The attempt that was sent last.
    newest: u64,
    /// The attempt that somebody waits for.
    awaited: Option<(u64, oneshot::Sender<Result<AcquireOutcome>>)>,
    /// One of the attempts was granted, or may have been.
    may_hold: bool,
    abandoned: bool,
}

impl Attempts {
    /// The request to be sent now, if there is one.
    pub(super) fn begin(&mut self, attempt: Attempt) -> Option<AcquireRequest> {
        let id = &attempt.request.id;
        let busy = self.busy.get(&whose(&attempt.ending));
        if busy.is_some_and(|busy| busy != id) {
            self.deferred.retain(|other| other.request.id != *id);
            self.deferred.push(attempt);
            return None;
        }
        self.busy.insert(whose(&attempt.ending), id.clone());
        let Attempt {
            request,
            ending,
            reply,
        } = attempt;
        let acquisition = self.acquisitions.entry(request.id.clone());
        let acquisition = acquisition.or_insert(Acquisition {
            ending,
            under_way: 0,
            newest: request.seq,
            awaited: None,
            may_hold: false,
            abandoned: false,
        });
        acquisition.under_way += 1;
        acquisition.newest = request.seq;
        acquisition.awaited = Some((request.seq, reply));
        Some(request)
    }

    /// An attempt came to its end: tells who waits for it. What is to be released now.
    pub(super) fn land(
        &mut self,
        id: &LeaseId,
        seq: u64,
        outcome: Result<AcquireOutcome>,
    ) -> Option<ReleaseRequest> {
        let acquisition = self.acquisitions.get_mut(id)?;
        acquisition.under_way -= 1;
        acquisition.note(seq, &outcome);
        let awaited = &mut acquisition.awaited;
        if let Some((_, reply)) = awaited.take_if(|(awaited, _)| *awaited == seq) {
            let _ = reply.send(outcome);
        }
        if acquisition.under_way == 0 {
            self.busy.remove(&whose(&acquisition.ending));
        }
        self.release_if_abandoned(id)
    }

    /// What waited for others to land and may be sent now.
    pub(super) fn ready(&mut self) -> Vec<AcquireRequest> {
        let deferred = std::mem::take(&mut self.deferred).into_iter();
        deferred.filter_map(|attempt| self.begin(attempt)).collect()
    }

    /// Nobody wants it any more. What is to be released now; or it is when the last attempt lands.
    pub(super) fn abandon(&mut self, id: &LeaseId) -> Option<ReleaseRequest> {
        self.deferred.retain(|attempt| attempt.request.id != *id);
        let acquisition = self.acquisitions.get_mut(id)?;
        acquisition.abandoned = true;
        self.release_if_abandoned(id)
    }

    /// It is a lease now, and no longer looked after here.
    pub(super) fn hand_over(&mut self, id: &LeaseId) {
        self.acquisitions.remove(id);
    }

    /// Abandons all. What is to be released now.
    pub(super) fn close(&mut self) -> Vec<ReleaseRequest> {
        for attempt in self.deferred.drain(..) {
            let _ = attempt.reply.send(Err(super::closed()));
        }
        for acquisition in self.acquisitions.values_mut() {
            if let Some((_, reply)) = acquisition.awaited.take() {
                let _ = reply.send(Err(super::closed()));
            }
        }
        let ids: Vec<_> = self.acquisitions.keys().cloned().collect();
        ids.iter().filter_map(|id| self.abandon(id)).collect()
    }

    fn release_if_abandoned(&mut self, id: &LeaseId) -> Option<ReleaseRequest> {
        let is_over = |of: &Acquisition| of.abandoned && of.under_way == 0;
        if !self.acquisitions.get(id).is_some_and(is_over) {
            return None;
        }
        let acquisition = self.acquisitions.remove(id)?;
        let is_there = acquisition.may_hold || acquisition.ending.queued;
        is_there.then_some(acquisition.ending)
    }
}

fn whose(ending: &ReleaseRequest) -> (Key, Owner) {
    (ending.key.clone(), ending.owner.clone())
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
    use crate::{Error, Mode, Ttl};
    use std::time::Duration;

    type Answer = oneshot::Receiver<Result<AcquireOutcome>>;

    fn attempt(owner: &str, id: &LeaseId, seq: u64) -> (Attempt, Answer) {
        let (key, owner) = (Key::new("k").unwrap(), Owner::new(owner).unwrap());
        let (reply, answer) = oneshot::channel();
        let ttl = Ttl::new(Duration::from_secs(1)).unwrap();
        let request = AcquireRequest {
            id: id.clone(),
            seq,
            ..AcquireRequest::new(&key, &owner, Mode::Exclusive, ttl)
        };
        let attempt = Attempt {
            request,
            ending: ReleaseRequest::new(&key, &owner, id),
            reply,
        };
        (attempt, answer)
    }

    impl Attempts {
        /// Of an owner that nobody else is.
        fn sends(&mut self, id: &LeaseId, seq: u64) -> Answer {
            let (attempt, answer) = attempt(id.as_str(), id, seq);
            assert!(self.begin(attempt).is_some());
            answer
        }
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
        attempts.sends(&id, 1);
        attempts.sends(&id, 2);
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
        let skipped = || Ok(AcquireOutcome::Skipped(None));
        let border = || {
            let (reason, mode) = (Reason::Border, Mode::Exclusive);
            let contention = Contention::new(reason, mode, Vec::new(), Duration::ZERO);
            Ok(AcquireOutcome::Held(contention))
        };
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
            (vec![queued(), Ok(refused()), unknown()], true, false),
            (vec![queued(), border(), unknown()], true, true),
            (vec![queued(), skipped()], true, true),
            (vec![queued(), Ok(refused())], false, false),
        ] {
            let (mut attempts, id) = (Attempts::default(), LeaseId::random());
            let text = format!("{outcomes:?}");
            for (seq, outcome) in (1..).zip(outcomes) {
                let mut answer = attempts.sends(&id, seq);
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
        attempts.sends(&id, 1);
        let mut answer = attempts.sends(&id, 2);
        attempts.land(&id, 2, Ok(granted(2)));
        assert!(answer.try_recv().unwrap().is_ok());
        attempts.land(&id, 1, Ok(refused()));
        assert!(attempts.abandon(&id).is_some());
    }

    #[test]
    fn closing_answers_and_releases() {
        let mut attempts = Attempts::default();
        let [landed, under_way, lease] = [0; 3].map(|_| LeaseId::random());
        let mut answer = attempts.sends(&under_way, 1);
        for id in [&landed, &lease] {
            attempts.sends(id, 1);
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

    #[test]
    fn an_owners_next_acquisition_waits_for_what_is_under_way() {
        let mut attempts = Attempts::default();
        let [old, new, other] = [0; 3].map(|_| LeaseId::random());
        let (first, _) = attempt("o", &old, 1);
        assert!(attempts.begin(first).is_some());
        attempts.abandon(&old);
        // Only its newest attempt is worth to be sent.
        for seq in 1..=2 {
            assert!(attempts.begin(attempt("o", &new, seq).0).is_none());
        }
        assert!(attempts.begin(attempt("p", &other, 1).0).is_some());
        assert!(attempts.ready().is_empty());
        attempts.land(&old, 1, Ok(granted(1)));
        let ready: Vec<_> = attempts.ready();
        assert_eq!(ready.len(), 1);
        assert_eq!((&ready[0].id, ready[0].seq), (&new, 2));
    }

    #[test]
    fn what_waits_is_dropped_alone() {
        let mut attempts = Attempts::default();
        let [old, new, theirs, waits] = [0; 4].map(|_| LeaseId::random());
        attempts.begin(attempt("o", &old, 1).0);
        attempts.begin(attempt("p", &theirs, 1).0);
        assert!(attempts.begin(attempt("o", &new, 1).0).is_none());
        assert!(attempts.begin(attempt("p", &waits, 1).0).is_none());
        attempts.abandon(&new);
        for id in [&old, &theirs] {
            attempts.land(id, 1, Ok(refused()));
        }
        let ready = attempts.ready();
        let ids: Vec<_> = ready.iter().map(|request| &request.id).collect();
        assert_eq!(ids, [&waits]);
    }

    #[test]
    fn what_waits_is_dropped_with_its_acquisition() {
        let mut attempts = Attempts::default();
        let [old, new, last] = [0; 3].map(|_| LeaseId::random());
        let (first, _) = attempt("o", &old, 1);
        attempts.begin(first);
        let (abandoned, _) = attempt("o", &new, 1);
        attempts.begin(abandoned);
        assert!(attempts.abandon(&new).is_none());
        let (waits, mut answer) = attempt("o", &last, 1);
        attempts.begin(waits);
        assert!(attempts.close().is_empty());
        let told = answer.try_recv().unwrap().unwrap_err();
        assert_eq!(told.kind(), ErrorKind::Closed);
        assert!(attempts.land(&old, 1, Ok(granted(1))).is_some());
        assert!(attempts.ready().is_empty());
    }
}
