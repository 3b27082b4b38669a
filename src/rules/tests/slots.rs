use super::*;

use crate::backend::{Slot, SlotStart};
use Mode::Exclusive;

const HOUR: i64 = 3_600_000;
/// [`NOW`] is 13 minutes and 20 seconds past this full hour.
const FULL: i64 = -800_000;
const FOREVER: Timestamp = Timestamp::from_millis(253_402_300_799_000);

fn run(name: &str, start: SlotStart, until_done: bool) -> AcquireRequest {
    AcquireRequest {
        slot: Some(Slot { start, until_done }),
        ..acquire(name, Exclusive)
    }
}

fn hourly(name: &str) -> AcquireRequest {
    run(name, SlotStart::Every(ms(HOUR)), false)
}

fn given(name: &str, start: i64) -> AcquireRequest {
    run(name, SlotStart::At(at(start)), false)
}

/// With when the newest slots began and succeeded.
fn past(started: Option<i64>, done: Option<i64>) -> LockRecord {
    LockRecord {
        slot_started: started.map(at),
        slot_done: done.map(at),
        ..record(Exclusive, &[])
    }
}

/// As started, done, the slot that is asked for, and whether it runs: at most once, until done.
#[test]
fn a_slot_runs_as_often_as_it_says() {
    let (before, now, later) = (Some(-HOUR), Some(0), Some(HOUR));
    for (started, done, once, until_done) in [
        (None, None, true, true),
        (before, None, true, true),
        (before, before, true, true),
        // Begun, and it failed or crashed; or the other kind of job did it.
        (now, None, false, true),
        (now, before, false, true),
        (now, now, false, false),
        // Covered by a later one, whatever became of that.
        (later, None, false, false),
        (later, before, false, false),
        (later, now, false, false),
    ] {
        let seen = past(started, done);
        for (repeats, runs) in [(false, once), (true, until_done)] {
            let request = run("a1", SlotStart::At(at(0)), repeats);
            match admit(Some(&seen), &request, &exact()) {
                Verdict::Granted(next) => {
                    assert!(runs, "{seen:?}");
                    assert_eq!(
                        (next.slot_started, next.slot_done),
                        (Some(at(0)), seen.slot_done)
                    );
                    assert_eq!((next.pinned, next.purge_at), (Some(FOREVER), Some(FOREVER)));
                }
                verdict => {
                    assert_eq!(verdict, Verdict::Skipped(None));
                    assert!(!runs, "{seen:?}");
                }
            }
        }
    }
}

#[test]
fn the_first_run_of_all_pins_its_record() {
    let next = granted(None, &hourly("a1"), &exact());
    assert_eq!((next.slot_started, next.slot_done), (Some(at(FULL)), None));
    assert_eq!((next.pinned, next.purge_at), (Some(FOREVER), Some(FOREVER)));
    let plain = granted(None, &acquire("a1", Exclusive), &exact());
    assert_eq!((plain.slot_started, plain.pinned), (None, None));
}

/// Whoever acquires the same key for no slot neither starts nor skips one.
#[test]
fn a_plain_lock_leaves_the_slots_alone() {
    let seen = past(Some(FULL), None);
    let next = granted(Some(&seen), &acquire("a1", Exclusive), &exact());
    assert_eq!(next.slot_started, Some(at(FULL)));
}

#[test]
fn a_slot_is_a_whole_multiple_of_its_period() {
    for (period, start) in [
        (5000, 0),
        (HOUR, FULL),
        (24 * HOUR, -22 * HOUR + FULL),
        // Longer than all time so far: the epoch.
        (100 * 365 * 24 * HOUR, -NOW),
    ] {
        let request = run("a1", SlotStart::Every(ms(period)), false);
        // Well within the slot of 5 seconds.
        let time = ServerTime::exact(at(2000), ms(SKEW));
        let next = granted(Some(&past(None, None)), &request, &time);
        assert_eq!(next.slot_started, Some(at(start)), "every {period} ms");
    }
}

/// Until the whole interval lies in one slot: judged by a clock that is a little behind, the next slot would be this one.
/// Nor is the very first run an exception, or its trigger would run twice, by two hosts in two slots.
#[test]
fn nobody_runs_at_the_border_of_two_slots() {
    let border = FULL + HOUR;
    for (now, slot, wait) in [
        (border - SKEW - 1, Some(FULL), None),
        (border - SKEW, None, Some(2 * SKEW)),
        (border, None, Some(SKEW)),
        (border + SKEW - 1, None, Some(1)),
        (border + SKEW, Some(border), None),
    ] {
        let time = ServerTime::exact(at(now), ms(SKEW));
        for seen in [None, Some(past(Some(FULL - HOUR), None))] {
            match admit(seen.as_ref(), &hourly("a1"), &time) {
                Verdict::Granted(next) => assert_eq!(next.slot_started, slot.map(at), "{now}"),
                Verdict::Held { contention, mended } => {
                    assert_eq!((contention.reason, mended), (Reason::Border, None));
                    assert_eq!(Some(contention.free_in), wait.map(ms), "{now}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// A given slot has a name: the border cannot confuse it. It only must not be in the future.
#[test]
fn a_given_slot_waits_until_it_has_begun() {
    for (time, latest) in [(exact(), SKEW), (interval(), 2000)] {
        for seen in [None, Some(past(Some(-HOUR), None))] {
            let next = granted(seen.as_ref(), &given("a1", latest), &time);
            assert_eq!(next.slot_started, Some(at(latest)));
            let verdict = admit(seen.as_ref(), &given("a1", latest + 7), &time);
            let Verdict::Held { contention, mended } = verdict else {
                panic!("{verdict:?}");
            };
            assert_eq!((contention.reason, mended), (Reason::Border, None));
            assert_eq!(contention.free_in, ms(7));
        }
    }
}

/// Others wait for a run that outlasts its slot. The slots that it covered are dropped, the present one runs.
#[test]
fn a_run_that_outlasts_its_slot_keeps_others_out() {
    let running = LockRecord {
        holders: vec![holder("b1", TTL)],
        ..past(Some(FULL - 3 * HOUR), None)
    };
    let (contention, _) = refused(&running, &hourly("a1"), &exact());
    assert_eq!(contention.reason, Reason::Busy);
    let ended = past(running.slot_started.map(|_| FULL - 3 * HOUR), None);
    let next = granted(Some(&ended), &hourly("a1"), &exact());
    assert_eq!(next.slot_started, Some(at(FULL)));
    let covered = given("c1", FULL - 2 * HOUR);
    let after = past(next.slot_started.map(|_| FULL), None);
    assert_eq!(
        admit(Some(&after), &covered, &exact()),
        Verdict::Skipped(None)
    );
}

#[test]
fn a_slot_that_runs_is_skipped_unless_it_may_have_to_be_repeated() {
    let running = LockRecord {
        holders: vec![holder("b1", TTL)],
        queue: vec![waiting("x1", Exclusive)],
        ..past(Some(0), None)
    };
    assert_eq!(
        admit(Some(&running), &given("a1", 0), &exact()),
        Verdict::Skipped(None)
    );
    let until_done = run("a1", SlotStart::At(at(0)), true);
    refused(&running, &until_done, &exact());
}

/// The answer to its first attempt got lost.
#[test]
fn a_run_is_granted_again_to_itself() {
    let seen = LockRecord {
        holders: vec![holder("a1", TTL)],
        ..past(Some(0), None)
    };
    let verdict = admit(Some(&seen), &given("a1", 0), &exact());
    assert_eq!(verdict, Verdict::Existing(seen.holders[0].clone()));
}

#[test]
fn a_run_queues_as_any_other() {
    let seen = LockRecord {
        queue: vec![waiting("x1", Exclusive), waiting("a1", Exclusive)],
        free_at: Some(at(0)),
        ..past(Some(-HOUR), None)
    };
    let request = AcquireRequest {
        slot: given("a1", 0).slot,
        ..fair("a1", Exclusive)
    };
    let (contention, _) = queued(&seen, &request, &exact());
    assert_eq!(contention.ahead, 1);
}
