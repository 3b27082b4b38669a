//! Random operations on one key, one after another, by servers whose clocks differ, with late duplicates, wrong
//! clocks and purges; after each, what must hold of it and of all so far.

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const HOUR: i64 = 3_600_000;

#[derive(Clone, Debug)]
enum Step {
    Pass(i64),
    Acquire {
        owner: usize,
        mode: Mode,
        ttl: i64,
    },
    /// Another attempt of an earlier acquisition, or a late duplicate of the attempt itself.
    Again {
        which: Index,
        duplicate: bool,
        watched: bool,
    },
    Renew {
        which: Index,
        ahead: u64,
        ttl: i64,
    },
    Release {
        which: Index,
    },
    /// The database's TTL, as soon as it may.
    Purge,
    /// Somebody with a wrong clock renewed and crashed.
    WrongClock {
        which: Index,
        by: i64,
    },
    Enqueue {
        owner: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<(Step, f64)>> {
    let mode = prop_oneof![
        3 => Just(Mode::Exclusive),
        2 => Just(Mode::Shared),
        3 => (1_u32..4).prop_map(PERMITS),
    ];
    let ttl = prop_oneof![Just(2000), Just(TTL), Just(60_000), Just(24 * HOUR)].boxed();
    let pass = prop_oneof![4 => 0_i64..3000, 3 => 3000_i64..80_000, 1 => HOUR..80 * HOUR];
    let step = prop_oneof![
        4 => pass.prop_map(Step::Pass),
        6 => (0_usize..4, mode, ttl.clone()).prop_map(|(owner, mode, ttl)| Step::Acquire { owner, mode, ttl }),
        3 => (any::<Index>(), any::<bool>(), any::<bool>())
            .prop_map(|(which, duplicate, watched)| Step::Again { which, duplicate, watched }),
        4 => (any::<Index>(), 0_u64..3, ttl).prop_map(|(which, ahead, ttl)| Step::Renew { which, ahead, ttl }),
        2 => any::<Index>().prop_map(|which| Step::Release { which }),
        1 => Just(Step::Purge),
        1 => (any::<Index>(), HOUR..10 * HOUR).prop_map(|(which, by)| Step::WrongClock { which, by }),
        1 => (0_usize..4).prop_map(|owner| Step::Enqueue { owner }),
    ];
    prop::collection::vec((step, 0.0..1.0), 1..60)
}

/// The key, the true time, and what the clients believe.
#[derive(Debug)]
struct World {
    /// Whether the server tells its time with each decision, or only an interval is known.
    exact: bool,
    now: i64,
    record: Option<LockRecord>,
    /// The newest attempt of each acquisition.
    acquisitions: Vec<AcquireRequest>,
    /// When each attempt was first sent.
    sent: HashMap<(LeaseId, u64), i64>,
    /// The last token and the newest attempt of each acquisition that was granted.
    leases: HashMap<LeaseId, (u64, u64)>,
    /// Until when its client takes it for valid.
    valid_until: HashMap<LeaseId, i64>,
    last_token: u64,
}

impl World {
    fn new(exact: bool) -> Self {
        Self {
            exact,
            now: NOW,
            record: None,
            acquisitions: Vec::new(),
            sent: HashMap::new(),
            leases: HashMap::new(),
            valid_until: HashMap::new(),
            last_token: 0,
        }
    }

    /// `noise`: how wrong this server's clock is, or how little is known of it, from 0 to 1.
    fn time(&self, noise: f64) -> ServerTime {
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
        let part = |whole: i64| (whole as f64 * noise) as i64;
        if self.exact {
            // Any two servers differ by no more than the skew.
            return ServerTime::exact(at(self.now - NOW - SKEW / 2 + part(SKEW)), ms(SKEW));
        }
        let latest = at(self.now - NOW + part(2000));
        ServerTime {
            earliest: at(self.now - NOW - part(1700)),
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

    fn acquire(&mut self, request: &AcquireRequest, time: &ServerTime) {
        let sent = (request.id.clone(), request.seq);
        self.sent.entry(sent).or_insert(self.now);
        match admit(self.record.as_ref(), request, time) {
            Verdict::Granted(next) => {
                self.check_grant(request, &next, time);
                self.last_token = next.token;
                self.leases
                    .insert(request.id.clone(), (next.token, request.seq));
                self.record = Some(*next);
                self.believe(&request.id, request.seq, request.ttl);
            }
            Verdict::Existing(holder) => {
                assert_eq!(holder.id(), Some(&request.id));
                self.believe(&request.id, holder.seq, holder.ttl);
            }
            Verdict::Held { contention, mended } => {
                self.check_refusal(request, &contention, mended.as_deref(), time);
                self.record = mended.map(|mended| *mended).or(self.record.take());
            }
        }
    }

    /// A client counts from the send of the attempt that stands in the record.
    fn believe(&mut self, id: &LeaseId, seq: u64, ttl: Ttl) {
        let sent = self.sent[&(id.clone(), seq)];
        self.valid_until.insert(id.clone(), sent + ttl.as_millis());
    }

    fn check_grant(&self, request: &AcquireRequest, next: &LockRecord, time: &ServerTime) {
        assert!(next.token > self.last_token, "I2");
        let (others, mine) = next.holders.split_at(next.holders.len() - 1);
        let mine = &mine[0];
        assert_eq!((mine.id(), mine.seq), (Some(&request.id), request.seq));
        assert!(mine.ttl >= request.ttl);
        assert!(
            mine.expires_at >= time.expiry(mine.ttl),
            "its ttl is its validity"
        );
        assert!(others.len() < request.mode.capacity(), "I10");
        assert_eq!(next.mode, request.mode);
        self.check_purge(next);
        let again = admit(Some(next), request, time);
        assert_eq!(again, Verdict::Existing(mine.clone()), "idempotent");
        let Some(seen) = &self.record else {
            return assert!(others.is_empty());
        };
        assert_ne!(seen.closed.as_ref(), Some(&request.id), "a late duplicate");
        assert_eq!(next.rev, seen.rev + 1);
        assert!(
            others.is_empty() || seen.mode.same_kind(request.mode),
            "I10"
        );
        for holder in &seen.holders {
            if let Some(kept) = next.holder(holder.id().unwrap()) {
                let mut plain = kept.clone();
                plain.expires_at = holder.expires_at;
                assert_eq!(&plain, holder);
                assert!(kept.expires_at == holder.expires_at || self.is_implausible(holder));
                continue;
            }
            let is_mine = holder.owner() == Some(&request.owner);
            let is_watched = request
                .watched
                .iter()
                .any(|seen| Some(&seen.id) == holder.id());
            if !is_mine && !is_watched {
                assert!(holder.expires_at.as_millis() <= self.now, "I12");
                let believed = self.valid_until.get(holder.id().unwrap());
                assert!(believed.is_none_or(|until| *until <= self.now), "I3");
            }
        }
        let live = |waiter: &&Waiter| waiter.expires_at > time.earliest;
        let is_holder = seen.holders.iter().any(|holder| {
            holder.owner() == Some(&request.owner) && holder.expires_at > time.earliest
        });
        assert!(
            is_holder || !seen.queue.iter().any(|waiter| live(&waiter)),
            "a newcomer waits"
        );
        assert_eq!(next.queue.len(), seen.queue.iter().filter(live).count());
    }

    fn check_refusal(
        &self,
        request: &AcquireRequest,
        contention: &Contention,
        mended: Option<&LockRecord>,
        time: &ServerTime,
    ) {
        let seen = self.record.as_ref().unwrap();
        if let Some(mended) = mended {
            let mut plain = mended.clone();
            plain.rev -= 1;
            for (holder, was) in plain.holders.iter_mut().zip(&seen.holders) {
                if holder.expires_at != was.expires_at {
                    assert!(self.is_implausible(was));
                    assert!(holder.expires_at.as_millis() >= self.now + holder.ttl.as_millis());
                    holder.expires_at = was.expires_at;
                }
            }
            assert_eq!(&plain, seen, "only the implausible was mended");
        }
        if matches!(contention.reason, Reason::Closed | Reason::Replaced) {
            return assert_eq!(seen.closed.as_ref(), Some(&request.id));
        }
        assert!(!contention.free_in.is_zero(), "a busy wait");
        // What it waits for is what it gets, if nobody does anything meanwhile.
        let then = ServerTime {
            earliest: time.earliest.saturating_add(contention.free_in),
            latest: time.latest.saturating_add(contention.free_in),
            stamp: time.stamp.saturating_add(contention.free_in),
            ..*time
        };
        let verdict = admit(Some(mended.unwrap_or(seen)), request, &then);
        assert!(matches!(verdict, Verdict::Granted(_)), "{verdict:?}");
    }

    /// Further away than any clock in this trace can have written it.
    fn is_implausible(&self, holder: &Holder) -> bool {
        holder.expires_at.as_millis() > self.now + holder.ttl.as_millis()
    }

    fn renew(&mut self, request: &RenewRequest, time: &ServerTime) {
        let sent = (request.id.clone(), request.seq);
        self.sent.entry(sent).or_insert(self.now);
        let standing = self
            .record
            .as_ref()
            .and_then(|record| record.holder(&request.id));
        match renew(self.record.as_ref(), request, time) {
            Renewed::Write(next) => {
                let standing = standing.unwrap();
                let holder = next.holder(&request.id).unwrap();
                assert_eq!(standing.token, Some(request.token), "I5");
                assert!(request.seq > standing.seq, "a late duplicate");
                assert_eq!(holder.seq, request.seq);
                assert_eq!(holder.ttl, standing.ttl.max(request.ttl));
                assert!(
                    holder.expires_at >= time.expiry(holder.ttl),
                    "its ttl is its validity"
                );
                assert!(!self.exact || holder.expires_at >= standing.expires_at);
                self.check_purge(&next);
                let mut plain = (*next).clone();
                *plain.holder_mut(&request.id).unwrap() = standing.clone();
                let seen = self.record.as_ref().unwrap();
                (plain.rev, plain.purge_at) = (plain.rev - 1, seen.purge_at);
                assert_eq!(&plain, seen, "I5");
                self.record = Some(*next);
                self.leases
                    .insert(request.id.clone(), (request.token, request.seq));
                self.believe(&request.id, request.seq, request.ttl);
            }
            Renewed::Newer { seq, .. } => assert_eq!(seq, standing.unwrap().seq),
            Renewed::Lost => assert!(standing.is_none_or(|held| held.token != Some(request.token))),
        }
    }

    fn release(&mut self, request: &ReleaseRequest, time: &ServerTime) {
        let Released::Write(next) = release(self.record.as_ref(), request, time) else {
            let held = self
                .record
                .as_ref()
                .and_then(|record| record.holder(&request.id));
            return assert_eq!(held, None, "I6");
        };
        let seen = self.record.as_ref().unwrap();
        let mut left = seen.holders.clone();
        left.retain(|holder| holder.id() != Some(&request.id));
        assert_eq!(
            (&next.holders, left.len() + 1),
            (&left, seen.holders.len()),
            "I5"
        );
        assert_eq!((next.token, next.rev), (seen.token, seen.rev + 1));
        assert_eq!(release(Some(&next), request, time), Released::Already);
        self.record = Some(*next);
        self.valid_until.remove(&request.id);
    }

    fn check_purge(&self, next: &LockRecord) {
        for holder in next
            .holders
            .iter()
            .filter(|holder| !self.is_implausible(holder))
        {
            let day = ms(23 * HOUR);
            assert!(
                next.purge_at >= Some(holder.expires_at.saturating_add(day)),
                "I14"
            );
        }
    }

    fn apply(&mut self, step: &Step, noise: f64) {
        let time = self.time(noise);
        match step {
            Step::Pass(ms) => self.now += ms,
            Step::Acquire {
                owner,
                mode,
                ttl: millis,
            } => {
                let name = format!(
                    "{}{}",
                    ["a", "b", "c", "d"][*owner],
                    self.acquisitions.len()
                );
                let mut request = acquire(&name, *mode);
                request.ttl = ttl(*millis);
                self.acquisitions.push(request.clone());
                self.acquire(&request, &time);
            }
            Step::Again {
                which,
                duplicate,
                watched,
            } if !self.acquisitions.is_empty() => {
                let request = which.get(&self.acquisitions);
                let mut request = request.clone();
                if !duplicate {
                    request.seq = self.next_seq(&request.id);
                }
                if let Some(record) = self.record.as_ref().filter(|_| *watched) {
                    let first = record.holders.iter().take(1);
                    let dead = first.filter_map(|holder| {
                        let id = holder.id()?.clone();
                        Some(Watched {
                            id,
                            seq: holder.seq,
                        })
                    });
                    request.watched = dead.collect();
                }
                self.acquire(&request, &time);
            }
            Step::Renew {
                which,
                ahead,
                ttl: millis,
            } if !self.acquisitions.is_empty() => {
                let request = which.get(&self.acquisitions).clone();
                if let Some((token, _)) = self.leases.get(&request.id) {
                    let seq = (self.next_seq(&request.id) + ahead).saturating_sub(1);
                    let mut request = RenewRequest::new(&request, *token, seq);
                    request.ttl = request.ttl.max(ttl(*millis));
                    self.renew(&request, &time);
                }
            }
            Step::Release { which } if !self.acquisitions.is_empty() => {
                let request = which.get(&self.acquisitions);
                let request = ReleaseRequest::new(&request.key, &request.owner, &request.id);
                self.release(&request, &time);
            }
            Step::Purge => {
                let due = at(self.now - NOW + SKEW);
                let is_due = |record: &LockRecord| record.purge_at.is_some_and(|at| at <= due);
                if let Some(record) = self.record.take_if(|record| is_due(record)) {
                    for id in record.holders.iter().filter_map(Holder::id) {
                        assert!(
                            self.valid_until
                                .get(id)
                                .is_none_or(|until| *until <= self.now),
                            "I14"
                        );
                    }
                }
            }
            Step::WrongClock { which, by } => {
                if let Some(record) = self
                    .record
                    .as_mut()
                    .filter(|record| !record.holders.is_empty())
                {
                    let index = which.index(record.holders.len());
                    let holder = &mut record.holders[index];
                    holder.expires_at = at(self.now - NOW + holder.ttl.as_millis() + by);
                }
            }
            Step::Enqueue { owner } => {
                let name = ["w1", "x1", "y1", "z1"][*owner];
                let waiter = waiter(name, self.now - NOW + 5000);
                if let Some(record) = &mut self.record {
                    record
                        .queue
                        .retain(|other| other.claimant != waiter.claimant);
                    record.queue.push(waiter);
                }
            }
            Step::Again { .. } | Step::Renew { .. } | Step::Release { .. } => {}
        }
    }

    fn next_seq(&self, id: &LeaseId) -> u64 {
        let sent = self.sent.keys().filter(|(sent, _)| sent == id);
        sent.map(|(_, seq)| *seq).max().unwrap_or(0) + 1
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_trace_keeps_the_invariants(exact in any::<bool>(), steps in steps()) {
        let mut world = World::new(exact);
        for (step, noise) in &steps {
            world.apply(step, *noise);
        }
    }
}
