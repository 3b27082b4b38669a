//! The leases in the task's care, in the order in which something is due for them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Held;
use super::batch::{self, Place, Ready};
use crate::backend::{Occupant, RenewOutcome, RenewRequest};
use crate::lease::Loss;
use crate::plan::Plan;
use crate::time::Moment;
use crate::{Claimant, ErrorKind, LeaseId, Result};

/// Who waits for the end of a renewal.
type Done = oneshot::Sender<Result<()>>;

/// No renewal is given less time than this, as long as the lease lives.
const SHORTEST: Duration = Duration::from_millis(50);

/// The monotonic clock stood still, or the wall clock stepped, if they differ by more than this.
const DIVERGENCE: Duration = Duration::from_millis(50);

pub(super) struct Entry {
    pub(super) held: Held,
    /// A renewal is under way.
    renewing: bool,
    /// A renewal is due and waits to be sent.
    ready: Option<Place>,
    /// How many renewals in a row had an outcome that nobody knows.
    unknown: u32,
    /// None is to be sent: another acquisition is about to take its place, or a transaction writes the record.
    paused: bool,
    waiting: Vec<Done>,
    /// Its place in the schedule: when, and among those of one instant in the order in which they were granted.
    at: (Duration, u64),
}

/// Leases, and a schedule of when each needs a look (by the monotonic clock).
#[derive(Default)]
pub(super) struct Leases {
    entries: HashMap<LeaseId, Entry>,
    schedule: BTreeMap<(Duration, u64), LeaseId>,
    ready: Ready,
    granted: u64,
    looked: Option<Moment>,
}

impl Leases {
    pub(super) fn insert(&mut self, held: Held, now: Moment) {
        let id = held.plan.request.id.clone();
        self.granted += 1;
        let entry = Entry {
            held,
            renewing: false,
            ready: None,
            unknown: 0,
            paused: false,
            waiting: Vec::new(),
            at: (Duration::ZERO, self.granted),
        };
        self.entries.insert(id.clone(), entry);
        self.reschedule(&id, now);
    }

    pub(super) fn remove(&mut self, id: &LeaseId) -> Option<Held> {
        let entry = self.entries.remove(id)?;
        self.schedule.remove(&entry.at);
        if let Some(place) = entry.ready {
            self.ready.remove(place);
        }
        for done in entry.waiting {
            // The lease was released while it was being renewed.
            let _ = done.send(entry.held.lease.check());
        }
        Some(entry.held)
    }

    /// What it was granted for; `None` if it is lost.
    pub(super) fn pause(&mut self, id: &LeaseId, now: Moment) -> Option<Plan> {
        let entry = self.entries.get_mut(id)?;
        if entry.held.renewal.left(now).is_zero() {
            return None;
        }
        entry.paused = true;
        if let Some(place) = entry.ready.take() {
            self.ready.remove(place);
        }
        Some(entry.held.plan.clone())
    }

    /// As others see it.
    pub(super) fn occupant(&self, id: &LeaseId, now: Moment) -> Option<Occupant> {
        let held = &self.entries.get(id)?.held;
        let request = &held.plan.request;
        Some(Occupant {
            claimant: Some(Claimant {
                owner: request.owner.clone(),
                id: request.id.clone(),
            }),
            seq: request.seq,
            ttl: request.ttl,
            label: request.label.clone(),
            expires_in: held.renewal.left(now),
        })
    }

    pub(super) fn resume(&mut self, id: &LeaseId, now: Moment) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.paused = false;
            self.reschedule(id, now);
        }
    }

    pub(super) fn drain(&mut self) -> Vec<Held> {
        self.ready.clear();
        let schedule = std::mem::take(&mut self.schedule).into_values();
        let entries = schedule.filter_map(|id| self.entries.remove(&id));
        entries.map(|entry| entry.held).collect()
    }

    /// How long until something is due.
    pub(super) fn next_in(&self, now: Moment) -> Option<Duration> {
        let ((at, _), _) = self.schedule.first_key_value()?;
        Some(at.saturating_sub(now.monotonic))
    }

    /// Notes which renewals are due at `now`, and takes the leases that are lost.
    pub(super) fn due(&mut self, now: Moment) -> Vec<Held> {
        self.notice_a_thaw(now);
        let mut ended = Vec::new();
        while let Some(first) = self.schedule.first_entry() {
            if first.key().0 > now.monotonic {
                break;
            }
            let id = first.remove();
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            if entry.held.renewal.left(now).is_zero() {
                entry.held.lease.lose(Loss::Expired);
                ended.extend(self.remove(&id));
                continue;
            }
            if entry.renews() && entry.held.renewal.due_in(now) == Some(Duration::ZERO) {
                let place = (entry.ends(now), entry.at.1);
                entry.ready = Some(place);
                self.ready.insert(place, &id, entry.unknown);
            }
            self.reschedule(&id, now);
        }
        ended
    }

    /// Whether renewals wait to be sent.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether those that wait to be sent have waited for too long.
    pub(super) fn is_late(&self, now: Moment) -> bool {
        let first = self.ready.first().and_then(|id| self.entries.get(id));
        first.is_some_and(|entry| entry.held.renewal.late_in(now).is_zero())
    }

    /// The next renewals to send together, `size` at most: those with the least time, and if there is room, some that
    /// are due soon. So leases that were granted one by one come to be renewed together.
    pub(super) fn batch(&mut self, size: usize, now: Moment) -> Vec<RenewRequest> {
        let mut ids = self.ready.take(size, now.monotonic);
        if self.ready.is_empty()
            && let Some(first) = ids.first().and_then(|id| self.entries.get(id))
            && first.unknown == 0
        {
            let room = size.saturating_sub(ids.len());
            ids.extend(self.due_soon(first, room, now));
        }
        let mut requests = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(entry) = self.entries.get_mut(&id) {
                requests.push(entry.renewal(now));
            }
            self.reschedule(&id, now);
        }
        requests
    }

    /// Some that may go out with `first`, although they are not due yet.
    fn due_soon(&self, first: &Entry, room: usize, now: Moment) -> Vec<LeaseId> {
        let latest = batch::latest(first.ends(now), now.monotonic);
        let until = now.monotonic.saturating_add(first.held.renewal.early());
        let soon = self.schedule.range(..=(until, u64::MAX)).map(|(_, id)| id);
        let may_go = |entry: &Entry| {
            entry.renews() && entry.held.renewal.may_go(now) && entry.ends(now) <= latest
        };
        // No more are looked at than there is room for: thousands may stand there that may not go.
        soon.take(room)
            .filter(|id| self.entries.get(*id).is_some_and(may_go))
            .cloned()
            .collect()
    }

    /// Somebody wants a renewal now: the request to send, unless one is under way that serves as well.
    pub(super) fn renew(
        &mut self,
        id: &LeaseId,
        done: Done,
        now: Moment,
    ) -> std::result::Result<Option<RenewRequest>, Done> {
        let Some(entry) = self.entries.get_mut(id) else {
            return Err(done);
        };
        entry.waiting.push(done);
        if entry.renewing {
            return Ok(None);
        }
        if let Some(place) = entry.ready.take() {
            self.ready.remove(place);
        }
        Ok(Some(entry.renewal(now)))
    }

    /// A renewal was answered. The lease, if it turned out to be lost.
    pub(super) fn renewed(
        &mut self,
        id: &LeaseId,
        outcome: Result<RenewOutcome>,
        now: Moment,
        luck: f64,
    ) -> Option<Held> {
        let entry = self.entries.get_mut(id)?;
        entry.renewing = false;
        let lease = &entry.held.lease;
        let result = match outcome {
            Ok(RenewOutcome::Renewed(validity)) => {
                entry.unknown = 0;
                entry.held.renewal.stands(&validity);
                if let Some(deadline) = entry.held.renewal.deadline() {
                    lease.prolong(deadline);
                }
                lease.check()
            }
            // What takes its place may have done so.
            Ok(RenewOutcome::Lost) if entry.paused => Err(lease.error(Loss::Evicted)),
            Ok(RenewOutcome::Lost) => {
                lease.lose(Loss::Evicted);
                lease.check()
            }
            Err(error) => {
                let is_unknown = error.kind() == ErrorKind::OutcomeUnknown;
                entry.unknown = entry.unknown.saturating_add(is_unknown.into());
                lease.renewal_failed(&error, entry.held.renewal.left(now));
                entry.held.renewal.failed(now, luck);
                Err(error)
            }
        };
        let lost = lease.check().is_err();
        answer(std::mem::take(&mut entry.waiting), result);
        if lost {
            return self.remove(id);
        }
        self.reschedule(id, now);
        None
    }

    fn reschedule(&mut self, id: &LeaseId, now: Moment) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let left = entry.held.renewal.left(now);
        let next = if entry.ready.is_some() {
            Some(entry.held.renewal.late_in(now)).filter(|late| !late.is_zero())
        } else {
            let due = entry.held.renewal.due_in(now);
            due.filter(|_| entry.renews())
        };
        let wait = next.map_or(left, |next| next.min(left));
        self.schedule.remove(&entry.at);
        entry.at.0 = now.monotonic.saturating_add(wait);
        self.schedule.insert(entry.at, id.clone());
    }

    /// The schedule is monotonic, leases end by the wall clock too: when the two part, look at every lease.
    fn notice_a_thaw(&mut self, now: Moment) {
        let Some(before) = self.looked.replace(now) else {
            return;
        };
        let apart = now
            .at_most_since(before)
            .saturating_sub(now.at_least_since(before));
        if apart < DIVERGENCE {
            // Small differences add up: keep the older reading until enough time has passed.
            if now.at_least_since(before) < Duration::from_secs(10) {
                self.looked = Some(before);
            }
            return;
        }
        let ids: Vec<_> = self.entries.keys().cloned().collect();
        for id in ids {
            self.reschedule(&id, now);
        }
    }
}

impl Entry {
    /// Whether a renewal is sent once it is due.
    fn renews(&self) -> bool {
        self.held.plan.automatic && !self.renewing && !self.paused && self.ready.is_none()
    }

    /// When the lease ends, by the monotonic clock.
    fn ends(&self, now: Moment) -> Duration {
        now.monotonic.saturating_add(self.held.renewal.left(now))
    }

    fn renewal(&mut self, now: Moment) -> RenewRequest {
        self.renewing = true;
        self.ready = None;
        let token = self.held.lease.token;
        let seq = self.held.renewal.send(now);
        let mut request = RenewRequest::new(&self.held.plan.request, token, seq);
        // One that hangs leaves time for another.
        let left = self.held.renewal.left(now);
        request.timeout = request.timeout.min((left / 2).max(SHORTEST).min(left));
        request
    }
}

/// The last to wait gets the error itself, the others the same without its source.
fn answer(mut waiting: Vec<Done>, result: Result<()>) {
    let last = waiting.pop();
    for done in waiting {
        let _ = done.send(match &result {
            Ok(()) => Ok(()),
            Err(error) => Err(error.without_source()),
        });
    }
    if let Some(done) = last {
        let _ = done.send(result);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backend::{AcquireRequest, Grant, Validity};
    use crate::lease::LeaseState;
    use crate::renewal::Renewal;
    use crate::{Key, LockClient, MemoryBackend, Mode, Owner, Timestamp, Ttl};

    const TTL: Duration = Duration::from_mins(1);

    fn at(monotonic: u64, wall: i64) -> Moment {
        Moment {
            monotonic: Duration::from_millis(monotonic),
            wall: Timestamp::from_millis(wall),
        }
    }

    /// One lease without renewals and without a margin, since the start of both clocks.
    fn held() -> Leases {
        let start = at(0, 0);
        let (key, owner) = (Key::new("k").unwrap(), Owner::random());
        let ttl = Ttl::new(TTL).unwrap();
        let plan = Plan {
            request: AcquireRequest::new(&key, &owner, Mode::Exclusive, ttl),
            deadline: None,
            max_hold: None,
            min_hold: None,
            takes_turns: false,
            any_owner: true,
            automatic: false,
            since: None,
        };
        let mut renewal = Renewal::new(TTL, Duration::ZERO);
        let validity = Validity {
            seq: renewal.send(start),
            valid_for: TTL,
            refresh: false,
        };
        renewal.stands(&validity);
        let grant = Grant {
            token: 1,
            validity,
            slot: None,
        };
        let deadline = renewal.deadline().unwrap();
        let client = LockClient::new(MemoryBackend::new());
        let granted = (&grant, start);
        let lease = LeaseState::new(&plan, granted, deadline, client.inner(), None);
        let mut leases = Leases::default();
        let held = Held {
            lease: Arc::new(lease),
            renewal,
            plan,
        };
        leases.insert(held, start);
        leases.due(start);
        leases
    }

    /// How long until the next look, after looks at these moments.
    fn next_after(moments: &[Moment]) -> Duration {
        let mut leases = held();
        for moment in moments {
            leases.due(*moment);
        }
        leases.next_in(*moments.last().unwrap()).unwrap()
    }

    /// Others are under way: it is sent as soon as it cannot wait for them any more.
    #[test]
    fn a_renewal_that_waits_to_be_sent_is_looked_at_when_it_is_late() {
        let mut leases = held();
        let id = leases.entries.keys().next().unwrap().clone();
        leases.entries.get_mut(&id).unwrap().held.plan.automatic = true;
        leases.reschedule(&id, at(0, 0));
        let [due, late] = [at(20_000, 20_000), at(40_000, 40_000)];
        assert!(leases.due(due).is_empty());
        assert!(leases.is_ready() && !leases.is_late(due));
        assert_eq!(leases.next_in(due), Some(Duration::from_secs(20)));
        assert!(leases.due(late).is_empty());
        assert!(leases.is_late(late));
        assert_eq!(
            leases.next_in(late),
            Some(Duration::from_secs(20)),
            "its end"
        );
    }

    /// The lease may be on its way to another mode: only whoever asked is told.
    #[test]
    fn a_renewal_that_finds_nothing_is_no_success_while_others_wait() {
        let (mut leases, now) = (held(), at(0, 0));
        let id = leases.entries.keys().next().unwrap().clone();
        let plan = leases.pause(&id, now);
        assert!(plan.is_some());
        let (done, mut answer) = oneshot::channel();
        assert!(
            leases
                .renew(&id, done, now)
                .is_ok_and(|sent| sent.is_some())
        );
        let lost = leases.renewed(&id, Ok(RenewOutcome::Lost), now, 0.0);
        assert!(lost.is_none(), "it is cared for until its change has ended");
        let error = answer.try_recv().unwrap().unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::LeaseLost);
    }

    #[test]
    fn clocks_that_part_move_the_next_look() {
        let plain = next_after(&[at(1000, 1049)]);
        assert_eq!(plain, Duration::from_secs(59), "by the monotonic clock");
        let parted = next_after(&[at(1000, 1050)]);
        assert_eq!(parted, Duration::from_millis(58_950), "by the wall clock");
    }

    #[test]
    fn small_differences_add_up_for_ten_seconds() {
        let [soon, late] = [at(9_999, 10_029), at(10_000, 10_030)];
        let then = at(15_000, 15_060);
        let noticed = Duration::from_millis(44_940);
        assert_eq!(next_after(&[soon, then]), noticed);
        assert_eq!(next_after(&[late, then]), Duration::from_secs(45));
    }
}
