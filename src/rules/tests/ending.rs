//! What a release leaves: a place in the queue, a minimum hold, a slot that is done.

use super::*;
use crate::backend::Linger;

use Mode::{Exclusive, Shared};

#[track_caller]
fn released(seen: &LockRecord, request: &ReleaseRequest, time: &ServerTime) -> LockRecord {
    match release(Some(seen), request, time) {
        Released::Write(next) => *next,
        other => panic!("{other:?}"),
    }
}

fn lingering(name: &str, left: i64) -> ReleaseRequest {
    ReleaseRequest {
        linger: Some(Linger {
            ttl: ttl(TTL),
            left: ms(left),
        }),
        ..ending(name)
    }
}

#[test]
fn who_leaves_the_queue_leaves_the_rest_as_it_is() {
    let mut seen = record(Exclusive, &[holder("w1", TTL)]);
    seen.queue = vec![
        waiting("b1", Exclusive),
        waiting("a1", Shared),
        waiter("c1", -60_000),
    ];
    seen.closed = Some(id("z1"));
    for queued in [false, true] {
        // Hints, no more: it goes by the id alone.
        let request = ReleaseRequest {
            queued,
            owner: owner("b"),
            slot_done: Some(at(0)),
            ..lingering("a1", 5000)
        };
        let next = released(&seen, &request, &exact());
        let mut expected = seen.clone();
        expected.rev += 1;
        expected.queue.remove(1);
        assert_eq!(next, expected);
        assert_eq!(release(Some(&next), &request, &exact()), Released::NotHeld);
    }
}

#[test]
fn another_of_the_same_owner_stays_in_the_queue() {
    let mut seen = record(Exclusive, &[]);
    seen.queue = vec![waiting("a2", Exclusive)];
    assert_eq!(
        release(Some(&seen), &ending("a1"), &exact()),
        Released::NotHeld
    );
}

/// Its place is what it takes over from, if it holds *and* another of its owner queues.
#[test]
fn a_holder_that_is_released_leaves_the_queue_alone() {
    let mut seen = record(Shared, &[holder("a1", TTL)]);
    seen.queue = vec![waiting("a2", Exclusive), waiting("b1", Shared)];
    let next = released(&seen, &ending("a1"), &exact());
    assert_eq!((ids(&next), line(&next)), (vec![], vec!["a2", "b1"]));
}

#[test]
fn what_is_left_of_a_minimum_hold_stays() {
    for (time, stamp) in [(exact(), 0), (interval(), 2000)] {
        let seen = record(PERMITS(2), &[holder("a1", TTL), holder("b1", TTL)]);
        let next = released(&seen, &lingering("a1", 4000), &time);
        let rest = Holder::new(None, at(stamp), at(stamp + 4000), ttl(TTL), 0);
        assert_eq!(next.holders, [holder("b1", TTL), rest]);
        assert_eq!(
            (next.closed.clone(), next.free_at),
            (Some(id("a1")), Some(at(stamp)))
        );
        // Nobody finds its whole time implausible, and nobody releases it.
        let (_, mended) = refused(&next, &acquire("c1", Exclusive), &time);
        assert_eq!(mended, None);
        let again = release(Some(&next), &lingering("a1", 4000), &time);
        assert_eq!(again, Released::Already);
    }
    let seen = record(Exclusive, &[holder("a1", TTL)]);
    let next = released(&seen, &lingering("a1", 0), &exact());
    assert!(next.holders.is_empty(), "none of it is left");
    // No request makes it longer than a minimum hold can be.
    let next = released(&seen, &lingering("a1", 10 * TTL), &exact());
    assert_eq!(
        next.holders,
        [Holder::new(None, at(0), at(TTL), ttl(TTL), 0)]
    );
}

#[test]
fn a_minimum_hold_counts_as_one_of_its_mode() {
    for (held, wanted, fits) in [
        (Exclusive, Exclusive, false),
        (Shared, Exclusive, false),
        (Shared, Shared, true),
        (PERMITS(2), Shared, false),
        (PERMITS(2), PERMITS(2), true),
        (PERMITS(2), PERMITS(1), false),
    ] {
        let seen = record(held, &[linger(TTL)]);
        let verdict = admit(Some(&seen), &acquire("a1", wanted), &exact());
        let case = format!("{wanted:?} beside the rest of {held:?}");
        assert_eq!(matches!(verdict, Verdict::Granted(_)), fits, "{case}");
    }
    let full = record(PERMITS(2), &[linger(TTL), linger(TTL)]);
    refused(&full, &acquire("a1", PERMITS(2)), &exact());
    let half = record(PERMITS(2), &[linger(-SKEW), linger(TTL)]);
    let next = granted(Some(&half), &acquire("a1", PERMITS(2)), &exact());
    assert_eq!(next.holders.len(), 2);
}

/// It has no id: no watching, no renewal, and no owner's next acquisition ends it before its time.
#[test]
fn a_minimum_hold_cannot_be_taken_over() {
    let seen = record(Exclusive, &[holder("a1", TTL)]);
    let seen = released(&seen, &lingering("a1", 4000), &exact());
    let mut request = acquire("a2", Exclusive);
    request.watched = vec![Watched {
        id: id("a1"),
        seq: 0,
    }];
    let (contention, _) = refused(&seen, &request, &exact());
    assert_eq!(contention.reason, Reason::Busy);
    assert_eq!(contention.occupants[0].claimant, None);
    let late = renew(Some(&seen), &renewal("a1", Exclusive), &exact());
    assert_eq!(late, Renewed::Lost);
    let (contention, _) = refused(&seen, &acquire("a1", Exclusive), &exact());
    assert_eq!(contention.reason, Reason::Closed, "a late duplicate");
}

/// One with a wrong clock that crashed: cut down to its whole length, as any holder.
#[test]
fn an_implausible_minimum_hold_is_cut_down() {
    let seen = record(Exclusive, &[linger(3_600_000)]);
    let (_, mended) = refused(&seen, &acquire("a1", Exclusive), &exact());
    assert_eq!(mended.unwrap().holders[0].expires_at, at(TTL + SKEW));
}

#[test]
fn only_a_release_that_says_so_marks_a_slot_as_done() {
    for (before, says, after) in [
        (None, None, None),
        (None, Some(-10), Some(-10)),
        (Some(-20), None, Some(-20)),
        (Some(-20), Some(-10), Some(-10)),
        // It ended after a later one.
        (Some(-10), Some(-20), Some(-10)),
    ] {
        let mut seen = record(Exclusive, &[holder("a1", TTL)]);
        (seen.slot_started, seen.slot_done) = (Some(at(-10)), before.map(at));
        let request = ReleaseRequest {
            slot_done: says.map(at),
            ..ending("a1")
        };
        let next = released(&seen, &request, &exact());
        assert_eq!(next.slot_done, after.map(at), "{before:?} {says:?}");
        assert_eq!(next.slot_started, Some(at(-10)));
    }
}

/// Another run may be on its way, or has ended.
#[test]
fn who_holds_no_more_marks_nothing_as_done() {
    let seen = record(Exclusive, &[holder("b1", TTL)]);
    let request = ReleaseRequest {
        slot_done: Some(at(0)),
        ..ending("a1")
    };
    assert_eq!(release(Some(&seen), &request, &exact()), Released::NotHeld);
}
