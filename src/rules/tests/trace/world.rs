//! The key, the true time, and what the clients believe.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::*;

#[derive(Debug)]
pub(super) struct World {
    /// Whether the server tells its time with each decision, or only an interval is known.
    pub(super) exact: bool,
    pub(super) now: i64,
    pub(super) record: Option<LockRecord>,
    /// The first attempt of each acquisition.
    pub(super) acquisitions: Vec<AcquireRequest>,
    /// When each attempt was first sent.
    pub(super) sent: HashMap<(LeaseId, u64), i64>,
    /// Whose latest answer said that it stands in the queue.
    pub(super) queued: HashSet<LeaseId>,
    /// The last token and the newest attempt of each acquisition that was granted.
    pub(super) leases: HashMap<LeaseId, (u64, u64)>,
    /// Until when its client takes it for valid.
    pub(super) valid_until: HashMap<LeaseId, i64>,
    /// Since when each who queues would be granted if it asked, whichever server it asks.
    pub(super) claimable: HashMap<LeaseId, i64>,
    /// When somebody left the queue last.
    pub(super) last_left: Option<i64>,
    /// When each minimum hold ends that outlives its lease.
    pub(super) holds: Vec<i64>,
    /// The slot that each lease is for.
    pub(super) runs: HashMap<LeaseId, Timestamp>,
    pub(super) started: BTreeSet<Timestamp>,
    pub(super) done: BTreeSet<Timestamp>,
    pub(super) last_token: u64,
}

impl World {
    pub(super) fn new(exact: bool) -> Self {
        Self {
            exact,
            now: NOW,
            record: None,
            acquisitions: Vec::new(),
            sent: HashMap::new(),
            queued: HashSet::new(),
            leases: HashMap::new(),
            valid_until: HashMap::new(),
            claimable: HashMap::new(),
            last_left: None,
            holds: Vec::new(),
            runs: HashMap::new(),
            started: BTreeSet::new(),
            done: BTreeSet::new(),
            last_token: 0,
        }
    }

    /// `noise`: how far this server's clock is ahead, or how late it may be by what is known of it, from 0 to 1.
    pub(super) fn time(&self, noise: f64) -> ServerTime {
        self.time_at(self.now, noise)
    }

    pub(super) fn time_at(&self, now: i64, noise: f64) -> ServerTime {
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
        let part = |whole: i64| (whole as f64 * noise) as i64;
        if self.exact {
            // Any two servers differ by no more than the skew.
            return ServerTime::exact(at(now - NOW - SKEW / 2 + part(SKEW)), ms(SKEW));
        }
        // Two seconds wide, as after a first answer.
        let earliest = at(now - NOW - SKEW - part(1000));
        let latest = earliest.saturating_add(ms(2000));
        ServerTime {
            earliest,
            latest,
            stamp: latest,
            token_floor: if self.record.is_some() {
                0
            } else {
                micros(latest)
            },
            ..interval()
        }
    }

    /// The start of the present slot, by the true time.
    pub(super) fn slot(&self) -> i64 {
        self.now - self.now.rem_euclid(PERIOD)
    }

    pub(super) fn acquisition(&self, id: &LeaseId) -> &AcquireRequest {
        let mut all = self.acquisitions.iter();
        all.find(|request| request.id == *id).unwrap()
    }

    pub(super) fn next_attempt(&self, first: &AcquireRequest) -> AcquireRequest {
        AcquireRequest {
            seq: self.next_seq(&first.id),
            queued: self.queued.contains(&first.id),
            ..first.clone()
        }
    }

    pub(super) fn next_seq(&self, id: &LeaseId) -> u64 {
        let sent = self.sent.keys().filter(|(sent, _)| sent == id);
        sent.map(|(_, seq)| *seq).max().unwrap_or(0) + 1
    }

    pub(super) fn acquire(&mut self, request: &AcquireRequest, time: &ServerTime) -> Verdict {
        let sent = (request.id.clone(), request.seq);
        self.sent.entry(sent).or_insert(self.now);
        let verdict = admit(self.record.as_ref(), request, time);
        self.queued.remove(&request.id);
        match &verdict {
            Verdict::Granted(next) => {
                self.check_grant(request, next, time);
                self.last_token = next.token;
                let granted = (next.token, request.seq);
                self.leases.insert(request.id.clone(), granted);
                self.record = Some((**next).clone());
                self.believe(&request.id, request.seq, request.ttl);
            }
            Verdict::Existing(holder) => {
                assert_eq!(holder.id(), Some(&request.id));
                self.believe(&request.id, holder.seq, holder.ttl);
            }
            Verdict::Queued { contention, next } => {
                self.check_queued(request, contention, next.as_deref(), time);
                self.queued.insert(request.id.clone());
                self.record = next.as_deref().cloned().or(self.record.take());
            }
            Verdict::Held { contention, mended } => {
                self.check_refusal(request, contention, mended.as_deref(), time);
                if contention.reason == Reason::Border && request.queued {
                    self.queued.insert(request.id.clone());
                }
                self.record = mended.as_deref().cloned().or(self.record.take());
            }
            Verdict::Skipped(_) => self.check_skipped(request),
        }
        self.note_turns();
        verdict
    }

    /// A client counts from the send of the attempt that stands in the record.
    fn believe(&mut self, id: &LeaseId, seq: u64, ttl: Ttl) {
        let sent = self.sent[&(id.clone(), seq)];
        self.valid_until.insert(id.clone(), sent + ttl.as_millis());
    }

    pub(super) fn renew(&mut self, request: &RenewRequest, time: &ServerTime) {
        let sent = (request.id.clone(), request.seq);
        self.sent.entry(sent).or_insert(self.now);
        let standing = self
            .record
            .as_ref()
            .and_then(|record| record.holder(&request.id));
        match renew(self.record.as_ref(), request, time) {
            Renewed::Write(next) => {
                self.check_renewal(request, standing.unwrap(), &next, time);
                self.record = Some(*next);
                let renewed = (request.token, request.seq);
                self.leases.insert(request.id.clone(), renewed);
                self.believe(&request.id, request.seq, request.ttl);
            }
            Renewed::Newer { seq, .. } => assert_eq!(seq, standing.unwrap().seq),
            Renewed::Passed => panic!("nothing was to be raised"),
            Renewed::Lost => assert!(standing.is_none_or(|held| held.token != Some(request.token))),
        }
        self.note_turns();
    }

    pub(super) fn release(&mut self, request: &ReleaseRequest, time: &ServerTime) {
        let held = self
            .record
            .as_ref()
            .is_some_and(|record| record.holder(&request.id).is_some());
        let Released::Write(next) = release(self.record.as_ref(), request, time) else {
            return assert!(!held, "I6");
        };
        self.check_release(request, &next, time);
        if held {
            let left = request.linger.map(|linger| linger.left.as_millis());
            let end = left.map(|left| self.now + i64::try_from(left).unwrap());
            self.holds.extend(end);
            self.done.extend(request.slot_done);
        } else {
            self.last_left = Some(self.now);
        }
        self.record = Some(*next);
        self.valid_until.remove(&request.id);
        self.queued.remove(&request.id);
        self.note_turns();
    }
}
