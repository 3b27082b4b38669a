use super::*;
use crate::backend::{Occupant, Reason};
use crate::{LeaseId, Owner, Timestamp, Ttl};

/// One that waits, and what it is shown.
struct Waiter {
    polls: Polls,
    contention: Contention,
    now: Moment,
}

impl Waiter {
    /// Refused for the first time.
    fn behind(owner: &str, ahead: usize) -> Self {
        let nobody = Contention::new(Reason::Busy, Mode::Exclusive, Vec::new(), Duration::MAX);
        let mut waiter = Self {
            polls: Polls::default(),
            contention: nobody,
            now: Moment {
                monotonic: Duration::from_secs(100),
                wall: Timestamp::from_millis(0),
            },
        };
        waiter.sees(0, owner, ahead);
        waiter
    }

    fn passes(&mut self, millis: u64) {
        self.now.monotonic += Duration::from_millis(millis);
        // Of which nothing is believed.
        self.now.wall = Timestamp::from_millis(-self.now.wall.as_millis());
    }

    /// Whom it finds there after so long.
    fn sees(&mut self, millis: u64, owner: &str, ahead: usize) {
        self.passes(millis);
        self.contention.occupants = vec![occupant(owner)];
        self.contention.ahead = ahead;
        self.polls.observe(&self.contention, self.now);
    }

    /// The shortest and the longest wait of milliseconds.
    fn outside(&self) -> [u128; 2] {
        [0.0, 1.0].map(|luck| {
            let wait = self.polls.outside(&self.contention, self.now, luck);
            wait.as_millis()
        })
    }

    fn in_line(&self, mode: Mode) -> [u128; 2] {
        [0.0, 1.0].map(|luck| {
            let wait = self.polls.in_line(&self.contention, mode, self.now, luck);
            wait.as_millis()
        })
    }
}

/// Of an acquisition of its own.
fn occupant(owner: &str) -> Occupant {
    Occupant {
        claimant: Some(Claimant {
            owner: Owner::new(owner).unwrap(),
            id: LeaseId::random(),
        }),
        seq: 1,
        ttl: Ttl::new(Duration::from_secs(4)).unwrap(),
        label: None,
        expires_in: Duration::MAX,
    }
}

#[test]
fn a_wait_is_up_to_a_sixth_of_the_time_waited() {
    let mut waiter = Waiter::behind("a", 0);
    for (waited, most) in [
        (0, 20),
        (120, 20),
        (480, 80),
        (3000, 500),
        (6000, 1000),
        (60_000, 1000),
    ] {
        let before = waiter.polls.waited(waiter.now).as_millis();
        waiter.passes(waited - u64::try_from(before).unwrap());
        assert_eq!(waiter.outside(), [most / 2, most], "after {waited} ms");
        assert_eq!(waiter.in_line(Mode::Exclusive), [most / 2, most]);
    }
}

#[test]
fn a_wait_ends_at_the_known_expiry() {
    let mut waiter = Waiter::behind("a", 0);
    waiter.contention.free_in = Duration::from_millis(3);
    assert_eq!(waiter.outside(), [3, 3]);
    assert_eq!(waiter.in_line(Mode::Exclusive), [3, 3]);
}

#[test]
fn looks_come_closer_together_towards_a_change() {
    // Held for 400 ms each.
    let mut waiter = Waiter::behind("a", 0);
    waiter.sees(400, "b", 0);
    waiter.sees(400, "c", 0);
    // Then less than half way to the change, but no more than a sixth of the time waited.
    for (passes, outside, in_line) in [
        (0, 133, 133),
        (200, 100, 100),
        (150, 57, 25),
        (50, 60, 20),
        (80, 64, 40),
        (200, 140, 140),
        (400, 313, 313),
    ] {
        waiter.passes(passes);
        let halves = |most: u128| [most / 2, most];
        assert_eq!(waiter.outside()[1], outside, "{passes}");
        assert_eq!(waiter.in_line(Mode::Exclusive), halves(in_line), "{passes}");
    }
}

#[test]
fn a_short_hold_is_no_reason_to_ask_all_the_time() {
    let mut waiter = Waiter::behind("a", 0);
    for (round, owner) in (0..60).zip(["b", "c"].into_iter().cycle()) {
        waiter.sees(20, owner, 0);
        let passed = [Mode::Exclusive, Mode::Shared].map(|mode| waiter.polls.is_passed(mode));
        assert_eq!(passed, [round >= 31, false], "{round}");
    }
    assert_eq!(waiter.outside(), [30, 60]);
    assert_eq!(
        waiter.in_line(Mode::Exclusive),
        [10, 20],
        "but the head is one"
    );
    waiter.passes(5000);
    assert_eq!(waiter.outside(), [500, 1000]);
}

#[test]
fn one_long_hold_is_soon_forgotten() {
    let mut waiter = Waiter::behind("a", 0);
    waiter.sees(60_000, "b", 0);
    assert_eq!(waiter.polls.hold(), Some(Duration::from_mins(1)));
    for owner in ["c", "d", "e", "f"] {
        waiter.sees(20, owner, 0);
    }
    assert!(waiter.polls.hold().unwrap() < Duration::from_millis(40));
}

#[test]
fn a_row_is_noticed_at_once() {
    let mut waiter = Waiter::behind("a", 0);
    let renewed = waiter.contention.clone();
    waiter.polls.observe(&renewed, waiter.now);
    assert!(!waiter.polls.is_passed(Mode::Exclusive), "the same lease");
    waiter.sees(10, "b", 0);
    assert!(!waiter.polls.is_passed(Mode::Exclusive));
    waiter.sees(10, "b", 0);
    assert!(waiter.polls.is_passed(Mode::Shared));
}

#[test]
fn who_joins_those_that_share_is_no_change() {
    let mut waiter = Waiter::behind("a", 0);
    let first = waiter.contention.occupants.clone();
    waiter.contention.occupants.push(occupant("b"));
    waiter.polls.observe(&waiter.contention.clone(), waiter.now);
    assert_eq!(waiter.polls.hold(), None);
    waiter.passes(300);
    waiter.contention.occupants = first;
    waiter.polls.observe(&waiter.contention.clone(), waiter.now);
    assert_eq!(waiter.polls.hold(), Some(Duration::from_millis(300)));
}

#[test]
fn a_place_in_line_waits_by_the_turns_before_it() {
    for (ahead, queue, mode, most) in [
        (0, 9, Mode::Exclusive, 20),
        (3, 9, Mode::Exclusive, 120),
        (3, 9, Mode::Shared, 120),
        (3, 9, Mode::Permit { limit: 4 }, 45),
        (9, 9, Mode::Permit { limit: 4 }, 80),
        (30, 31, Mode::Exclusive, 1000),
        (0, 100, Mode::Exclusive, 20),
        (0, 100, Mode::Shared, 500),
        (0, 60, Mode::Permit { limit: 100 }, 300),
        (1, 250, Mode::Shared, 1000),
    ] {
        let mut waiter = Waiter::behind("a", ahead);
        waiter.contention.queue = queue;
        let waits = waiter.in_line(mode);
        assert_eq!(waits, [most / 2, most], "{ahead} ahead of {mode:?}");
    }
}

#[test]
fn a_place_in_line_waits_by_the_holds_before_it() {
    // Three went by between two looks, 50 ms each.
    let mut waiter = Waiter::behind("a", 9);
    waiter.sees(150, "b", 6);
    assert_eq!(waiter.polls.hold(), Some(Duration::from_millis(50)));
    assert_eq!(waiter.in_line(Mode::Exclusive)[1], 175);
    waiter.sees(250, "c", 1);
    assert_eq!(waiter.in_line(Mode::Exclusive)[1], 50);
    // Longer holds than expected do not keep it away for ever.
    waiter.passes(400);
    assert_eq!(waiter.in_line(Mode::Exclusive)[1], 133);
}

#[test]
fn nobody_has_to_be_there_for_a_hold_to_be_seen() {
    let mut waiter = Waiter::behind("a", 2);
    // It is between two holds, and the next begins later.
    waiter.passes(60);
    waiter.contention.occupants.clear();
    waiter.polls.observe(&waiter.contention.clone(), waiter.now);
    assert_eq!(waiter.polls.hold(), Some(Duration::from_millis(60)));
    assert_eq!(waiter.in_line(Mode::Exclusive)[1], 60, "two holds");
    waiter.sees(500, "b", 1);
    assert_eq!(waiter.polls.hold(), Some(Duration::from_millis(60)));
    assert_eq!(waiter.in_line(Mode::Exclusive)[1], 60, "this hold and one");
}
