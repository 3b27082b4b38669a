use std::time::Duration;

use super::*;
use crate::backend::{AcquireRequest, Queueing};
use crate::{Mode, Ttl};

struct Test {
    lines: Lines,
    key: Key,
}

/// One who waits, as it sees it.
struct Place {
    id: LeaseId,
    turn: oneshot::Receiver<Result<Turn>>,
}

impl Test {
    fn new() -> Self {
        Self {
            lines: Lines::default(),
            key: Key::new("k").unwrap(),
        }
    }

    fn join(&mut self) -> Place {
        let ttl = Ttl::new(Duration::from_secs(30)).unwrap();
        let mut request = AcquireRequest::new(&self.key, &Owner::random(), Mode::Exclusive, ttl);
        request.queueing = Queueing::WhenNeeded;
        let id = request.id.clone();
        let (sender, turn) = oneshot::channel();
        self.lines.join(Waiter {
            plan: Plan {
                request,
                deadline: None,
                max_hold: None,
                min_hold: None,
                takes_turns: false,
                any_owner: true,
                automatic: true,
                since: None,
            },
            renewal: Renewal::new(ttl.as_duration(), Duration::ZERO),
            turn: sender,
        });
        Place { id, turn }
    }

    fn join_many<const N: usize>(&mut self) -> [Place; N] {
        [(); N].map(|()| self.join())
    }

    fn hold(&mut self, place: &Place) {
        let key = self.key.clone();
        self.lines.hold(&key, &place.id);
    }

    fn next(&mut self, from: &Place) -> Option<LeaseId> {
        let next = self.lines.next(&from.id, |_| true)?;
        Some(next.plan.request.id)
    }

    fn is_empty(&self) -> bool {
        self.lines.lines.is_empty() && self.lines.places.is_empty()
    }
}

impl Place {
    fn asks(&mut self) -> Option<Crowd> {
        match self.turn.try_recv() {
            Ok(Ok(Turn::Ask(crowd))) => Some(crowd),
            Ok(_) => panic!("is offered something"),
            Err(_) => None,
        }
    }
}

#[test]
fn one_at_a_time_asks_in_the_order_of_arrival() {
    let mut test = Test::new();
    let [mut first, mut second, mut third] = test.join_many();
    assert_eq!(first.asks(), Some(Crowd::Alone));
    assert_eq!((second.asks(), third.asks()), (None, None));
    test.lines.abandon(&first.id);
    assert_eq!((second.asks(), third.asks()), (Some(Crowd::Some), None));
    test.hold(&second);
    test.lines.abandon(&second.id);
    assert_eq!(third.asks(), None, "what is held is not abandoned");
    test.lines.leave(&second.id);
    assert_eq!(third.asks(), Some(Crowd::Some));
    test.lines.leave(&third.id);
    assert!(test.is_empty());
}

#[test]
fn other_keys_have_lines_of_their_own() {
    let mut test = Test::new();
    let mut here = test.join();
    test.key = Key::new("elsewhere").unwrap();
    let mut there = test.join();
    assert_eq!(here.asks(), Some(Crowd::Alone));
    assert_eq!(there.asks(), Some(Crowd::Alone));
}

#[test]
fn a_lock_that_did_not_wait_is_waited_for() {
    let mut test = Test::new();
    let tried = LeaseId::random();
    test.lines.hold(&test.key.clone(), &tried);
    let mut waits = test.join();
    assert_eq!(waits.asks(), None);
    test.lines.leave(&tried);
    assert_eq!(waits.asks(), Some(Crowd::Some));
    // Beside one who asks, it is nobody that others wait for.
    let other = LeaseId::random();
    test.lines.hold(&test.key.clone(), &other);
    test.lines.leave(&other);
    test.lines.leave(&waits.id);
    assert!(test.is_empty());
}

#[test]
fn who_gave_up_is_passed() {
    let mut test = Test::new();
    let [first, gone, abandoned, mut waits] = test.join_many();
    test.hold(&first);
    drop(gone.turn);
    test.lines.abandon(&abandoned.id);
    assert_eq!(test.next(&first), Some(waits.id.clone()));
    assert_eq!(waits.asks(), None);
    test.lines.leave(&waits.id);
    let [first, gone, mut waits] = test.join_many();
    drop(gone.turn);
    test.lines.leave(&first.id);
    assert_eq!(waits.asks(), Some(Crowd::Some));
    test.lines.leave(&waits.id);
    assert!(test.is_empty());
}

#[test]
fn whoever_is_not_first_hands_nothing_on() {
    let mut test = Test::new();
    let [first, second, _third] = test.join_many();
    test.hold(&first);
    assert_eq!(test.next(&second), None);
    assert!(test.lines.next(&first.id, |_| false).is_none());
    assert_eq!(test.next(&first), Some(second.id.clone()));
    assert_eq!(test.next(&first), None, "it has left");
}

#[test]
fn a_row_ends() {
    let mut test = Test::new();
    let mut holder = test.join();
    for _ in 0..ROW {
        test.hold(&holder);
        let next = test.join();
        assert_eq!(test.next(&holder), Some(next.id.clone()));
        holder = next;
    }
    test.hold(&holder);
    let mut next = test.join();
    assert_eq!(test.next(&holder), None);
    test.lines.leave(&holder.id);
    assert_eq!(next.asks(), Some(Crowd::Some));
    test.hold(&next);
    let last = test.join();
    assert_eq!(test.next(&next), Some(last.id), "a row of its own");
}
