//! Tokens that a request asks for, and leases that are raised to one; attempts that are given back.

use super::*;
use crate::rules;
use Mode::{Exclusive, Shared};

fn asking(name: &str, mode: Mode, floor: u64) -> AcquireRequest {
    AcquireRequest {
        token_floor: floor,
        ..acquire(name, mode)
    }
}

#[track_caller]
fn token(seen: Option<&LockRecord>, request: &AcquireRequest, time: &ServerTime) -> u64 {
    match admit(seen, request, time) {
        Verdict::Granted(next) => {
            assert_eq!(next.holder(&request.id).unwrap().token, Some(next.token));
            next.token
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_grant_has_at_least_the_token_that_was_asked_for() {
    let seen = record(Exclusive, &[]);
    for (floor, granted) in [(1, 8), (8, 8), (9, 9), (1000, 1000)] {
        for time in [exact(), interval()] {
            assert_eq!(
                token(Some(&seen), &asking("a1", Exclusive, floor), &time),
                granted
            );
        }
    }
}

/// Or the members of a quorum, whose clocks differ, would never agree on one.
#[test]
fn the_servers_time_counts_for_nothing_where_a_token_is_asked_for() {
    let seen = record(Exclusive, &[]);
    let now = micros(exact().stamp);
    assert_eq!(
        token(Some(&seen), &asking("a1", Exclusive, 0), &exact()),
        now
    );
    assert_eq!(token(Some(&seen), &asking("a1", Exclusive, 9), &exact()), 9);
}

#[test]
fn a_first_token_is_not_below_the_servers_time() {
    let now = micros(exact().stamp);
    for (floor, granted) in [(0, now), (9, now), (now + 9, now + 9)] {
        assert_eq!(
            token(None, &asking("a1", Exclusive, floor), &exact()),
            granted
        );
    }
}

#[test]
fn a_broken_clock_does_not_use_the_tokens_up() {
    let seen = record(Exclusive, &[]);
    let now = micros(exact().stamp);
    let most = now + rules::MAX_LEAD;
    for (floor, granted) in [(most, most), (most + 1, now), (u64::MAX, now)] {
        assert_eq!(
            token(Some(&seen), &asking("a1", Exclusive, floor), &exact()),
            granted
        );
    }
    let mut lost = exact();
    lost.stamp = Timestamp::from_millis(i64::MAX);
    lost.token_floor = 0;
    assert_eq!(
        token(Some(&seen), &asking("a1", Exclusive, u64::MAX), &lost),
        8
    );
}

fn raising(name: &str, mode: Mode, to: u64) -> RenewRequest {
    RenewRequest {
        raise_token: Some(to),
        ..renewal(name, mode)
    }
}

#[test]
fn a_renewal_raises_the_token_of_its_holder_and_of_the_record() {
    for mode in [Exclusive, Shared] {
        let seen = record(mode, &[holder("a1", TTL)]);
        let Renewed::Write(next) = renew(Some(&seen), &raising("a1", mode, 9), &exact()) else {
            panic!("not renewed");
        };
        assert_eq!((next.token, next.holders[0].token), (9, Some(9)));
        assert_eq!(next.holders[0].seq, 4);
    }
}

#[test]
fn a_token_is_raised_whichever_attempt_stands() {
    let seen = record(Exclusive, &[holder("a1", TTL)]);
    for (asked, stands) in [(2, 3), (3, 3), (4, 4)] {
        let mut request = raising("a1", Exclusive, 9);
        request.seq = asked;
        let Renewed::Write(next) = renew(Some(&seen), &request, &exact()) else {
            panic!("not renewed");
        };
        assert_eq!((next.token, next.holders[0].seq), (9, stands));
    }
}

/// Its answer was lost: what is asked for once more stands already.
#[test]
fn a_token_is_raised_once() {
    for mode in [Exclusive, Shared] {
        let mut raised = record(mode, &[holder("a1", TTL)]);
        raised.token = 9;
        raised.holders[0].token = Some(9);
        let Renewed::Write(next) = renew(Some(&raised), &raising("a1", mode, 9), &exact()) else {
            panic!("not renewed");
        };
        assert_eq!((next.token, next.holders[0].token), (9, Some(9)));
        let mut again = raising("a1", mode, 9);
        again.seq = 3;
        let newer = renew(Some(&raised), &again, &exact());
        assert!(matches!(newer, Renewed::Newer { seq: 3, .. }), "{newer:?}");
    }
}

/// Where the holder has no token of its own, as in a DynamoDB item.
#[test]
fn a_token_is_raised_once_where_the_record_has_the_only_one() {
    let mut seen = record(Exclusive, &[holder("a1", TTL)]);
    seen.holders[0].token = None;
    for (stands, becomes) in [(7, 9), (9, 9)] {
        seen.token = stands;
        let Renewed::Write(next) = renew(Some(&seen), &raising("a1", Exclusive, 9), &exact())
        else {
            panic!("not renewed");
        };
        assert_eq!((next.token, next.holders[0].token), (becomes, None));
    }
}

/// Two sharers must not be raised to one token.
#[test]
fn a_token_that_a_later_grant_has_is_nobody_elses() {
    let mut seen = record(Shared, &[holder("a1", TTL), holder("b1", TTL)]);
    seen.token = 9;
    seen.holders[1].token = Some(9);
    for (to, passed) in [(8, true), (9, true), (10, false)] {
        let outcome = renew(Some(&seen), &raising("a1", Shared, to), &exact());
        assert_eq!(outcome == Renewed::Passed, passed, "{to}: {outcome:?}");
    }
}

#[test]
fn a_lower_token_raises_nothing() {
    let seen = record(Exclusive, &[holder("a1", TTL)]);
    for to in [0, 6, 7] {
        let Renewed::Write(next) = renew(Some(&seen), &raising("a1", Exclusive, to), &exact())
        else {
            panic!("not renewed");
        };
        assert_eq!(next.token, 7);
    }
}

#[test]
fn who_raises_a_token_must_hold_by_the_old_one() {
    let mut seen = record(Exclusive, &[holder("a1", TTL)]);
    seen.token = 8;
    seen.holders[0].token = Some(8);
    let late = renew(Some(&seen), &raising("a1", Exclusive, 9), &exact());
    assert_eq!(late, Renewed::Lost);
}

fn giving_back(name: &str, attempt: u64) -> ReleaseRequest {
    ReleaseRequest {
        attempt: Some(attempt),
        ..ending(name)
    }
}

#[test]
fn an_attempt_that_is_given_back_leaves_later_ones() {
    let seen = record(Exclusive, &[holder("a1", TTL)]);
    assert_eq!(
        release(Some(&seen), &giving_back("a1", 2), &exact()),
        Released::NotHeld
    );
    for attempt in [3, 4] {
        let Released::Write(next) = release(Some(&seen), &giving_back("a1", attempt), &exact())
        else {
            panic!("not released");
        };
        assert_eq!((next.holders.len(), next.token), (0, 7));
    }
}

#[test]
fn an_acquisition_goes_on_when_an_attempt_was_given_back() {
    let mut seen = record(Exclusive, &[holder("a1", TTL)]);
    seen.closed = Some(id("z1"));
    let Released::Write(next) = release(Some(&seen), &giving_back("a1", 3), &exact()) else {
        panic!("not released");
    };
    assert_eq!(next.closed, Some(id("z1")));
    assert!(matches!(
        admit(Some(&next), &acquire("a1", Exclusive), &exact()),
        Verdict::Granted(_)
    ));
}
