//! Which renewals go out together: pure, told the time by its caller.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::LeaseId;

/// Where a renewal stands among those that wait to be sent: when its lease ends by the monotonic clock, and among those
/// of one instant in the order in which they were granted.
pub(super) type Place = (Duration, u64);

/// Renewals that are due and not sent yet, and how often in a row nobody knew what became of each.
#[derive(Debug, Default)]
pub(super) struct Ready(BTreeMap<Place, (LeaseId, u32)>);

impl Ready {
    pub(super) fn insert(&mut self, place: Place, id: &LeaseId, unknown: u32) {
        self.0.insert(place, (id.clone(), unknown));
    }

    pub(super) fn remove(&mut self, place: Place) {
        self.0.remove(&place);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one that goes out next.
    pub(super) fn first(&self) -> Option<&LeaseId> {
        self.0.first_key_value().map(|(_, (id, _))| id)
    }

    /// Takes the next batch: those whose leases end first, of which none has [much more time](latest) than the first.
    ///
    /// Where no answer came, a single one may be what the others waited for: they go out again in fewer and fewer, and
    /// beside no other.
    pub(super) fn take(&mut self, size: usize, now: Duration) -> Vec<LeaseId> {
        let mut batch = Vec::new();
        let Some((&(first, _), &(_, unknown))) = self.0.first_key_value() else {
            return batch;
        };
        let (latest, size) = (latest(first, now), fewer(size, unknown));
        while batch.len() < size
            && let Some(next) = self.0.first_entry()
            && next.key().0 <= latest
            && next.get().1 == unknown
        {
            batch.push(next.remove().0);
        }
        batch
    }
}

/// A quarter for each time that no answer came.
fn fewer(size: usize, unknown: u32) -> usize {
    let quarters = 4_usize.saturating_pow(unknown);
    (size / quarters).max(1)
}

/// When a lease may end at the latest that goes out in a batch whose first one ends at `first`: with at most twice its
/// time. A batch has the time of the one that has the least, and that must not be too short for another.
pub(super) fn latest(first: Duration, now: Duration) -> Duration {
    now.saturating_add(first.saturating_sub(now).saturating_mul(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    /// Batches of leases that end so many seconds from now, by their index.
    fn batches(ends: &[u64], size: usize) -> Vec<Vec<usize>> {
        let known: Vec<_> = ends.iter().map(|end| (*end, 0)).collect();
        batches_after(&known, size)
    }

    /// And of which nobody knew so often what became of them.
    fn batches_after(ends: &[(u64, u32)], size: usize) -> Vec<Vec<usize>> {
        let ids: Vec<_> = ends.iter().map(|_| LeaseId::random()).collect();
        let mut ready = Ready::default();
        for ((order, id), (end, unknown)) in (0..).zip(&ids).zip(ends) {
            ready.insert((NOW + Duration::from_secs(*end), order), id, *unknown);
        }
        let mut batches = Vec::new();
        while !ready.is_empty() {
            let batch = ready.take(size, NOW);
            let index = |id: &LeaseId| ids.iter().position(|other| other == id).unwrap();
            batches.push(batch.iter().map(index).collect());
        }
        batches
    }

    #[test]
    fn those_that_end_first_go_first() {
        assert_eq!(
            batches(&[20, 19, 21, 18, 22], 2),
            [[3, 1].to_vec(), [0, 2].to_vec(), [4].to_vec()]
        );
    }

    #[test]
    fn those_that_end_together_go_in_the_order_of_their_grants() {
        assert_eq!(batches(&[9; 5], 3), [[0, 1, 2].to_vec(), [3, 4].to_vec()]);
    }

    #[test]
    fn nobody_hurries_for_one_that_is_about_to_end() {
        assert_eq!(
            batches(&[20, 1, 2, 3], 4),
            [[1, 2].to_vec(), [3].to_vec(), [0].to_vec()]
        );
    }

    #[test]
    fn one_that_is_over_waits_for_nobody() {
        assert_eq!(batches(&[0, 1], 4), [[0], [1]]);
        assert!(Ready::default().take(4, NOW).is_empty());
    }

    #[test]
    fn those_without_an_answer_are_fewer_each_time_and_among_themselves() {
        let ends = [(9, 2), (9, 1), (9, 1), (9, 1), (9, 0), (9, 0), (9, 0)];
        assert_eq!(
            batches_after(&ends, 8),
            [
                [0].to_vec(),
                [1, 2].to_vec(),
                [3].to_vec(),
                [4, 5, 6].to_vec()
            ]
        );
        assert_eq!(fewer(250, u32::MAX), 1);
    }

    #[test]
    fn a_batch_of_one_is_one() {
        assert_eq!(batches(&[5, 5], 1), [[0], [1]]);
    }
}
