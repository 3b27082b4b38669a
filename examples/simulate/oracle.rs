//! What only the database can see: every change of a record, before and after, judged without the crate's rules.

use std::collections::{HashMap, HashSet};

use doclock::{
    AcquireOutcome, AcquireRequest, Holder, Key, LeaseId, LockRecord, Mode, Queueing,
    ReleaseOutcome, Timestamp, Waiter,
};

use crate::database::{Answer, Ask};
use crate::history::{Event, What};
use crate::{MS, SECOND};

/// The violations, and what must be remembered of each key to see them.
#[derive(Default)]
pub(crate) struct Oracle {
    pub(crate) violations: Vec<(&'static str, String)>,
    /// Acquisitions by their order of appearance: their ids differ from run to run.
    names: HashMap<LeaseId, usize>,
    /// The greatest token of each key.
    tokens: HashMap<Key, u64>,
    /// Since when a holder stands with its present `seq`.
    unchanged: HashMap<LeaseId, (u64, u64)>,
    /// Those who left a record. A late duplicate may bring them back, and nobody believes in them any more.
    ended: HashSet<LeaseId>,
    /// Grants that pass others in the queue.
    pub(crate) passed: u64,
}

/// One request: when, in truth and on the server's clock, and what it did.
struct Step<'a> {
    now: u64,
    server: Timestamp,
    ask: &'a Ask,
    before: &'a [Holder],
    after: &'a LockRecord,
}

impl Oracle {
    pub(crate) fn name(&mut self, id: &LeaseId) -> usize {
        let next = self.names.len();
        *self.names.entry(id.clone()).or_insert(next)
    }

    fn violate(&mut self, invariant: &'static str, sentence: impl Into<String>) {
        self.violations.push((invariant, sentence.into()));
    }

    /// I14.
    pub(crate) fn purged(&mut self, now: u64, server: Timestamp, key: &Key, record: &LockRecord) {
        if record.holders.iter().any(|it| it.expires_at > server) {
            let at = now / MS;
            self.violate(
                "I14",
                format!("{at} ms: {key} was purged while it was held"),
            );
        }
    }

    pub(crate) fn watch(
        &mut self,
        (now, server): (u64, Timestamp),
        key: &Key,
        ask: &Ask,
        answer: &Answer,
        (before, after): (Option<&LockRecord>, Option<&LockRecord>),
    ) {
        let found = self.violations.len();
        if let (Ask::Release(request), Answer::Released(ReleaseOutcome::Released)) = (ask, answer)
            && after.is_some_and(|it| it.holder(&request.id).is_some())
        {
            self.violate(
                "I6",
                "a release was acknowledged, and the record still has it",
            );
        }
        let Some(after) = after else { return };
        let empty = LockRecord::new(after.mode);
        let before = before.unwrap_or(&empty);
        let step = Step {
            now,
            server,
            ask,
            before: &before.holders,
            after,
        };
        self.gone(&step);
        self.touched(&step);
        if let Ask::Acquire(request) = ask {
            let is_new = before.holder(&request.id).is_none();
            match answer {
                Answer::Acquired(AcquireOutcome::Granted(grant)) if is_new => {
                    self.granted(&step, request, key, grant.token);
                    self.queue(&step, request, before);
                    if before.closed.as_ref() == Some(&request.id) {
                        self.violate("I7", "an acquisition was granted again after its release");
                    }
                }
                _ if is_new && after.holder(&request.id).is_some() => {
                    self.violate("I6", "a lock was taken without a grant");
                }
                _ => {}
            }
        }
        self.remember(&step);
        let texts = self.violations.iter_mut().skip(found);
        texts.for_each(|(_, text)| *text = format!("{} ms, {key}: {text}", now / MS));
    }

    /// I5, I12: a holder leaves a record by its release, by its owner's next acquisition, or after its time.
    fn gone(&mut self, step: &Step) {
        for holder in step.before {
            let Some(id) = holder.id() else {
                if holder.expires_at > step.server && !step.after.holders.contains(holder) {
                    self.violate("I12", "a minimum hold was cut short");
                }
                continue;
            };
            if step.after.holder(id).is_some() {
                continue;
            }
            match step.ask {
                Ask::Release(request) if request.id == *id => {}
                Ask::Acquire(request) if Some(&request.owner) == holder.owner() => {}
                Ask::Acquire(request) if self.was_watched(step, request, holder) => {}
                // The slowest of the servers is right: none is behind the truth.
                Ask::Acquire(_) if holder.expires_at <= truth(step.now) => {}
                Ask::Acquire(_) => self.violate(
                    "I12",
                    format!("a lease was evicted before its expiry, at {}", step.server),
                ),
                _ => self.violate("I5", "a request ended a lease that it does not name"),
            }
        }
    }

    /// Unchanged for 1.25 × its ttl and a second, on a clock that runs 1 % wrong.
    fn was_watched(&self, step: &Step, request: &AcquireRequest, holder: &Holder) -> bool {
        let Some((id, (_, since))) = holder
            .id()
            .and_then(|id| Some((id, self.unchanged.get(id)?)))
        else {
            return false;
        };
        let named = |it: &doclock::Watched| it.id == *id && it.seq == holder.seq;
        let ttl = u64::try_from(holder.ttl.as_duration().as_nanos()).unwrap();
        let dead_after = (ttl + ttl / 4 + SECOND) / 100 * 99;
        let is_dead = self.ended.contains(id) || step.now - since >= dead_after;
        request.watched.iter().any(named) && is_dead
    }

    /// I5, I12: nothing changes a holder but its own requests, and none moves its expiry back.
    fn touched(&mut self, step: &Step) {
        for holder in step.before {
            let Some(now) = holder.id().and_then(|id| step.after.holder(id)) else {
                continue;
            };
            if now.expires_at < holder.expires_at {
                self.violate("I12", "an expiry was moved back");
            }
            let own = match step.ask {
                Ask::Renew(request) => Some(&request.id),
                _ => None,
            };
            if now != holder && own != holder.id() {
                self.violate("I5", "a request changed a lease that it does not name");
            }
        }
    }

    /// I2, I3, I10.
    fn granted(&mut self, step: &Step, request: &AcquireRequest, key: &Key, token: u64) {
        let newest = self.tokens.entry(key.clone()).or_default();
        if token <= *newest {
            let sentence = format!("token {token} was issued after {newest}");
            self.violate("I2", sentence);
        } else {
            *newest = token;
        }
        let others = step.before.iter().filter(|it| {
            it.owner() != Some(&request.owner)
                && it.expires_at > step.server
                && step.after.holders.contains(it)
        });
        let others: Vec<_> = others.collect();
        let limit = match request.mode {
            Mode::Permit { limit } => limit as usize,
            Mode::Shared => usize::MAX,
            _ => 1,
        };
        if others.len() >= limit {
            let sentence = format!("granted beside {} others of at most {limit}", others.len());
            self.violate("I10", sentence);
        }
    }

    /// I11: who passes those that queue before it and would be in its way takes a lock that nobody holds, and that they
    /// did not claim in the two seconds that each of them has.
    fn queue(&mut self, step: &Step, request: &AcquireRequest, before: &LockRecord) {
        let own = |owner: &doclock::Owner| *owner == request.owner;
        let holds = |it: &Holder| it.expires_at > step.server;
        if step.before.iter().any(|it| it.owner().is_some_and(own)) {
            return;
        }
        let queue = &before.queue;
        let place = queue.iter().position(|it| own(&it.claimant.owner));
        let ahead = queue.iter().take(place.unwrap_or(queue.len()));
        let live = |it: &&Waiter| it.expires_at > step.server;
        let ahead: Vec<_> = ahead.filter(live).collect();
        let held = step.before.iter().filter(|it| holds(it)).count();
        let Some(last) = in_the_way(&ahead, request, before, held).max_by_key(|it| it.enqueued_at)
        else {
            if place.is_none() && request.queueing == Queueing::Fair && !ahead.is_empty() {
                self.violate("I11", "one that is to queue passed a queue");
            }
            return;
        };
        let ends = step.before.iter().map(|it| it.expires_at);
        let free = before.free_at.into_iter().chain(ends).max();
        let since = free.map_or(last.enqueued_at, |free| free.max(last.enqueued_at));
        let watched = !request.watched.is_empty();
        let idle = step.server.saturating_since(since).as_secs() >= 2 || watched;
        self.passed += 1;
        if held > 0 && !watched || !idle || place.is_none() {
            let sentence = format!("{} were passed in the queue", ahead.len());
            self.violate("I11", sentence);
        }
    }

    fn remember(&mut self, step: &Step) {
        let before = step.before.iter().filter_map(Holder::id);
        let ended = before.filter(|id| step.after.holder(id).is_none());
        self.ended.extend(ended.cloned());
        for holder in &step.after.holders {
            if let Some(id) = holder.id() {
                let since = self.unchanged.entry(id.clone()).or_insert((0, 0));
                if since.0 != holder.seq {
                    *since = (holder.seq, step.now);
                }
            }
        }
    }
}

/// Those ahead in the queue that must go first.
fn in_the_way<'a>(
    ahead: &'a [&'a Waiter],
    request: &AcquireRequest,
    before: &LockRecord,
    held: usize,
) -> impl Iterator<Item = &'a Waiter> {
    let wanted = request.mode;
    let alike = |it: &&&Waiter| it.mode.same_kind(wanted);
    let limits = ahead.iter().filter(alike).map(|it| it.mode.limit());
    let limit = limits.chain([wanted.limit()]).min().unwrap_or(0) as usize;
    let held = if before.mode.same_kind(wanted) {
        held
    } else {
        0
    };
    let room = limit.saturating_sub(held);
    let permits = ahead.iter().filter(alike).count();
    // Of those that want the same, only as many permits as leave no room for one more.
    let mut alike_first = match wanted {
        Mode::Exclusive => permits,
        Mode::Permit { .. } => (permits + 1).saturating_sub(room),
        _ => 0,
    };
    ahead.iter().copied().filter(move |it| {
        let is_alike = it.mode.same_kind(wanted);
        let goes_first = !is_alike || alike_first > 0;
        alike_first -= usize::from(is_alike && goes_first);
        goes_first
    })
}

fn truth(now: u64) -> Timestamp {
    Timestamp::from_millis(crate::EPOCH + i64::try_from(now / MS).unwrap())
}

/// What the locks protect: keeps the newest token of each key. One that is fenced refuses older ones, another accepts all.
#[derive(Default)]
pub(crate) struct Resource {
    newest: HashMap<String, u64>,
}

impl Resource {
    pub(crate) fn write(&mut self, at: u64, client: u32, key: &str, token: u64) -> [Event; 2] {
        let newest = self.newest.entry(key.to_owned()).or_default();
        let in_order = token >= *newest;
        *newest = token.max(*newest);
        [true, false].map(|fenced| Event {
            at,
            client,
            what: What::Write {
                key: key.to_owned(),
                token,
                fenced,
                accepted: in_order || !fenced,
            },
        })
    }
}
