use super::*;

use Mode::{Exclusive, Shared};

#[test]
fn a_record_that_is_not_there_is_created() {
    let next = granted(None, &acquire("a1", Exclusive), &exact());
    let expected = Holder {
        token: Some(next.token),
        ..Holder::new(Some(claimant("a1")), at(0), at(TTL), ttl(TTL), 1)
    };
    assert_eq!(next.holders, [expected]);
    assert_eq!((next.rev, next.mode), (1, Exclusive));
    assert_eq!(next.purge_at, Some(at(TTL).saturating_add(RETENTION)));
}

#[test]
fn a_token_is_the_next_one_and_at_least_the_floor() {
    let floor = NOW.unsigned_abs() * 1000;
    for (last, time, token) in [
        (None, exact(), floor),
        (Some(7), exact(), floor),
        (Some(floor - 1), exact(), floor),
        (Some(floor), exact(), floor + 1),
        (Some(floor + 5000), exact(), floor + 5001),
        (Some(7), interval(), 8),
    ] {
        let seen = last.map(|token| LockRecord {
            token,
            ..record(Exclusive, &[])
        });
        let next = granted(seen.as_ref(), &acquire("a1", Exclusive), &time);
        assert_eq!(next.token, token, "{last:?}");
        assert_eq!(next.holders[0].token, Some(token));
    }
}

#[test]
fn an_expiry_counts_from_the_stamp_and_is_padded() {
    let seen = record(Exclusive, &[]);
    let next = granted(Some(&seen), &acquire("a1", Exclusive), &interval());
    assert_eq!(next.holders[0].acquired_at, at(2000));
    assert_eq!(next.holders[0].expires_at, at(2000 + TTL + 1500));
}

/// Not at the end of its time but `clock_skew` later: another server's clock may be behind.
#[test]
fn a_holder_is_expired_at_earliest_and_not_before() {
    for (expires, time, live) in [
        (-SKEW, exact(), false),
        (-SKEW + 1, exact(), true),
        (0, exact(), true),
        (-1000, interval(), false),
        (-999, interval(), true),
    ] {
        let seen = record(Exclusive, &[holder("b1", expires)]);
        let verdict = admit(Some(&seen), &acquire("a1", Exclusive), &time);
        let is_held = matches!(verdict, Verdict::Held { .. });
        assert_eq!(is_held, live, "expires at {expires}");
    }
}

#[test]
fn modes_stand_side_by_side_only_with_their_kind_and_with_room() {
    for (held, live, wanted, fits) in [
        (Exclusive, 1, Exclusive, false),
        (Exclusive, 1, Shared, false),
        (Exclusive, 1, PERMITS(9), false),
        (Shared, 1, Exclusive, false),
        (Shared, 3, Shared, true),
        (Shared, 255, Shared, true),
        (Shared, 256, Shared, false),
        (Shared, 1, PERMITS(9), false),
        (PERMITS(9), 1, Exclusive, false),
        (PERMITS(9), 1, Shared, false),
        (PERMITS(3), 2, PERMITS(3), true),
        (PERMITS(3), 3, PERMITS(3), false),
        // The request's limit rules.
        (PERMITS(3), 3, PERMITS(4), true),
        (PERMITS(3), 1, PERMITS(1), false),
        (PERMITS(3), 0, PERMITS(1), true),
        (Shared, 0, Exclusive, true),
    ] {
        let holder = |n| Holder {
            claimant: Some(Claimant {
                owner: owner(&format!("owner {n}")),
                id: id(&format!("id {n}")),
            }),
            ..holder("b1", TTL)
        };
        let holders: Vec<_> = (0..live).map(holder).collect();
        let seen = record(held, &holders);
        let case = format!("{wanted:?} beside {live} of {held:?}");
        match admit(Some(&seen), &acquire("a1", wanted), &exact()) {
            Verdict::Granted(next) => {
                assert!(fits, "{case}");
                assert_eq!(next.holders.len(), live + 1, "{case}");
                assert_eq!(next.mode, wanted, "{case}");
            }
            Verdict::Held { contention, mended } => {
                assert!(!fits, "{case}");
                assert_eq!((contention.reason, mended), (Reason::Busy, None), "{case}");
                assert_eq!(contention.occupants.len(), live, "{case}");
            }
            other => panic!("{case}: {other:?}"),
        }
    }
}

#[test]
fn a_grant_evicts_the_expired_and_nobody_else() {
    let holders = [holder("b1", -TTL), holder("c1", TTL), holder("d1", -SKEW)];
    let mut seen = record(Shared, &holders);
    seen.queue = vec![waiter("e1", -SKEW)];
    let next = granted(Some(&seen), &acquire("a1", Shared), &exact());
    assert_eq!(ids(&next), ["c1", "a1"]);
    assert_eq!(next.holders[0], holders[1]);
    assert!(next.queue.is_empty());
}

#[test]
fn a_watched_holder_is_dead_in_the_attempt_that_was_watched() {
    for (name, seq, dead) in [("b1", 3, true), ("b1", 2, false), ("b2", 3, false)] {
        let seen = record(Exclusive, &[holder("b1", TTL)]);
        let mut request = acquire("a1", Exclusive);
        request.watched = vec![Watched { id: id(name), seq }];
        let verdict = admit(Some(&seen), &request, &exact());
        assert_eq!(matches!(verdict, Verdict::Granted(_)), dead, "{name} {seq}");
    }
}

#[test]
fn a_minimum_hold_is_in_the_way_of_everybody_until_it_expires() {
    let seen = record(Exclusive, &[linger(TTL)]);
    let (contention, _) = refused(&seen, &acquire("a1", Exclusive), &exact());
    assert_eq!(contention.occupants[0].claimant, None);
    assert_eq!(contention.free_in, ms(TTL + SKEW));
    let next = granted(
        Some(&record(Exclusive, &[linger(-TTL)])),
        &acquire("a1", Exclusive),
        &exact(),
    );
    assert_eq!((ids(&next), next.closed.clone()), (vec!["a1"], None));
}

#[test]
fn a_grant_is_recognised_by_id_and_mode() {
    let seen = record(PERMITS(2), &[holder("a1", -TTL)]);
    // Expired or not, whatever the limit, closed or not: the lease's own clock decides what it is worth.
    for closed in [None, Some(id("a1"))] {
        let seen = LockRecord {
            closed,
            ..seen.clone()
        };
        let verdict = admit(Some(&seen), &acquire("a1", PERMITS(5)), &exact());
        assert_eq!(verdict, Verdict::Existing(seen.holders[0].clone()));
    }
    let (contention, mended) = refused(&seen, &acquire("a1", Exclusive), &exact());
    assert_eq!((contention.reason, mended), (Reason::Busy, None));
}

/// By its id, never by its owner: a sharer's upgrade that was refused finds its own owner there, too.
#[test]
fn a_refused_upgrade_is_not_a_grant() {
    let seen = record(Shared, &[holder("a1", TTL), holder("b1", TTL)]);
    let (contention, _) = refused(&seen, &acquire("a2", Exclusive), &exact());
    assert_eq!(contention.reason, Reason::Busy);
}

#[test]
fn a_closed_acquisition_is_refused() {
    let mut seen = record(Exclusive, &[]);
    seen.closed = Some(id("a1"));
    let (contention, mended) = refused(&seen, &acquire("a1", Exclusive), &exact());
    assert_eq!((contention.reason, mended), (Reason::Closed, None));
    assert_eq!(
        ids(&granted(Some(&seen), &acquire("a2", Exclusive), &exact())),
        ["a2"]
    );

    seen.holders = vec![holder("a2", TTL)];
    let (contention, _) = refused(&seen, &acquire("a1", Exclusive), &exact());
    assert_eq!(contention.reason, Reason::Replaced);
    seen.holders = vec![holder("b1", TTL)];
    let (contention, _) = refused(&seen, &acquire("a1", Exclusive), &exact());
    assert_eq!(contention.reason, Reason::Closed);
}

#[test]
fn an_owner_takes_its_own_lock_over() {
    for (held, wanted) in [(Exclusive, Exclusive), (PERMITS(2), PERMITS(1))] {
        let seen = record(held, &[holder("a1", TTL)]);
        let next = granted(Some(&seen), &acquire("a2", wanted), &interval());
        assert_eq!((ids(&next), next.mode), (vec!["a2"], wanted));
        assert_eq!((next.token, next.closed), (8, Some(id("a1"))));
    }
    let seen = record(PERMITS(2), &[holder("a1", TTL), holder("b1", TTL)]);
    let next = granted(Some(&seen), &acquire("a2", PERMITS(2)), &exact());
    assert_eq!(ids(&next), ["b1", "a2"]);
}

/// It may be a late request of a lease that is over.
#[test]
fn an_owners_lease_of_another_kind_gives_way_to_who_names_it_only() {
    for (held, wanted) in [
        (Exclusive, Shared),
        (Shared, Exclusive),
        (Shared, PERMITS(2)),
    ] {
        let seen = record(held, &[holder("a1", TTL)]);
        let late = acquire("a2", wanted);
        let (contention, _) = refused(&seen, &late, &exact());
        assert_eq!(contention.reason, Reason::Busy);
        assert_eq!(contention.free_in, ms(TTL + SKEW));
        let next = granted(Some(&seen), &change("a2", wanted, "a1"), &interval());
        assert_eq!((ids(&next), next.mode), (vec!["a2"], wanted));
        assert_eq!((next.token, next.closed), (8, Some(id("a1"))));
    }
}

/// Its lease ended, but the process it was granted to may wake up and send its acquisition again.
#[test]
fn an_owner_closes_its_own_expired_lock_too() {
    let seen = record(Exclusive, &[holder("a1", -TTL)]);
    let next = granted(Some(&seen), &acquire("a2", Exclusive), &exact());
    assert_eq!(
        (ids(&next), next.closed.clone()),
        (vec!["a2"], Some(id("a1")))
    );

    let mut seen = record(Exclusive, &[holder("b1", -TTL)]);
    seen.closed = Some(id("z1"));
    let next = granted(Some(&seen), &acquire("a2", Exclusive), &exact());
    assert_eq!(next.closed, Some(id("z1")));
}

/// As old ttl, new ttl, and when the old lease expires: the ttl and the expiry afterwards.
#[test]
fn a_takeover_of_ones_own_keeps_the_longer_ttl_and_the_later_expiry() {
    for (old, new, expires, ttl_after, expires_after) in [
        (TTL, TTL, 4000, TTL, TTL),
        (TTL, 2 * TTL, 4000, 2 * TTL, 2 * TTL),
        // The ttl stands for the validity of the grant if it is recognised later: the expiry must not be earlier.
        (60_000, TTL, 4000, 60_000, 60_000),
        (60_000, TTL, 60_400, 60_000, 60_400),
        // No longer alive: nothing of it is kept.
        (60_000, TTL, -SKEW, TTL, TTL),
    ] {
        let old = Holder {
            ttl: ttl(old),
            ..holder("a1", expires)
        };
        let mut request = acquire("a2", Exclusive);
        request.ttl = ttl(new);
        let next = granted(Some(&record(Exclusive, &[old])), &request, &exact());
        let mine = &next.holders[0];
        assert_eq!(
            (mine.ttl, mine.expires_at),
            (ttl(ttl_after), at(expires_after))
        );
        // Nobody who looks next finds it implausible.
        let (_, mended) = refused(&next, &acquire("b1", Exclusive), &exact());
        assert_eq!(mended, None);
    }
}

#[test]
fn newcomers_do_not_pass_a_live_waiter() {
    for (held, wanted) in [
        (Exclusive, Exclusive),
        (Shared, Shared),
        (Exclusive, PERMITS(3)),
    ] {
        let mut seen = record(held, &[]);
        seen.queue = vec![waiter("w1", -SKEW), waiter("x1", 4000)];
        let (contention, mended) = refused(&seen, &acquire("a1", wanted), &exact());
        assert_eq!((contention.reason, mended), (Reason::Queue, None));
        seen.queue.pop();
        assert!(
            granted(Some(&seen), &acquire("a1", wanted), &exact())
                .queue
                .is_empty()
        );
    }
}

#[test]
fn a_live_holder_is_no_newcomer_and_an_expired_one_is() {
    let mut seen = record(Shared, &[holder("a1", TTL)]);
    seen.queue = vec![waiter("w1", 4000)];
    let next = granted(Some(&seen), &change("a2", Exclusive, "a1"), &exact());
    assert_eq!(next.queue, seen.queue);
    seen.holders = vec![holder("a1", -TTL)];
    let (contention, _) = refused(&seen, &acquire("a2", Exclusive), &exact());
    assert_eq!(contention.reason, Reason::Queue);
}

/// By `latest`, never `earliest`: a wide interval would cut a lease that was just renewed.
#[test]
fn an_implausible_expiry_is_cut_by_whoever_sees_it() {
    let bound = TTL + 2000 + 1500;
    for (expires, cut) in [
        (bound, None),
        (bound + 1, Some(bound)),
        (i64::MAX / 2, Some(bound)),
    ] {
        let seen = record(Shared, &[holder("b1", expires)]);
        let (_, mended) = refused(&seen, &acquire("a1", Exclusive), &interval());
        let expected = cut.map(|cut| LockRecord {
            rev: 41,
            ..record(
                Shared,
                &[Holder {
                    expires_at: at(cut),
                    ..seen.holders[0].clone()
                }],
            )
        });
        assert_eq!(mended, expected, "{expires}");
        let next = granted(Some(&seen), &acquire("a1", Shared), &interval());
        assert_eq!(next.holders[0].expires_at, at(cut.unwrap_or(expires)));
    }
}

#[test]
fn an_implausible_waiter_does_not_block_for_ever() {
    let mut seen = record(Exclusive, &[]);
    seen.queue = vec![waiter("b1", 3_600_000)];
    let (contention, mended) = refused(&seen, &acquire("a1", Exclusive), &exact());
    assert_eq!(mended.unwrap().queue[0].expires_at, at(6000 + SKEW));
    assert_eq!(contention.free_in, ms(6000 + 2 * SKEW));
}

/// As the expiries of the holders: what to wait for.
#[test]
fn a_refusal_tells_when_there_may_be_room() {
    let own = holder("a1", 9000);
    for (held, wanted, expiries, free_in) in [
        (Exclusive, Exclusive, vec![4000], 4000),
        (Shared, Exclusive, vec![4000, 8000, 6000], 8000),
        (PERMITS(3), PERMITS(3), vec![4000, 8000, 6000], 4000),
        (PERMITS(3), PERMITS(2), vec![4000, 8000, 6000], 6000),
        (PERMITS(3), PERMITS(1), vec![4000, 8000, 6000], 8000),
    ] {
        let holders = expiries.iter().zip(["b1", "c1", "d1"]);
        let holders: Vec<_> = holders
            .map(|(expires, name)| holder(name, *expires))
            .collect();
        let (contention, _) = refused(&record(held, &holders), &acquire("a2", wanted), &exact());
        assert_eq!(
            contention.free_in,
            ms(free_in + SKEW),
            "{wanted:?} {expiries:?}"
        );
        // My own lease of the same kind is never in my way.
        let holders = [std::slice::from_ref(&own), &holders].concat();
        if held != Exclusive && held.same_kind(wanted) {
            let (contention, _) =
                refused(&record(held, &holders), &acquire("a2", wanted), &exact());
            assert_eq!(
                contention.free_in,
                ms(free_in + SKEW),
                "{wanted:?} {expiries:?}"
            );
            assert_eq!(contention.occupants[0].expires_in, ms(9000 + SKEW));
        }
    }
}

/// The dead in the queue are none to wait for.
#[test]
fn a_refusal_does_not_count_the_dead_who_queue() {
    let mut seen = record(Exclusive, &[]);
    seen.closed = Some(id("a1"));
    seen.queue = vec![waiter("w1", -SKEW)];
    let request = AcquireRequest {
        queueing: Queueing::Never,
        ..acquire("a1", Exclusive)
    };
    let (contention, _) = refused(&seen, &request, &exact());
    assert_eq!(
        (contention.reason, contention.free_in),
        (Reason::Closed, Duration::MAX)
    );
}

/// Not at once, or the refused would try again without a pause.
#[test]
fn a_refusal_by_a_queue_lasts_as_long_as_the_queue() {
    let mut seen = record(Shared, &[]);
    seen.queue = vec![waiter("w1", 5000), waiter("x1", 4000)];
    let (contention, _) = refused(&seen, &acquire("a1", Shared), &exact());
    assert_eq!(contention.free_in, ms(5000 + SKEW));
    seen.holders = vec![holder("b1", TTL)];
    let (contention, _) = refused(&seen, &acquire("a1", Exclusive), &exact());
    assert_eq!(contention.free_in, ms(TTL + SKEW));
}

#[test]
fn a_refusal_shows_live_holders_only() {
    let dead = holder("c1", TTL);
    let holders = [holder("b1", TTL), dead, holder("d1", -TTL)];
    let mut request = acquire("a1", Exclusive);
    request.watched = vec![Watched {
        id: id("c1"),
        seq: 3,
    }];
    let (contention, _) = refused(&record(Shared, &holders), &request, &exact());
    let shown: Vec<_> = contention
        .occupants
        .iter()
        .map(|o| o.claimant.clone())
        .collect();
    assert_eq!(shown, [Some(claimant("b1"))]);
}

#[test]
fn a_pinned_record_is_never_purged() {
    let forever = Timestamp::from_millis(253_402_300_799_000);
    let mut seen = record(Exclusive, &[]);
    seen.pinned = Some(forever);
    let next = granted(Some(&seen), &acquire("a1", Exclusive), &exact());
    assert_eq!((next.purge_at, next.pinned), (Some(forever), Some(forever)));
}

#[test]
fn a_grant_keeps_what_is_not_its_own() {
    let mut seen = record(Exclusive, &[]);
    seen.free_at = Some(at(-3));
    seen.closed = Some(id("z9"));
    seen.slot_started = Some(at(-4));
    seen.slot_done = Some(at(-5));
    seen.state = Some(crate::record::Payload::from_record("{}".into()));
    let mut next = granted(Some(&seen), &acquire("a1", Exclusive), &exact());
    assert_eq!(next.rev, seen.rev + 1);
    (next.rev, next.token, next.purge_at) = (seen.rev, seen.token, seen.purge_at);
    next.holders.clear();
    assert_eq!(next, seen);
}

/// Somebody may have been in between, unless it stands there still, expired or not.
#[test]
fn a_change_of_mode_needs_the_lease_that_it_replaces() {
    let change = change("a2", Exclusive, "a1");
    for expires in [TTL, -TTL] {
        let seen = record(Shared, &[holder("a1", expires)]);
        let next = granted(Some(&seen), &change, &exact());
        assert_eq!((ids(&next), &next.closed), (vec!["a2"], &Some(id("a1"))));
    }
    for seen in [
        record(Shared, &[]),
        record(Shared, &[holder("a3", TTL)]),
        record(Shared, &[holder("b1", -TTL)]),
    ] {
        let (refusal, mended) = refused(&seen, &change, &exact());
        assert_eq!((refusal.reason, mended), (Reason::Replaced, None));
    }
    let Verdict::Held { contention, .. } = admit(None, &change, &exact()) else {
        panic!("granted where there is nothing");
    };
    assert_eq!(contention.reason, Reason::Replaced);
}
