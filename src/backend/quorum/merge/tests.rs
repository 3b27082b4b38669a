use super::*;
use crate::Mode;

fn refusal(reason: Reason, seconds: u64) -> Contention {
    let free_in = Duration::from_secs(seconds);
    Contention::new(reason, Mode::Exclusive, Vec::new(), free_in)
}

/// Of three that are in the way, two must come free.
#[test]
fn the_refusal_that_is_told_is_the_last_that_is_needed() {
    let refusals = [7, 1, 4].map(|seconds| refusal(Reason::Busy, seconds));
    for (missing, free_in) in [(1, 1), (2, 4), (3, 7), (4, 7)] {
        let told = contention(refusals.to_vec(), missing).unwrap();
        assert_eq!(told.free_in.as_secs(), free_in, "{missing}");
    }
    assert_eq!(contention(Vec::new(), 1), None);
}

/// A member that missed the rest says that it is over; most do not.
#[test]
fn a_refusal_for_good_is_told_if_it_rules_a_majority_out() {
    let refusals = vec![refusal(Reason::Closed, 0), refusal(Reason::Busy, 9)];
    let told = contention(refusals.clone(), 1).unwrap();
    assert_eq!(told.reason, Reason::Busy);
    let told = contention(refusals, 2).unwrap();
    assert_eq!(told.reason, Reason::Closed);
}

#[test]
fn what_is_free_at_once_is_not_a_busy_wait() {
    let told = contention(vec![refusal(Reason::Busy, 0)], 1).unwrap();
    assert!(!told.free_in.is_zero());
}
