//! How long a waiter waits before it tries again, and what it learns by watching. Pure but for the jitter.

mod polls;

use std::collections::HashMap;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::LeaseId;
use crate::backend::{Contention, Watched};
use crate::time::Moment;

pub(crate) use polls::Polls;

/// The ceiling of the first wait after an error.
const FIRST: Duration = Duration::from_millis(10);
/// The ceiling of any wait: how long a free lock may stay unnoticed by a waiter.
const SLOWEST: Duration = Duration::from_secs(1);

/// How often those ask, at least, who are told of changes: for what was missed all the same. In the queue they must come
/// before they count as dead.
const WATCHING: Duration = Duration::from_secs(10);

/// The next wait of somebody who is told of changes.
pub(crate) fn watching(queued: bool, luck: f64) -> Duration {
    jittered(if queued { SLOWEST } else { WATCHING }, luck)
}

/// Half of a wait is jitter: enough to part those who were refused together.
fn jittered(ceiling: Duration, luck: f64) -> Duration {
    ceiling.mul_f64(0.5 + luck.clamp(0.0, 1.0) / 2.0)
}

/// Full-jitter exponential backoff, for errors: each wait is drawn from zero up to a ceiling that doubles.
#[derive(Debug)]
pub(crate) struct Backoff {
    ceilings: ExponentialBackoff,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        let ceilings = ExponentialBuilder::new()
            .with_min_delay(FIRST)
            .with_max_delay(SLOWEST)
            .without_max_times()
            .build();
        Self { ceilings }
    }

    /// The next wait; `luck` is drawn from 0 to 1.
    pub(crate) fn next(&mut self, luck: f64) -> Duration {
        let ceiling = self.ceilings.next().unwrap_or(SLOWEST);
        ceiling.mul_f64(luck.clamp(0.0, 1.0))
    }
}

/// The holders that a waiter has seen, and since when each is unchanged.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    seen: HashMap<LeaseId, Sighting>,
}

#[derive(Clone, Copy, Debug)]
struct Sighting {
    seq: u64,
    since: Moment,
    dead_after: Duration,
}

impl Watch {
    /// Takes note of a refusal that was received at `now`.
    pub(crate) fn observe(&mut self, contention: &Contention, now: Moment) {
        let before = std::mem::take(&mut self.seen);
        for occupant in &contention.occupants {
            let Some(claimant) = &occupant.claimant else {
                continue;
            };
            let unchanged = before
                .get(&claimant.id)
                .filter(|sighting| sighting.seq == occupant.seq);
            let sighting = Sighting {
                seq: occupant.seq,
                since: unchanged.map_or(now, |sighting| sighting.since),
                dead_after: dead_after(occupant.ttl.as_duration()),
            };
            self.seen.insert(claimant.id.clone(), sighting);
        }
    }

    /// Those that certainly had time enough to renew and did not. Monotonic time only: it may be too short, never
    /// too long.
    pub(crate) fn dead(&self, now: Moment) -> Vec<Watched> {
        self.seen
            .iter()
            .filter(|(_, sighting)| now.at_least_since(sighting.since) >= sighting.dead_after)
            .map(|(id, sighting)| Watched {
                id: id.clone(),
                seq: sighting.seq,
            })
            .collect()
    }
}

/// A quarter more than its ttl for the difference of two clocks' rates, and a second for its answer's way.
pub(crate) fn dead_after(ttl: Duration) -> Duration {
    ttl.mul_f64(1.25).saturating_add(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Occupant, Reason};
    use crate::{Claimant, Mode, Owner, Timestamp, Ttl};

    fn contention(id: &LeaseId, seq: u64, free_in: Duration) -> Contention {
        let occupant = Occupant {
            claimant: Some(Claimant {
                owner: Owner::new("o").unwrap(),
                id: id.clone(),
            }),
            seq,
            ttl: Ttl::new(Duration::from_secs(4)).unwrap(),
            label: None,
            expires_in: free_in,
        };
        Contention::new(Reason::Busy, Mode::Exclusive, vec![occupant], free_in)
    }

    fn at(seconds: u64, wall: i64) -> Moment {
        Moment {
            monotonic: Duration::from_secs(seconds),
            wall: Timestamp::from_millis(wall),
        }
    }

    #[test]
    fn waits_double_up_to_a_ceiling() {
        let mut backoff = Backoff::new();
        let most: Vec<f64> = (0..9)
            .map(|_| (backoff.next(1.0).as_secs_f64() * 1000.0).round())
            .collect();
        assert_eq!(most, [10., 20., 40., 80., 160., 320., 640., 1000., 1000.]);
        assert_eq!(backoff.next(0.0), Duration::ZERO);
        assert_eq!(backoff.next(0.5).as_millis(), 500);
    }

    #[test]
    fn an_unchanged_holder_is_dead_after_its_time() {
        let id = LeaseId::random();
        let mut watch = Watch::default();
        watch.observe(&contention(&id, 7, Duration::MAX), at(100, 0));
        watch.observe(&contention(&id, 7, Duration::MAX), at(104, 0));
        // 1.25 × 4 s + 1 s, whatever the wall clock claims.
        assert!(watch.dead(at(105, 3_600_000)).is_empty());
        assert_eq!(watch.dead(at(106, 0)), [Watched { id, seq: 7 }]);
    }

    #[test]
    fn a_renewal_or_an_absence_starts_the_watch_anew() {
        let id = LeaseId::random();
        let mut watch = Watch::default();
        watch.observe(&contention(&id, 7, Duration::MAX), at(100, 0));
        watch.observe(&contention(&id, 8, Duration::MAX), at(104, 0));
        assert!(watch.dead(at(106, 0)).is_empty());
        watch.observe(
            &contention(&LeaseId::random(), 1, Duration::MAX),
            at(107, 0),
        );
        watch.observe(&contention(&id, 8, Duration::MAX), at(108, 0));
        assert!(watch.dead(at(111, 0)).is_empty());
    }
}
