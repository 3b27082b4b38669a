//! The one run of a key, and what its release leaves.

use super::*;
use crate::Payload;
use crate::backend::{Slot, SlotStart};
use Mode::Exclusive;

const EPOCH: Timestamp = Timestamp::from_millis(0);
const FOREVER: Timestamp = Timestamp::from_millis(253_402_300_799_000);

fn run(name: &str, until_done: bool) -> AcquireRequest {
    let start = SlotStart::Once;
    AcquireRequest {
        slot: Some(Slot { start, until_done }),
        ..acquire(name, Exclusive)
    }
}

fn state(text: &str) -> Payload {
    Payload::new(&text).unwrap()
}

fn past(started: Option<Timestamp>, done: Option<Timestamp>) -> LockRecord {
    LockRecord {
        slot_started: started,
        slot_done: done,
        state: Some(state("told")),
        ..record(Exclusive, &[])
    }
}

fn stating(text: &str, keep: Option<Duration>) -> ReleaseRequest {
    ReleaseRequest {
        state: Some(state(text)),
        keep,
        ..ending("a1")
    }
}

#[track_caller]
fn released(seen: &LockRecord, request: &ReleaseRequest) -> LockRecord {
    match release(Some(seen), request, &exact()) {
        Released::Write(next) => *next,
        other => panic!("{other:?}"),
    }
}

/// It has no border, and is forgotten as any lock is.
#[test]
fn the_one_run_starts_at_the_epoch_and_does_not_pin_its_record() {
    let wide = ServerTime {
        earliest: at(-1_000_000),
        ..interval()
    };
    for time in [exact(), interval(), wide] {
        for seen in [None, Some(record(Exclusive, &[]))] {
            let next = granted(seen.as_ref(), &run("a1", true), &time);
            let plain = granted(seen.as_ref(), &acquire("a1", Exclusive), &time);
            assert_eq!((next.slot_started, next.slot_done), (Some(EPOCH), None));
            assert_eq!((next.pinned, next.purge_at), (None, plain.purge_at));
        }
    }
}

#[test]
fn a_pinned_record_stays_pinned() {
    let mut seen = past(None, None);
    seen.pinned = Some(FOREVER);
    let next = granted(Some(&seen), &run("a1", true), &exact());
    assert_eq!((next.pinned, next.purge_at), (Some(FOREVER), Some(FOREVER)));
    let after = released(&next, &stating("done", Some(RETENTION)));
    assert_eq!(after.purge_at, Some(FOREVER));
}

/// As started, done, and whether it runs: at most once, until done.
#[test]
fn the_one_run_is_repeated_until_it_is_done() {
    for (started, done, once, until_done) in [
        (None, None, true, true),
        (Some(EPOCH), None, false, true),
        (Some(EPOCH), Some(EPOCH), false, false),
        // A scheduled job's key.
        (Some(at(0)), None, false, false),
    ] {
        let seen = past(started, done);
        for (repeats, runs) in [(false, once), (true, until_done)] {
            match admit(Some(&seen), &run("a1", repeats), &exact()) {
                Verdict::Granted(next) => {
                    assert!(runs, "{seen:?}");
                    assert_eq!(next.slot_started, Some(EPOCH));
                    assert_eq!(next.state, seen.state, "what an earlier run left");
                }
                verdict => {
                    assert!(!runs, "{seen:?}");
                    assert_eq!(verdict, Verdict::Skipped(Some(state("told"))));
                }
            }
        }
    }
}

#[test]
fn a_release_leaves_its_state_and_says_how_long_it_is_kept() {
    let mut seen = past(Some(EPOCH), None);
    seen.holders = vec![holder("a1", TTL)];
    seen.purge_at = Some(at(5));
    let hour = Duration::from_hours(1);
    let ages = Duration::from_hours(200 * 365 * 24);
    for (keep, purge_at) in [
        (None, at(5)),
        (Some(Duration::ZERO), at(0).saturating_add(RETENTION)),
        (Some(RETENTION / 2), at(0).saturating_add(RETENTION)),
        (
            Some(RETENTION + hour),
            at(0).saturating_add(RETENTION + hour),
        ),
        (Some(ages), at(0).saturating_add(ages / 2)),
        (Some(Duration::MAX), at(0).saturating_add(ages / 2)),
    ] {
        let next = released(&seen, &stating("done", keep));
        assert_eq!(next.state, Some(state("done")));
        assert_eq!(next.purge_at, Some(purge_at), "{keep:?}");
    }
    let plain = released(&seen, &ending("a1"));
    assert_eq!((plain.state, plain.purge_at), (seen.state, Some(at(5))));
}

/// It counts from the release, not from the time that the record shows.
#[test]
fn a_record_is_kept_from_its_release_on() {
    let seen = record(Exclusive, &[holder("a1", TTL)]);
    let Released::Write(next) = release(Some(&seen), &stating("x", Some(RETENTION)), &interval())
    else {
        panic!("not released");
    };
    let purge_at = interval().stamp.saturating_add(RETENTION);
    assert_eq!(next.purge_at, Some(purge_at));
}

#[test]
fn who_leaves_the_queue_has_nothing_to_tell() {
    let mut seen = past(None, None);
    seen.queue = vec![waiting("a1", Exclusive)];
    let next = released(&seen, &stating("done", Some(RETENTION)));
    assert_eq!((next.state, next.purge_at), (seen.state, seen.purge_at));
}

/// Ended by force, or by its owner's next acquisition: whoever believed that its result is stored would be wrong.
#[test]
fn a_repeated_release_is_released_only_if_its_state_stands() {
    let mut seen = past(Some(EPOCH), None);
    seen.closed = Some(id("a1"));
    let again = |text| release(Some(&seen), &stating(text, None), &exact());
    assert_eq!(again("told"), Released::Already);
    assert_eq!(again("done"), Released::NotHeld);
    let plain = release(Some(&seen), &ending("a1"), &exact());
    assert_eq!(plain, Released::Already);
}

/// An earlier run may have left the same words, and was no final one.
#[test]
fn a_repeated_release_is_released_only_if_its_slot_is_done() {
    for (done, is_written) in [
        (None, false),
        (Some(at(-1)), false),
        (Some(at(0)), true),
        (Some(at(1)), true),
    ] {
        let mut seen = past(Some(at(0)), done);
        seen.closed = Some(id("a1"));
        let mut request = stating("told", None);
        request.slot_done = Some(at(0));
        let again = release(Some(&seen), &request, &exact());
        assert_eq!(
            again == Released::Already,
            is_written,
            "{done:?}: {again:?}"
        );
    }
}
