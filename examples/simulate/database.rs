//! The database: the crate's own rules, a server clock that changes with the server, and whatever is broken on purpose.

use std::collections::BTreeMap;
use std::time::Duration;

use doclock::rules::{self, Released, Renewed, ServerTime, Verdict};
use doclock::{
    AcquireOutcome, AcquireRequest, Grant, Key, LockRecord, Mode, RETENTION, ReleaseOutcome,
    ReleaseRequest, RenewOutcome, RenewRequest, Timestamp, Ttl, Validity,
};

use crate::bugs::Bug;
use crate::oracle::Oracle;
use crate::{EPOCH, MS, SECOND};

/// The most that the clocks of two servers differ.
pub(crate) const SKEW: Duration = Duration::from_millis(500);
/// [`RETENTION`] for a world that lasts a minute: longer than any ttl in it, any request's way and any clock's error
/// together.
pub(crate) const KEPT: u64 = 16 * SECOND;

/// What a host asks for.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Acquire(AcquireRequest),
    Renew(RenewRequest),
    Release(ReleaseRequest),
    /// Of the resource that a lock protects, not of the database.
    Write {
        key: String,
        token: u64,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Acquired(AcquireOutcome),
    Renewed(RenewOutcome),
    Released(ReleaseOutcome),
}

pub(crate) struct Database {
    pub(crate) oracle: Oracle,
    bug: Option<Bug>,
    records: BTreeMap<Key, LockRecord>,
    /// How far the present server's clock is off, in nanoseconds.
    off: i64,
    /// What the records were, for a server that lost the last writes.
    past: Vec<(u64, Key, Option<LockRecord>)>,
}

impl Database {
    pub(crate) fn new(bug: Option<Bug>) -> Self {
        Self {
            oracle: Oracle::default(),
            bug,
            records: BTreeMap::new(),
            off: 0,
            past: Vec::new(),
        }
    }

    pub(crate) fn server_time(&self, now: u64) -> Timestamp {
        let nanos = i64::try_from(now).unwrap() + self.off;
        Timestamp::from_millis(EPOCH + nanos.div_euclid(i64::try_from(MS).unwrap()))
    }

    /// Another server takes over, whose clock is off by this much.
    pub(crate) fn fail_over(&mut self, now: u64, off: i64) {
        self.off = off;
        if self.bug == Some(Bug::Rollback) {
            while let Some((at, key, before)) = self.past.pop() {
                if at + 2 * SECOND < now {
                    break;
                }
                match before {
                    Some(before) => self.records.insert(key, before),
                    None => self.records.remove(&key),
                };
            }
        }
    }

    /// Collects one record, if there is one that may be collected.
    pub(crate) fn purge(&mut self, now: u64) -> bool {
        let time = self.server_time(now);
        let is_due = |record: &LockRecord| {
            let kept = RETENTION.saturating_sub(Duration::from_nanos(KEPT));
            let at = record.purge_at.map(|at| at.saturating_sub(kept));
            self.bug == Some(Bug::PurgeLive) || at.is_some_and(|at| at <= time)
        };
        let found = self.records.iter().find(|(_, record)| is_due(record));
        let Some(key) = found.map(|(key, _)| key.clone()) else {
            return false;
        };
        if let Some(purged) = self.records.remove(&key) {
            self.oracle.purged(now, time, &key, &purged);
        }
        true
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = (&Key, &LockRecord)> {
        self.records.iter()
    }

    /// One request, as one step.
    pub(crate) fn apply(&mut self, now: u64, ask: &Ask) -> Answer {
        let key = match ask {
            Ask::Acquire(request) => &request.key,
            Ask::Renew(request) => &request.key,
            Ask::Release(request) => &request.key,
            Ask::Write { .. } => unreachable!("the resource is not the database"),
        };
        let before = self.records.get(key);
        let server = self.server_time(now);
        let (answer, next) = self.decide(before, ask, &self.time(server));
        let seen = (before, next.as_ref().or(before));
        self.oracle.watch((now, server), key, ask, &answer, seen);
        if let Some(next) = next {
            let before = self.records.insert(key.clone(), next);
            if self.bug == Some(Bug::Rollback) {
                self.past.push((now, key.clone(), before));
            }
        }
        answer
    }

    fn time(&self, server: Timestamp) -> ServerTime {
        let mut time = ServerTime::exact(server, SKEW);
        match self.bug {
            Some(Bug::EarlyEviction | Bug::AnyoneRenews) => {
                time.earliest = server.saturating_add(Duration::from_secs(1));
            }
            Some(Bug::NoSkew) => time.earliest = server,
            _ => {}
        }
        time
    }

    fn decide(
        &self,
        before: Option<&LockRecord>,
        ask: &Ask,
        time: &ServerTime,
    ) -> (Answer, Option<LockRecord>) {
        match ask {
            Ask::Acquire(request) => {
                let (outcome, next) = self.acquire(before, request, time);
                (Answer::Acquired(outcome), next)
            }
            Ask::Renew(request) => {
                let (outcome, next) = self.renew(before, request, time);
                (Answer::Renewed(outcome), next)
            }
            Ask::Release(request) => {
                let (outcome, next) = self.release(before, request, time);
                (Answer::Released(outcome), next)
            }
            Ask::Write { .. } => unreachable!("the resource is not the database"),
        }
    }

    fn acquire(
        &self,
        before: Option<&LockRecord>,
        request: &AcquireRequest,
        time: &ServerTime,
    ) -> (AcquireOutcome, Option<LockRecord>) {
        let (seen, asked) = self.misread(before, request);
        let (seen, asked) = (seen.as_ref().or(before), asked.as_ref().unwrap_or(request));
        let (token, validity, next) = match rules::admit(seen, asked, time) {
            Verdict::Granted(next) => (next.token, validity(asked.seq, asked.ttl), Some(*next)),
            Verdict::Existing(holder) => {
                let validity = validity(holder.seq, holder.ttl);
                (holder.token.unwrap_or_default(), validity, None)
            }
            Verdict::Queued { contention, next } => {
                return (AcquireOutcome::Queued(contention), next.map(|next| *next));
            }
            Verdict::Held { contention, mended } => {
                return (AcquireOutcome::Held(contention), mended.map(|next| *next));
            }
            Verdict::Skipped(state) => return (AcquireOutcome::Skipped(state), None),
        };
        let is_bug = self.bug == Some(Bug::OldToken) && seen.is_some();
        let grant = Grant {
            token: if is_bug { token - 60_000_000 } else { token },
            validity,
            slot: None,
        };
        (AcquireOutcome::Granted(grant), next)
    }

    /// What it takes a record or a request for.
    fn misread(
        &self,
        before: Option<&LockRecord>,
        request: &AcquireRequest,
    ) -> (Option<LockRecord>, Option<AcquireRequest>) {
        let (mut seen, mut asked) = (None, None);
        match (self.bug, request.mode) {
            (Some(Bug::ExtraPermit), Mode::Permit { limit }) => {
                let mut more = request.clone();
                more.mode = Mode::Permit { limit: limit + 1 };
                asked = Some(more);
            }
            (Some(Bug::IgnoredQueue), _) => {
                seen = before.cloned();
                if let Some(seen) = &mut seen {
                    seen.queue.clear();
                }
            }
            (Some(Bug::Reopened), _) => {
                seen = before.cloned();
                if let Some(seen) = &mut seen {
                    seen.closed = None;
                }
            }
            _ => {}
        }
        (seen, asked)
    }

    fn renew(
        &self,
        before: Option<&LockRecord>,
        request: &RenewRequest,
        time: &ServerTime,
    ) -> (RenewOutcome, Option<LockRecord>) {
        match (rules::renew(before, request, time), self.bug) {
            (Renewed::Write(mut next), Some(Bug::ShorterRenewal)) => {
                let holders = next.holders.iter_mut();
                for holder in holders.filter(|it| it.id() == Some(&request.id)) {
                    holder.expires_at = time.stamp.saturating_add(holder.ttl.as_duration() / 2);
                }
                let renewed = validity(request.seq, request.ttl);
                (RenewOutcome::Renewed(renewed), Some(*next))
            }
            (Renewed::Write(next), _) => {
                let renewed = validity(request.seq, request.ttl);
                (RenewOutcome::Renewed(renewed), Some(*next))
            }
            (Renewed::Newer { seq, ttl, .. }, _) => {
                (RenewOutcome::Renewed(validity(seq, ttl)), None)
            }
            (Renewed::Lost, Some(Bug::AnyoneRenews)) => {
                let renewed = validity(request.seq, request.ttl);
                (RenewOutcome::Renewed(renewed), None)
            }
            // No client of the simulation raises a token.
            (Renewed::Lost | Renewed::Passed, _) => (RenewOutcome::Lost, None),
        }
    }

    fn release(
        &self,
        before: Option<&LockRecord>,
        request: &ReleaseRequest,
        time: &ServerTime,
    ) -> (ReleaseOutcome, Option<LockRecord>) {
        match (rules::release(before, request, time), self.bug) {
            (Released::Already, _) | (Released::Write(_), Some(Bug::LostRelease)) => {
                (ReleaseOutcome::Released, None)
            }
            (Released::Write(next), _) => (ReleaseOutcome::Released, Some(*next)),
            (Released::NotHeld, Some(Bug::AnyoneReleases)) => {
                let next = before.cloned().map(|mut next| {
                    next.holders.clear();
                    next
                });
                (ReleaseOutcome::Released, next)
            }
            (Released::NotHeld, _) => (ReleaseOutcome::NotHeld, None),
        }
    }
}

fn validity(seq: u64, ttl: Ttl) -> Validity {
    Validity {
        seq,
        valid_for: ttl.as_duration(),
        refresh: false,
    }
}
