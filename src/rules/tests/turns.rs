use super::*;

use Mode::{Exclusive, Shared};

/// A record that became free just now, and those who wait.
fn free(waiters: &[Waiter]) -> LockRecord {
    LockRecord {
        queue: waiters.to_vec(),
        free_at: Some(at(0)),
        ..record(Exclusive, &[])
    }
}

/// Alive, and waiting for these modes: "b1", "c1" and so on.
fn ahead(modes: &[Mode]) -> Vec<Waiter> {
    let waiters = ["b1", "c1", "d1", "e1"].iter().zip(modes);
    let waiters = waiters.map(|(name, mode)| waiting(name, *mode));
    waiters.collect()
}

/// Which modes hold already, how many; which wait, in their order; which is wanted by the last in line, and how many
/// must go first.
#[test]
fn turns_are_taken_in_the_order_of_arrival() {
    for (held, holders, before, wanted, first) in [
        (Exclusive, 0, &[][..], Exclusive, 0),
        (Exclusive, 0, &[Exclusive], Exclusive, 1),
        (Exclusive, 0, &[Shared, PERMITS(9), Shared], Exclusive, 3),
        // Those of the same kind go together.
        (Exclusive, 0, &[Shared, Shared], Shared, 0),
        (Exclusive, 0, &[Shared, Exclusive, Shared], Shared, 1),
        (Exclusive, 0, &[PERMITS(9), Exclusive], Shared, 2),
        (Shared, 2, &[Shared], Shared, 0),
        (Shared, 2, &[PERMITS(9)], Shared, 1),
        // Permits as far as there is room for all of them.
        (Exclusive, 0, &[PERMITS(3), PERMITS(3)], PERMITS(3), 0),
        (
            Exclusive,
            0,
            &[PERMITS(3), PERMITS(3), PERMITS(3)],
            PERMITS(3),
            1,
        ),
        (PERMITS(3), 1, &[PERMITS(3)], PERMITS(3), 0),
        (PERMITS(3), 2, &[PERMITS(3)], PERMITS(3), 1),
        (PERMITS(3), 2, &[PERMITS(3), PERMITS(3)], PERMITS(3), 2),
        (Exclusive, 0, &[Shared, PERMITS(3)], PERMITS(3), 1),
        (PERMITS(3), 1, &[Exclusive, PERMITS(3)], PERMITS(3), 1),
        // Of several limits the smallest counts, mine or theirs.
        (Exclusive, 0, &[PERMITS(2), PERMITS(9)], PERMITS(9), 1),
        (Exclusive, 0, &[PERMITS(9), PERMITS(9)], PERMITS(2), 1),
        (PERMITS(9), 1, &[PERMITS(1)], PERMITS(9), 1),
        (PERMITS(9), 3, &[PERMITS(9), PERMITS(1)], PERMITS(9), 2),
        (PERMITS(2), 2, &[PERMITS(9)], PERMITS(9), 0),
    ] {
        let holders: Vec<_> = ["w1", "x1", "y1"][..holders]
            .iter()
            .map(|name| holder(name, TTL))
            .collect();
        let mut seen = free(&ahead(before));
        (seen.mode, seen.holders) = (held, holders);
        seen.queue.push(waiting("a1", wanted));
        let case = format!("{wanted:?} behind {before:?}, beside {held:?}");
        match admit(Some(&seen), &fair("a1", wanted), &exact()) {
            Verdict::Granted(next) => {
                assert_eq!(first, 0, "{case}");
                let left = seen.queue.split_last().unwrap().1;
                assert_eq!(next.queue, left, "{case}");
            }
            Verdict::Queued { contention, .. } => {
                assert!(first > 0, "{case}");
                assert_eq!(
                    (contention.ahead, contention.reason),
                    (first, Reason::Queue),
                    "{case}"
                );
            }
            other => panic!("{case}: {other:?}"),
        }
    }
}

/// Who comes without a place; but for who asked for one.
#[test]
fn a_newcomer_that_may_stand_beside_all_who_queue_is_granted() {
    for (queue, wanted) in [(vec![Shared], Shared), (vec![PERMITS(3)], PERMITS(3))] {
        let mut seen = record(wanted, &[holder("x1", TTL)]);
        seen.queue = ahead(&queue);
        let next = granted(Some(&seen), &acquire("a1", wanted), &exact());
        assert_eq!((ids(&next), line(&next)), (vec!["x1", "a1"], vec!["b1"]));
        let newcomer = AcquireRequest {
            queueing: Queueing::Fair,
            ..acquire("a1", wanted)
        };
        let (_, next) = queued(&seen, &newcomer, &exact());
        assert_eq!(line(&next.unwrap()), ["b1", "a1"]);
    }
}

#[test]
fn those_behind_are_in_nobodys_way() {
    let mut seen = free(&[waiting("a1", PERMITS(5))]);
    seen.queue.extend(ahead(&[Exclusive, PERMITS(1)]));
    let next = granted(Some(&seen), &fair("a1", PERMITS(5)), &exact());
    assert_eq!((ids(&next), line(&next)), (vec!["a1"], vec!["b1", "c1"]));
}

/// The first in line is granted when there is room, and not before.
#[test]
fn whose_turn_it_is_still_needs_room() {
    let mut seen = record(PERMITS(2), &[holder("w1", TTL), holder("x1", TTL)]);
    seen.queue = vec![waiting("a1", PERMITS(2))];
    let (contention, _) = queued(&seen, &fair("a1", PERMITS(2)), &exact());
    assert_eq!((contention.ahead, contention.reason), (0, Reason::Busy));
    seen.holders.pop();
    granted(Some(&seen), &fair("a1", PERMITS(2)), &exact());
}

/// A claim is two seconds, and what is not known of the time; on the server's clock, not before `earliest`.
#[test]
fn the_dead_are_passed_when_each_had_time_for_a_claim() {
    for (time, earliest, claim) in [(exact(), -500, 3000), (interval(), -1000, 5000)] {
        for k in 1..=3 {
            let since = earliest - k * claim;
            let waiters = ahead(&[Exclusive, Shared, PERMITS(2)][..usize::try_from(k).unwrap()]);
            let mut seen = free(&waiters);
            seen.queue.push(waiting("a1", Exclusive));
            seen.free_at = Some(at(since));
            let next = granted(Some(&seen), &fair("a1", Exclusive), &time);
            assert_eq!((ids(&next), line(&next)), (vec!["a1"], vec![]));

            seen.free_at = Some(at(since + 1));
            let (contention, _) = queued(&seen, &fair("a1", Exclusive), &time);
            assert_eq!(contention.ahead, usize::try_from(k).unwrap());
            assert_eq!(contention.free_in, ms(1), "worth another try just then");
        }
    }
}

/// The latest of what may have kept the first in line from its claim: a release, a lease, its own arrival.
#[test]
fn a_claim_counts_from_the_latest_of_all() {
    const LONG_AGO: i64 = -50_000;
    const JUST: i64 = -SKEW - 3000;
    for (released, expired, came) in [
        (JUST, LONG_AGO, LONG_AGO),
        (LONG_AGO, JUST, LONG_AGO),
        (LONG_AGO, LONG_AGO, JUST),
    ] {
        let seen = |late: i64| {
            let moved = |ms| if ms == JUST { at(ms + late) } else { at(ms) };
            let mut dead = holder("w1", expired);
            dead.expires_at = moved(expired);
            let mut first = waiting("b1", Exclusive);
            first.enqueued_at = moved(came);
            // Who blocks nobody has nothing to claim, and neither has who asks.
            let mut sharer = waiting("c1", Shared);
            sharer.enqueued_at = at(0);
            let mut mine = waiting("a1", Shared);
            mine.enqueued_at = at(0);
            LockRecord {
                free_at: Some(moved(released)),
                queue: vec![first, sharer, mine],
                ..record(Exclusive, &[holder("x1", LONG_AGO), dead])
            }
        };
        let next = granted(Some(&seen(0)), &fair("a1", Shared), &exact());
        assert_eq!(line(&next), ["c1"], "who goes beside me stays");
        queued(&seen(1), &fair("a1", Shared), &exact());
    }
}

#[test]
fn who_passes_takes_the_place_of_as_many_as_there_is_room_for() {
    let mut seen = free(&ahead(&[PERMITS(2), PERMITS(2), PERMITS(2)]));
    seen.queue.push(waiting("a1", PERMITS(2)));
    seen.free_at = Some(at(-SKEW - 6000));
    let next = granted(Some(&seen), &fair("a1", PERMITS(2)), &exact());
    assert_eq!(line(&next), ["d1"], "two were in the way");
}

/// Whoever is in the way of the first in line may leave at any moment.
#[test]
fn nobody_is_passed_while_anything_is_held() {
    for holders in [&[holder("w1", TTL)][..], &[linger(TTL)]] {
        let mut seen = record(PERMITS(2), holders);
        seen.queue = vec![waiting("b1", PERMITS(1)), waiting("a1", PERMITS(2))];
        seen.free_at = Some(at(-3_600_000));
        let (contention, _) = queued(&seen, &fair("a1", PERMITS(2)), &exact());
        assert_eq!(contention.ahead, 1);
        // Its entry expires all the same.
        seen.queue[0].expires_at = at(-SKEW);
        granted(Some(&seen), &fair("a1", PERMITS(2)), &exact());
    }
}

/// Who blocks me had no turn before those had one who block it.
#[test]
fn the_turns_of_all_before_the_last_in_the_way_count() {
    let mut seen = free(&ahead(&[PERMITS(2), Exclusive]));
    seen.queue.push(waiting("a1", PERMITS(2)));
    seen.free_at = Some(at(-SKEW - 6000 + 1));
    let (contention, _) = queued(&seen, &fair("a1", PERMITS(2)), &exact());
    assert_eq!((contention.ahead, contention.free_in), (1, ms(1)));
    granted(Some(&seen), &fair("c1", Exclusive), &exact());
    seen.free_at = Some(at(-SKEW - 6000));
    let next = granted(Some(&seen), &fair("a1", PERMITS(2)), &exact());
    assert_eq!(line(&next), ["b1"], "it stays: there is room for both");
}

/// Who stands behind an entry that just expired had no turn before.
#[test]
fn an_expired_entry_counts_as_one_that_had_its_time() {
    let mut seen = free(&ahead(&[Exclusive, Exclusive]));
    seen.queue.push(waiting("a1", Exclusive));
    seen.queue[0].expires_at = at(-SKEW);
    seen.free_at = Some(at(-SKEW - 6000 + 1));
    let (contention, _) = queued(&seen, &fair("a1", Exclusive), &exact());
    assert_eq!((contention.ahead, contention.free_in), (1, ms(1)));
    granted(Some(&seen), &fair("c1", Exclusive), &exact());
    seen.free_at = Some(at(-SKEW - 6000));
    granted(Some(&seen), &fair("a1", Exclusive), &exact());
}

/// It asked late, but nobody took its place meanwhile.
#[test]
fn an_own_expired_entry_keeps_its_place() {
    let mut seen = free(&[waiter("a1", -3_600_000)]);
    seen.queue.extend(ahead(&[Exclusive]));
    let next = granted(Some(&seen), &fair("a1", Exclusive), &exact());
    assert_eq!(line(&next), ["b1"]);
    let next = granted(Some(&seen), &fair("b1", Exclusive), &exact());
    assert_eq!(line(&next), [""; 0], "and for others it is dead");
}

#[test]
fn a_takeover_takes_nobodys_place() {
    let mut seen = record(Shared, &[holder("a1", TTL)]);
    seen.queue = ahead(&[Exclusive, PERMITS(2)]);
    let change = change("a2", Exclusive, "a1");
    let next = granted(Some(&seen), &change, &exact());
    assert_eq!(line(&next), ["b1", "c1"]);
    // Its own it leaves, and those who were ahead of it stay all the same.
    seen.queue.push(waiting("a2", Exclusive));
    let next = granted(Some(&seen), &change, &exact());
    assert_eq!((ids(&next), line(&next)), (vec!["a2"], vec!["b1", "c1"]));
}
