use super::*;

use Mode::{Exclusive, Shared};
use Queueing::{Fair, Never, WhenNeeded};

/// What a request of each kind makes of a refusal: whether it joins.
#[test]
fn a_refused_request_queues_as_it_says() {
    let busy = record(Exclusive, &[holder("w1", TTL)]);
    let sharers = record(Shared, &[holder("w1", TTL)]);
    let permits = record(PERMITS(1), &[holder("w1", TTL)]);
    let line = LockRecord {
        queue: vec![waiting("x1", Exclusive)],
        ..record(Exclusive, &[])
    };
    let dead_line = LockRecord {
        queue: vec![waiter("x1", -SKEW)],
        ..busy.clone()
    };
    for (seen, wanted, when_needed) in [
        (&busy, Exclusive, false),
        (&busy, Shared, false),
        (&dead_line, Exclusive, false),
        (&permits, PERMITS(1), false),
        // A stream of those who come and go would keep it out for ever.
        (&sharers, Exclusive, true),
        (&sharers, PERMITS(9), true),
        (&permits, Shared, true),
        (&permits, Exclusive, true),
        (&line, Exclusive, true),
        (&line, Shared, true),
    ] {
        for (queueing, joins) in [(Never, false), (WhenNeeded, when_needed), (Fair, true)] {
            let request = AcquireRequest {
                queueing,
                ..acquire("a1", wanted)
            };
            let case = format!("{queueing:?} {wanted:?} at {seen:?}");
            match admit(Some(seen), &request, &exact()) {
                Verdict::Queued { next, .. } => {
                    assert!(joins, "{case}");
                    assert!(next.unwrap().waiter(&id("a1")).is_some(), "{case}");
                }
                Verdict::Held { mended, .. } => {
                    assert!(!joins, "{case}");
                    assert_eq!(mended, None, "{case}");
                }
                other => panic!("{case}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_free_lock_is_granted_without_a_queue() {
    for queueing in [Never, WhenNeeded, Fair] {
        let request = AcquireRequest {
            queueing,
            ..acquire("a1", Exclusive)
        };
        let next = granted(Some(&record(Exclusive, &[])), &request, &exact());
        assert!(next.queue.is_empty());
        assert!(granted(None, &request, &exact()).queue.is_empty());
    }
}

#[test]
fn who_joins_stands_last_and_changes_nothing_else() {
    let mut seen = record(PERMITS(1), &[holder("w1", TTL), holder("y1", -TTL)]);
    seen.queue = vec![waiting("x1", Exclusive)];
    for (time, stamp, pad) in [(exact(), 0, 0), (interval(), 2000, 1500)] {
        let request = AcquireRequest {
            queued: false,
            seq: 9,
            ..fair("a1", PERMITS(3))
        };
        let (contention, next) = queued(&seen, &request, &time);
        assert_eq!((contention.ahead, contention.reason), (1, Reason::Queue));
        assert_eq!(contention.occupants.len(), 1);
        let expires = at(stamp + 6000 + pad);
        let entry = Waiter::new(
            claimant("a1"),
            PERMITS(3),
            at(stamp),
            expires,
            WAITER_TTL,
            9,
        );
        let expected = LockRecord {
            rev: seen.rev + 1,
            queue: vec![seen.queue[0].clone(), entry],
            ..seen.clone()
        };
        assert_eq!(next, Some(expected));
    }
}

/// Not with every poll, which would be a write each; and not as a change that others' swaps would fail on.
#[test]
fn an_entry_is_refreshed_when_it_is_two_seconds_old() {
    for (time, fresh) in [(exact(), 6000), (interval(), 6000 + 3500)] {
        for (age, seq, refreshed) in [
            (0, 2, false),
            (1999, 2, false),
            (2000, 2, true),
            (3_600_000, 2, true),
            // A late duplicate.
            (2000, 1, false),
        ] {
            let mut seen = record(Exclusive, &[holder("w1", TTL)]);
            seen.queue = vec![waiting("x1", Shared), waiter("a1", fresh - age)];
            let request = AcquireRequest {
                seq,
                ..fair("a1", Exclusive)
            };
            let (_, next) = queued(&seen, &request, &time);
            let expected = refreshed.then(|| {
                let mut next = seen.clone();
                next.queue[1].expires_at = at(fresh);
                next.queue[1].seq = seq;
                next
            });
            assert_eq!(next, expected, "{age} ms old, attempt {seq}");
        }
    }
}

/// An owner has one place. Its next acquisition takes it, dead or alive.
#[test]
fn an_owners_next_acquisition_takes_its_place() {
    for expires in [4000, -60_000] {
        let mut seen = record(Exclusive, &[holder("w1", TTL)]);
        seen.queue = vec![waiter("a1", expires), waiting("x1", Shared)];
        let request = AcquireRequest {
            queued: false,
            ..fair("a2", Shared)
        };
        let (contention, next) = queued(&seen, &request, &exact());
        assert_eq!(contention.ahead, 0);
        let next = next.unwrap();
        assert_eq!(next.rev, seen.rev + 1);
        assert_eq!(line(&next), ["a2", "x1"]);
        let mine = &next.queue[0];
        assert_eq!(
            (mine.enqueued_at, mine.expires_at, mine.mode, mine.seq),
            (at(-60_000), at(6000), Shared, 2)
        );
    }
}

#[test]
fn a_full_queue_is_rid_of_the_expired_first() {
    let crowd = (0..256).map(|n| {
        let owner = owner(&format!("owner {n}"));
        let id = id(&format!("id {n}"));
        Waiter {
            claimant: Claimant { owner, id },
            ..waiting("x1", Exclusive)
        }
    });
    let mut seen = record(Exclusive, &[holder("w1", TTL)]);
    seen.queue = crowd.collect();
    let request = fair("a1", Exclusive);
    for queueing in [Fair, WhenNeeded] {
        let request = AcquireRequest {
            queueing,
            ..request.clone()
        };
        let (contention, mended) = refused(&seen, &request, &exact());
        assert_eq!((contention.reason, contention.ahead), (Reason::Queue, 256));
        assert_eq!(mended, None);
    }
    // Whoever stands there already does not need a place.
    let mut standing = request.clone();
    standing.owner = owner("owner 255");
    standing.id = id("id 255");
    let (_, next) = queued(&seen, &standing, &exact());
    assert_eq!(next.unwrap().queue.len(), 256);

    seen.queue[3].expires_at = at(-SKEW);
    seen.queue[7].expires_at = at(-60_000);
    let (contention, next) = queued(&seen, &request, &exact());
    assert_eq!(contention.ahead, 254);
    let next = next.unwrap();
    assert_eq!(next.queue.len(), 255);
    assert_eq!(next.queue[254].claimant, claimant("a1"));
    assert_eq!(next.queue[3], seen.queue[4]);
}

/// Two processes with one owner must not throw each other out for ever.
#[test]
fn who_finds_another_of_its_owner_in_its_place_gives_up() {
    let in_line = LockRecord {
        queue: vec![waiting("a2", Exclusive)],
        ..record(Exclusive, &[holder("w1", TTL)])
    };
    let in_line_dead = LockRecord {
        queue: vec![waiter("a2", -60_000)],
        ..in_line.clone()
    };
    let holds = record(Exclusive, &[holder("a2", TTL)]);
    for seen in [&in_line, &in_line_dead, &holds] {
        let (contention, mended) = refused(seen, &fair("a1", Exclusive), &exact());
        assert_eq!((contention.reason, mended), (Reason::Replaced, None));
    }
    // Who did not stand there yet takes the place instead.
    let newcomer = AcquireRequest {
        queued: false,
        ..fair("a1", Exclusive)
    };
    queued(&in_line, &newcomer, &exact());
    granted(Some(&holds), &newcomer, &exact());
    // Whose entry is gone, without another in its place, joins anew.
    let mut passed = in_line.clone();
    passed.queue = vec![waiting("x1", Exclusive)];
    let (_, next) = queued(&passed, &fair("a1", Exclusive), &exact());
    assert_eq!(line(&next.unwrap()), ["x1", "a1"]);
}

/// Its own older lease beside it is not what took its place.
#[test]
fn who_waits_to_take_over_is_not_replaced_by_what_it_takes_over() {
    let mut seen = record(Shared, &[holder("a1", TTL), holder("w1", TTL)]);
    seen.queue = vec![waiting("a2", Exclusive)];
    let (contention, _) = queued(&seen, &fair("a2", Exclusive), &exact());
    assert_eq!(contention.reason, Reason::Busy);
}

/// A crash of one with a wrong clock is mended in the same write.
#[test]
fn who_joins_cuts_down_what_is_implausible() {
    let mut seen = record(Exclusive, &[holder("w1", 3_600_000)]);
    seen.queue = vec![waiter("x1", 3_600_000), waiter("a1", 5000)];
    let (_, next) = queued(&seen, &fair("a1", Exclusive), &exact());
    let next = next.unwrap();
    assert_eq!(next.rev, seen.rev + 1);
    assert_eq!(next.holders[0].expires_at, at(TTL + SKEW));
    let expiries: Vec<_> = next.queue.iter().map(|waiter| waiter.expires_at).collect();
    assert_eq!(expiries, [at(6000 + SKEW), at(5000)]);
    seen.queue.pop();
    let (_, next) = queued(&seen, &fair("a1", Exclusive), &exact());
    let next = next.unwrap();
    assert_eq!((next.rev, line(&next)), (seen.rev + 1, vec!["x1", "a1"]));
    assert_eq!(next.holders[0].expires_at, at(TTL + SKEW));
}
