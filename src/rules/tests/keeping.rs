use super::*;

use Mode::{Exclusive, Shared};

#[track_caller]
fn renewed(seen: &LockRecord, request: &RenewRequest, time: &ServerTime) -> LockRecord {
    match renew(Some(seen), request, time) {
        Renewed::Write(next) => *next,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_renewal_changes_its_holder_and_nothing_else() {
    let mut seen = record(Shared, &[holder("b1", TTL), holder("a1", 3000)]);
    seen.closed = Some(id("z1"));
    let next = renewed(&seen, &renewal("a1", Shared), &exact());
    seen.rev += 1;
    seen.holders[1].expires_at = at(TTL);
    seen.holders[1].seq = 4;
    seen.purge_at = Some(at(TTL).saturating_add(RETENTION));
    assert_eq!(next, seen);
}

#[test]
fn a_lease_that_expired_but_that_nobody_evicted_lives_on() {
    let seen = record(Exclusive, &[holder("a1", -60_000)]);
    let next = renewed(&seen, &renewal("a1", Exclusive), &exact());
    assert_eq!((next.token, next.holders[0].expires_at), (7, at(TTL)));
}

#[test]
fn a_lease_that_is_not_there_is_lost() {
    let held = record(Exclusive, &[holder("a1", TTL)]);
    assert_eq!(
        renew(None, &renewal("a1", Exclusive), &exact()),
        Renewed::Lost
    );
    for (name, mode, token) in [
        ("a2", Exclusive, 7),
        ("b1", Exclusive, 7),
        ("a1", Shared, 7),
        ("a1", Exclusive, 6),
        ("a1", Exclusive, 8),
    ] {
        let request = RenewRequest {
            token,
            ..renewal(name, mode)
        };
        assert_eq!(
            renew(Some(&held), &request, &exact()),
            Renewed::Lost,
            "{request:?}"
        );
    }
}

/// Each holder's where the record keeps it, besides the record's own for an exclusive lease.
#[test]
fn a_lease_that_was_granted_anew_is_lost() {
    for (mode, mine, last, lost) in [
        (Exclusive, Some(7), 7, false),
        (Exclusive, Some(7), 8, true),
        (Exclusive, Some(8), 7, true),
        (Exclusive, None, 7, false),
        (Exclusive, None, 8, true),
        (Shared, Some(7), 9, false),
        (Shared, Some(8), 9, true),
        (Shared, None, 9, false),
        (PERMITS(2), Some(8), 9, true),
    ] {
        let mut seen = record(mode, &[holder("a1", TTL)]);
        (seen.holders[0].token, seen.token) = (mine, last);
        let renewed = renew(Some(&seen), &renewal("a1", mode), &exact());
        assert_eq!(renewed == Renewed::Lost, lost, "{mode:?} {mine:?} {last}");
    }
}

#[test]
fn a_late_duplicate_of_a_renewal_changes_nothing() {
    for (standing, duplicate) in [(3, false), (4, true), (5, true)] {
        let mut seen = record(Exclusive, &[holder("a1", 3000)]);
        seen.holders[0].seq = standing;
        let newer = Renewed::Newer {
            seq: standing,
            expires_at: at(3000),
            ttl: ttl(TTL),
        };
        let renewed = renew(Some(&seen), &renewal("a1", Exclusive), &exact());
        assert_eq!(renewed == newer, duplicate, "{standing}");
    }
}

#[test]
fn a_renewal_raises_the_ttl_and_never_lowers_it() {
    for (standing, asked, after) in [
        (TTL, TTL, TTL),
        (TTL, 2 * TTL, 2 * TTL),
        (2 * TTL, TTL, 2 * TTL),
    ] {
        for (time, start) in [(exact(), 0), (interval(), 2000 + 1500)] {
            let mut seen = record(Shared, &[holder("a1", 3000)]);
            seen.holders[0].ttl = ttl(standing);
            let mut request = renewal("a1", Shared);
            request.ttl = ttl(asked);
            let next = renewed(&seen, &request, &time);
            let mine = &next.holders[0];
            assert_eq!((mine.ttl, mine.expires_at), (ttl(after), at(start + after)));
        }
    }
}

#[test]
fn a_later_expiry_stays_unless_the_clock_is_verified() {
    let verified = interval();
    let unverified = ServerTime {
        keep_later_expiry: true,
        ..verified
    };
    for (time, later, after) in [
        (exact(), 15_000, 15_000),
        (exact(), 9000, TTL),
        (unverified, 15_000, 15_000),
        (unverified, 13_000, TTL + 3500),
        (verified, 15_000, TTL + 3500),
    ] {
        let seen = record(Exclusive, &[holder("a1", later)]);
        let next = renewed(&seen, &renewal("a1", Exclusive), &time);
        assert_eq!(next.holders[0].expires_at, at(after), "{later}");
        assert_eq!(next.purge_at, Some(at(after).saturating_add(RETENTION)));
    }
}

#[test]
fn a_grant_by_a_wrong_clock_is_stamped_anew_on_request() {
    let seen = record(Exclusive, &[holder("a1", 3000)]);
    for (restamp, acquired) in [(false, 3000 - TTL), (true, 2000)] {
        let mut request = renewal("a1", Exclusive);
        request.restamp = restamp;
        let next = renewed(&seen, &request, &interval());
        assert_eq!(next.holders[0].acquired_at, at(acquired));
    }
}

#[test]
fn a_pinned_record_stays_pinned() {
    let forever = Timestamp::from_millis(253_402_300_799_000);
    let mut seen = record(Exclusive, &[holder("a1", 3000)]);
    seen.pinned = Some(forever);
    let next = renewed(&seen, &renewal("a1", Exclusive), &exact());
    assert_eq!(next.purge_at, Some(forever));
}

#[test]
fn a_release_removes_its_holder_and_keeps_the_rest() {
    let seen = record(
        Shared,
        &[holder("b1", TTL), holder("a1", TTL), holder("c1", -TTL)],
    );
    let Released::Write(next) = release(Some(&seen), &ending("a1"), &interval()) else {
        panic!("not released");
    };
    let expected = LockRecord {
        rev: 41,
        free_at: Some(at(2000)),
        closed: Some(id("a1")),
        ..record(Shared, &[holder("b1", TTL), holder("c1", -TTL)])
    };
    assert_eq!(*next, expected);
}

#[test]
fn an_expired_lease_is_released_all_the_same() {
    let seen = record(Exclusive, &[holder("a1", -60_000)]);
    let released = release(Some(&seen), &ending("a1"), &exact());
    assert!(matches!(released, Released::Write(next) if next.holders.is_empty()));
}

#[test]
fn a_release_touches_nobody_else() {
    let held = record(Exclusive, &[holder("a1", TTL)]);
    let closed = |name| LockRecord {
        closed: Some(id(name)),
        ..held.clone()
    };
    for (seen, name, expected) in [
        (None, "a1", Released::NotHeld),
        (Some(held.clone()), "a2", Released::NotHeld),
        (Some(held.clone()), "b1", Released::NotHeld),
        (Some(closed("b1")), "a2", Released::NotHeld),
        (Some(closed("a2")), "a2", Released::Already),
        (Some(closed("b1")), "b1", Released::Already),
    ] {
        assert_eq!(
            release(seen.as_ref(), &ending(name), &exact()),
            expected,
            "{name}"
        );
    }
}

/// By its id: a request that names another owner must not end that one's lease.
#[test]
fn a_release_goes_by_the_id_alone() {
    let seen = record(Shared, &[holder("a1", TTL), holder("b1", TTL)]);
    let mut request = ending("a1");
    request.owner = owner("b");
    let released = release(Some(&seen), &request, &exact());
    assert!(matches!(released, Released::Write(next) if ids(&next) == ["b1"]));
}

#[test]
fn a_token_floor_is_in_microseconds() {
    for (ms, floor) in [(-1, 0), (0, 0), (1, 1000), (NOW, 1_700_000_000_000_000)] {
        assert_eq!(micros(Timestamp::from_millis(ms)), floor);
    }
    let late_2254 = 8_993_000_000_000;
    assert!(micros(Timestamp::from_millis(late_2254)) < 1 << 53);
}
