//! What does not fit into one claim, and what each one names.

use std::time::Duration;

use super::*;
use crate::rules::{ServerTime, Verdict, admit};
use crate::{Claimant, Key, LeaseId, Owner, Timestamp, Ttl};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const LONG_AGO: Timestamp = Timestamp::from_millis(1_600_000_000_000);

fn claimant() -> Claimant {
    Claimant {
        owner: Owner::random(),
        id: LeaseId::random(),
    }
}

fn waiter(claimant: Claimant, mode: Mode) -> Waiter {
    let ttl = crate::record::WAITER_TTL;
    Waiter::new(claimant, mode, LONG_AGO, LONG_AGO, ttl, 7)
}

/// The claim of somebody in the queue, with so much to evict.
fn evicting(mode: Mode, dead: usize, rests: usize, late: usize) -> Option<Expression> {
    let key = Key::new("key").unwrap();
    let ttl = Ttl::new(Duration::from_secs(10)).unwrap();
    let request = AcquireRequest::new(&key, &Owner::random(), mode, ttl);
    let mut record = LockRecord::new(Mode::Permit { limit: 100 });
    let holder = |claimant| Holder::new(claimant, LONG_AGO, LONG_AGO, ttl, 7);
    record.holders = vec![holder(None); rests];
    let owned = (0..dead).map(|_| holder(Some(claimant())));
    record.holders.extend(owned);
    record.queue = (0..late)
        .map(|_| waiter(claimant(), Mode::Exclusive))
        .collect();
    let mine = Claimant {
        owner: request.owner.clone(),
        id: request.id.clone(),
    };
    record.queue.push(waiter(mine, mode));
    let mut time = ServerTime::exact(NOW, Duration::ZERO);
    time.token_floor = 0;
    let Verdict::Granted(next) = admit(Some(&record), &request, &time) else {
        panic!("not granted");
    };
    let lingers = (0..rests).map(|nth| (format!("rest-{nth}"), holder(None)));
    let lingers = lingers.collect();
    let seen = Seen {
        record: Some(record),
        time,
    };
    claim(&request, &seen, &next, lingers)
}

/// Operators and functions of a text, as DynamoDB counts them at most.
fn operators(text: &str) -> usize {
    let words = [
        "AND", "OR", "BETWEEN", "IN", "=", "<>", "<", "<=", "+", "REMOVE", "SET",
    ];
    let split = text.split([' ', ',', '(', ')']);
    split.filter(|word| words.contains(word)).count() + text.matches('(').count()
}

#[test]
fn no_claim_is_too_long() {
    for mode in [Mode::Exclusive, Mode::Permit { limit: 100 }] {
        for (dead, rests, late) in [(20, 0, 0), (0, 20, 0), (0, 0, 20), (7, 7, 6)] {
            let claim = evicting(mode, dead, rests, late).unwrap();
            let moved = claim.moved("lock");
            for text in [
                &claim.update,
                &claim.condition,
                &moved.update,
                &moved.condition,
            ] {
                let (length, operators) = (text.len(), operators(text));
                assert!(
                    length <= 4096 && operators <= 300,
                    "{length} {operators}: {text}"
                );
            }
        }
        for (dead, rests, late) in [(21, 0, 0), (0, 21, 0), (0, 0, 21), (11, 0, 10)] {
            assert!(
                evicting(mode, dead, rests, late).is_none(),
                "{dead} {rests} {late}"
            );
        }
    }
}

/// Equal ones stand under keys of their own.
#[test]
fn each_rest_of_a_minimum_hold_is_named_once() {
    let claim = evicting(Mode::Permit { limit: 2 }, 0, 3, 0).unwrap();
    let names = claim.all_names();
    let mut rests: Vec<_> = names
        .values()
        .filter(|name| name.starts_with("rest"))
        .collect();
    rests.sort();
    assert_eq!(rests, ["rest-0", "rest-1", "rest-2"]);
}
