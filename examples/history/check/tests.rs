//! Each invariant: a small history that violates it and nothing else, and one that comes near and does not.

use super::{Bounds, Report, check};
use crate::history::{Event, Side, What};

const BOUNDS: Bounds = Bounds {
    uncertainty: 10,
    grace: 5,
    attempt: 20,
};
const TTL: u64 = 100;
/// Longer than a place in the queue stands.
const LATER: u64 = 10_000_000_000;

#[derive(Default)]
struct Story(Vec<Event>);

impl Story {
    fn tell(mut self, at: u64, client: u32, what: What) -> Self {
        self.0.push(Event { at, client, what });
        self
    }

    fn asks(self, at: u64, client: u32, side: Side, wait: u64, owner: Option<&str>) -> Self {
        let what = What::Acquire {
            lease: 1,
            key: "k".to_owned(),
            side,
            fair: false,
            ttl: TTL,
            wait,
            owner: owner.map(str::to_owned),
        };
        self.tell(at, client, what)
    }

    fn granted(self, at: u64, client: u32, token: u64) -> Self {
        self.tell(at, client, What::Granted { lease: 1, token })
    }

    /// Asked for and granted two later.
    fn takes(self, at: u64, client: u32, side: Side, token: u64) -> Self {
        let asked = self.asks(at, client, side, 0, None);
        asked.granted(at + 2, client, token)
    }

    fn locks(self, at: u64, client: u32, token: u64) -> Self {
        self.takes(at, client, Side::Exclusive, token)
    }

    fn held(self, since: u64, client: u32, remaining: u64) -> Self {
        let what = What::Held {
            lease: 1,
            since,
            remaining,
        };
        self.tell(since + 1, client, what)
    }

    fn release(self, at: u64, client: u32) -> Self {
        self.tell(at, client, What::Release { lease: 1 })
    }

    fn released(self, at: u64, client: u32) -> Self {
        self.tell(at, client, What::Released { lease: 1, ok: true })
    }

    fn lost(self, at: u64, client: u32, message: &str) -> Self {
        let message = message.to_owned();
        self.tell(at, client, What::Lost { lease: 1, message })
    }

    fn renewed(self, since: u64, client: u32) -> Self {
        let what = What::Renewed {
            lease: 1,
            since,
            ok: true,
        };
        self.tell(since + 1, client, what)
    }

    fn write(self, at: u64, token: u64, fenced: bool, accepted: bool) -> Self {
        let what = What::Write {
            key: "k".to_owned(),
            token,
            fenced,
            accepted,
        };
        self.tell(at, 9, what)
    }

    fn report(&self) -> Report {
        check(&self.0, &BOUNDS)
    }

    #[track_caller]
    fn violates(&self, invariant: &str) {
        let report = self.report();
        let violated: Vec<_> = report.violations.iter().map(|it| it.invariant).collect();
        assert_eq!(violated, [invariant], "{report}");
        assert!(!report.violations[0].events.is_empty());
    }

    #[track_caller]
    fn holds(&self) {
        let report = self.report();
        assert!(report.violations.is_empty(), "{report}");
    }
}

fn story() -> Story {
    Story::default()
}

#[test]
fn i1_older_tokens_are_refused_after_newer_ones() {
    let newer = || story().write(1, 7, true, true);
    newer().write(2, 6, true, true).violates("I1");
    newer()
        .write(2, 6, true, false)
        .write(3, 7, true, true)
        .holds();
    let unfenced = story().write(1, 7, false, true).write(2, 6, false, true);
    unfenced.holds();
    assert_eq!(unfenced.report().control, 1);
}

#[test]
fn i2_tokens_grow() {
    let first = || story().locks(0, 1, 7).release(10, 1).released(12, 1);
    first().locks(20, 2, 7).violates("I2");
    first().locks(20, 2, 6).violates("I2");
    // Asked for before the first one was answered: it may have been granted before.
    let late = story()
        .asks(0, 1, Side::Shared, 0, None)
        .takes(1, 2, Side::Shared, 8);
    late.granted(4, 1, 7).holds();
}

#[test]
fn i3_one_holds_an_exclusive_lease() {
    let one = || story().locks(0, 1, 1).held(3, 1, 50);
    one().locks(20, 2, 2).held(30, 1, 50).violates("I3");
    one().locks(60, 2, 2).held(65, 2, 50).holds();
    let lost = one().held(10, 1, 40).lost(55, 1, "its time is over");
    lost.held(60, 1, 10).violates("I3");
}

#[test]
fn i4_nothing_succeeds_after_a_take_over() {
    let taken = || story().locks(0, 1, 1).held(3, 1, 50).locks(60, 2, 2);
    taken().renewed(70, 1).violates("I4");
    taken().release(70, 1).released(72, 1).violates("I4");
    // Asked for before, and answered after.
    let stalled = story().locks(0, 1, 1).held(3, 1, 50).release(58, 1);
    stalled.locks(60, 2, 2).released(72, 1).holds();
}

#[test]
fn i5_no_lease_goes_before_its_time() {
    let gone = "the lease is gone from the database";
    let held = || story().locks(0, 1, 1).held(3, 1, 50);
    held().lost(30, 1, gone).violates("I5");
    held().lost(60, 1, gone).holds();
    held().lost(30, 1, "its own time is over").holds();
    let name = "forced release".to_owned();
    held()
        .tell(20, 0, What::Fault { name })
        .lost(30, 1, gone)
        .holds();
    let next = |story: Story| story.asks(20, 2, Side::Exclusive, 0, Some("o"));
    let owned = story().asks(0, 1, Side::Exclusive, 0, Some("o"));
    next(owned.granted(2, 1, 1).held(3, 1, 50))
        .lost(30, 1, gone)
        .holds();
}

#[test]
fn i6_a_release_frees() {
    let released = || story().locks(0, 1, 1).release(10, 1).released(12, 1);
    let waits = |wait| released().asks(8, 2, Side::Exclusive, wait, None);
    waits(60).granted(30, 2, 2).violates("I6");
    waits(60).granted(20, 2, 2).holds();
    let name = "outage".to_owned();
    waits(60)
        .tell(9, 0, What::Fault { name })
        .granted(30, 2, 2)
        .holds();
}

#[test]
fn i7_what_was_given_up_is_in_the_way_for_no_longer_than_its_ttl() {
    let given_up = || {
        let kind = "OutcomeUnknown".to_owned();
        let asked = story().asks(0, 1, Side::Exclusive, 0, None);
        asked.tell(10, 1, What::NotGranted { lease: 1, kind })
    };
    let waits = given_up().asks(20, 2, Side::Exclusive, 2 * LATER, None);
    waits.granted(LATER, 2, 2).violates("I7");
    let waits = given_up().asks(20, 2, Side::Exclusive, 2 * LATER, None);
    waits.granted(120, 2, 2).holds();
}

#[test]
fn i8_a_holder_that_stopped_is_in_the_way_for_its_ttl() {
    for stop in [What::Crashed, What::Paused] {
        let stopped = || story().locks(0, 1, 1).tell(50, 1, stop.clone());
        let waits = || stopped().asks(40, 2, Side::Exclusive, 2 * LATER, None);
        waits().granted(170, 2, 2).violates("I8");
        waits().granted(155, 2, 2).holds();
        // Who stands still cannot take it.
        let paused = waits()
            .tell(41, 2, What::Paused)
            .tell(160, 2, What::Resumed);
        paused.granted(165, 2, 2).holds();
    }
}

#[test]
fn i9_a_younger_client_takes_over() {
    let crashed = || story().locks(0, 1, 1).tell(10, 1, What::Crashed);
    assert_eq!(crashed().locks(110, 2, 2).report().young_takeovers, 1);
    let report = crashed()
        .asks(5, 2, Side::Exclusive, 200, None)
        .granted(112, 2, 2);
    let report = report.report();
    assert_eq!((report.takeovers, report.young_takeovers), (1, 0));
    assert_eq!(
        report.worst_takeover.map(|it| (it.delay, it.bound)),
        Some((102, 110))
    );
}

#[test]
fn i10_shared_and_exclusive_leases_exclude_each_other() {
    let shared = || story().takes(0, 1, Side::Shared, 1).held(3, 1, 50);
    shared().locks(20, 2, 2).held(30, 1, 50).violates("I10");
    let permit = Side::Permit { limit: 3 };
    shared()
        .takes(20, 2, permit, 2)
        .held(30, 1, 50)
        .violates("I10");
    shared()
        .takes(20, 2, Side::Shared, 2)
        .held(30, 1, 50)
        .holds();
    let change = |owner| {
        let shared = story().asks(0, 1, Side::Shared, 0, Some("o"));
        let shared = shared.granted(2, 1, 1).held(3, 1, 50);
        shared
            .asks(20, 2, Side::Exclusive, 0, owner)
            .granted(22, 2, 2)
    };
    change(Some("o")).holds();
    change(None).violates("I12");
}

#[test]
fn i10_no_more_permits_than_there_are() {
    let permits = |limits: [u32; 3]| {
        (1..).zip(limits).fold(story(), |story, (client, limit)| {
            let at = u64::from(client) * 4;
            let taken = story.takes(at, client, Side::Permit { limit }, at);
            taken.held(at + 2, client, 50)
        })
    };
    permits([2, 2, 2]).violates("I10");
    permits([3, 3, 3]).holds();
    // The newest limit rules, whichever is answered last.
    permits([1, 2, 3]).holds();
    permits([3, 3, 2]).violates("I10");
}

#[test]
fn i12_no_lease_ends_before_what_it_announced() {
    let crashed = || {
        story()
            .locks(0, 1, 1)
            .held(3, 1, 50)
            .tell(5, 1, What::Crashed)
    };
    crashed().locks(48, 2, 2).violates("I12");
    crashed().locks(52, 2, 2).holds();
    story().locks(0, 1, 1).held(3, 1, TTL + 1).violates("I12");
    let released = story().locks(0, 1, 1).held(3, 1, 50).release(10, 1);
    released.locks(11, 2, 2).holds();
}

#[test]
fn i13_what_is_not_ours_stays() {
    let look = |untouched| What::Foreign {
        key: "k".to_owned(),
        untouched,
    };
    story().tell(0, 1, look(false)).violates("I13");
    story().tell(0, 1, look(true)).holds();
}

#[test]
fn no_acquisition_hangs() {
    let asks = || story().asks(0, 1, Side::Exclusive, 100, None);
    let ends = |story: Story, at| {
        let kind = "WaitTimeout".to_owned();
        // It holds all the time, so that nobody else was to be granted.
        let other = story.locks(0, 2, 1);
        other.tell(at, 1, What::NotGranted { lease: 1, kind })
    };
    ends(asks(), 106).violates("liveness");
    ends(asks(), 105).holds();
    let paused = asks().tell(10, 1, What::Paused).tell(20, 1, What::Resumed);
    ends(paused, 115).holds();
    // It never ends, and its client does other things meanwhile.
    asks()
        .locks(0, 2, 1)
        .tell(106, 1, look_elsewhere())
        .violates("liveness");
    let attempt = story().asks(0, 1, Side::Exclusive, 0, None);
    ends(attempt, 26).violates("liveness");
}

fn look_elsewhere() -> What {
    What::Foreign {
        key: "else".to_owned(),
        untouched: true,
    }
}

#[test]
fn a_report_reads_well() {
    let text = story()
        .locks(0, 1, 1)
        .write(1, 7, true, true)
        .write(2, 6, true, true);
    let text = text.report().to_string();
    assert!(
        text.contains("grants                                    1\n"),
        "{text}"
    );
    assert!(
        text.contains("I1: a fenced resource accepted an older token"),
        "{text}"
    );
}
