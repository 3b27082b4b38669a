//! Random operations on one key, one after another, by servers whose clocks differ, with late duplicates, wrong
//! clocks and purges; after each, what must hold of it and of all so far.

mod checks;
mod turns;
mod world;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::backend::{Linger, Slot, SlotStart};

use self::world::World;

const HOUR: i64 = 3_600_000;
/// The period of all slots.
const PERIOD: i64 = 20_000;

#[derive(Clone, Debug)]
enum Step {
    Pass(i64),
    Acquire {
        owner: usize,
        mode: Mode,
        ttl: i64,
        queueing: Queueing,
        slot: Option<Run>,
    },
    /// Another attempt of an earlier acquisition, or a late duplicate of its first.
    Again {
        which: Index,
        duplicate: bool,
        watched: bool,
    },
    /// Those of these places in the queue ask again, the last one first.
    Polls(u8),
    Renew {
        which: Index,
        ahead: u64,
        ttl: i64,
    },
    Release {
        which: Index,
        min_hold: Option<i64>,
        succeeded: bool,
    },
    /// The database's TTL, as soon as it may.
    Purge,
    /// Somebody with a wrong clock renewed and crashed.
    WrongClock {
        which: Index,
        by: i64,
    },
}

/// A slot that somebody asks for.
#[derive(Clone, Copy, Debug)]
struct Run {
    when: When,
    until_done: bool,
}

#[derive(Clone, Copy, Debug)]
enum When {
    /// The present one, by the server's time.
    Now,
    /// So many slots from now.
    Given(i64),
    /// The only one.
    Once,
}

fn modes() -> impl Strategy<Value = Mode> {
    prop_oneof![
        3 => Just(Mode::Exclusive),
        2 => Just(Mode::Shared),
        3 => (1_u32..4).prop_map(PERMITS),
    ]
}

fn acquisitions() -> impl Strategy<Value = Step> {
    let queueing = prop_oneof![
        2 => Just(Queueing::Never),
        1 => Just(Queueing::WhenNeeded),
        4 => Just(Queueing::Fair),
    ];
    let when = prop_oneof![
        3 => Just(When::Now),
        3 => (-2_i64..2).prop_map(When::Given),
        2 => Just(When::Once),
    ];
    let run = (when, any::<bool>()).prop_map(|(when, until_done)| Run { when, until_done });
    let slot = prop::option::weighted(0.2, run);
    (0_usize..5, modes(), ttls(), queueing, slot).prop_map(|(owner, mode, ttl, queueing, slot)| {
        Step::Acquire {
            owner,
            mode,
            ttl,
            queueing,
            slot,
        }
    })
}

fn ttls() -> impl Strategy<Value = i64> {
    prop_oneof![Just(2000), Just(TTL), Just(60_000), Just(24 * HOUR)]
}

fn steps() -> impl Strategy<Value = Vec<(Step, f64)>> {
    let pass = prop_oneof![
        5 => 0_i64..2500,
        3 => 2500_i64..8000,
        2 => 8000_i64..80_000,
        1 => HOUR..80 * HOUR,
    ];
    let min_hold = prop::option::weighted(0.2, prop_oneof![500_i64..5000, Just(HOUR)]);
    let step = prop_oneof![
        6 => pass.prop_map(Step::Pass),
        8 => acquisitions(),
        3 => (any::<Index>(), any::<bool>(), any::<bool>())
            .prop_map(|(which, duplicate, watched)| Step::Again { which, duplicate, watched }),
        6 => any::<u8>().prop_map(Step::Polls),
        4 => (any::<Index>(), 0_u64..3, ttls()).prop_map(|(which, ahead, ttl)| Step::Renew { which, ahead, ttl }),
        4 => (any::<Index>(), min_hold, any::<bool>())
            .prop_map(|(which, min_hold, succeeded)| Step::Release { which, min_hold, succeeded }),
        1 => Just(Step::Purge),
        1 => (any::<Index>(), HOUR..10 * HOUR).prop_map(|(which, by)| Step::WrongClock { which, by }),
    ];
    prop::collection::vec((step, 0.0..1.0), 1..60)
}

impl World {
    fn apply(&mut self, step: &Step, noise: f64) {
        let time = self.time(noise);
        match step {
            Step::Pass(ms) => self.pass(*ms),
            Step::Acquire { .. } => {
                let request = self.arrival(step);
                self.acquire(&request, &time);
            }
            Step::Again {
                which,
                duplicate,
                watched,
            } if !self.acquisitions.is_empty() => {
                let first = which.get(&self.acquisitions).clone();
                let mut request = if *duplicate {
                    first
                } else {
                    self.next_attempt(&first)
                };
                if *watched {
                    request.watched = self.first_holder_as_dead();
                }
                self.acquire(&request, &time);
            }
            Step::Polls(places) => {
                let standing = self.record.iter().flat_map(|record| &record.queue);
                let standing: Vec<_> = standing.map(|of| of.claimant.id.clone()).collect();
                for (place, id) in standing.iter().enumerate().rev() {
                    if places & (1 << (place % 8)) != 0 {
                        let first = self.acquisition(id).clone();
                        self.acquire(&self.next_attempt(&first), &time);
                    }
                }
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
            Step::Release {
                which,
                min_hold,
                succeeded,
            } if !self.acquisitions.is_empty() => {
                let request = which.get(&self.acquisitions);
                let mut request = ReleaseRequest::new(&request.key, &request.owner, &request.id);
                let linger = |left: i64| Linger {
                    ttl: ttl(left.max(100)),
                    left: ms(left),
                };
                request.linger = min_hold.map(linger);
                let slot = self.runs.get(&request.id).copied();
                request.slot_done = slot.filter(|_| *succeeded);
                self.release(&request, &time);
            }
            Step::Purge => self.purge(),
            Step::WrongClock { which, by } => self.wrong_clock(*which, *by),
            Step::Again { .. } | Step::Renew { .. } | Step::Release { .. } => {}
        }
    }

    /// The first attempt of a new acquisition.
    fn arrival(&mut self, step: &Step) -> AcquireRequest {
        let Step::Acquire {
            owner,
            mode,
            ttl: millis,
            queueing,
            slot,
        } = step
        else {
            unreachable!("{step:?}");
        };
        let name = ["a", "b", "c", "d", "e"][*owner];
        let mut request = acquire(&format!("{name}{}", self.acquisitions.len()), *mode);
        request.ttl = ttl(*millis);
        request.queueing = *queueing;
        request.slot = slot.map(|run| Slot {
            start: match run.when {
                When::Now => SlotStart::Every(ms(PERIOD)),
                When::Given(ahead) => SlotStart::At(at(self.slot() + ahead * PERIOD - NOW)),
                When::Once => SlotStart::Once,
            },
            until_done: run.until_done,
        });
        self.acquisitions.push(request.clone());
        request
    }

    fn first_holder_as_dead(&self) -> Vec<Watched> {
        let holders = self.record.iter().flat_map(|record| &record.holders);
        let dead = holders.take(1).filter_map(|holder| {
            let (id, seq) = (holder.id()?.clone(), holder.seq);
            Some(Watched { id, seq })
        });
        dead.collect()
    }

    fn purge(&mut self) {
        let due = at(self.now - NOW + SKEW);
        let is_due = |record: &LockRecord| record.purge_at.is_some_and(|at| at <= due);
        let Some(record) = self.record.take_if(|record| is_due(record)) else {
            return;
        };
        for id in record.holders.iter().filter_map(Holder::id) {
            let until = self.valid_until.get(id);
            assert!(until.is_none_or(|until| *until <= self.now), "I14");
        }
        let only = Timestamp::default();
        assert!(
            record.slot_started <= Some(only),
            "slots are never forgotten"
        );
        self.started.remove(&only);
        self.done.remove(&only);
        // Of a lease that was released two days after it expired.
        self.holds.clear();
        self.note_turns();
    }

    fn wrong_clock(&mut self, which: Index, by: i64) {
        let Some(record) = self.record.as_mut().filter(|of| !of.holders.is_empty()) else {
            return;
        };
        let index = which.index(record.holders.len());
        let holder = &mut record.holders[index];
        holder.expires_at = at(self.now - NOW + holder.ttl.as_millis() + by);
        self.note_turns();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_trace_keeps_the_invariants(exact in any::<bool>(), steps in steps(), last in modes()) {
        let mut world = World::new(exact);
        for (step, noise) in &steps {
            world.apply(step, *noise);
        }
        world.one_who_keeps_asking_is_granted(last);
    }
}
