use super::*;

fn ballot(token: u64, seq: u64, seconds: u64) -> Vote {
    Vote::For(Ballot {
        token,
        validity: Validity {
            seq,
            valid_for: Duration::from_secs(seconds),
            refresh: false,
        },
    })
}

fn tally(votes: &[Vote]) -> Tally {
    Tally {
        votes: votes.to_vec(),
    }
}

fn ttl() -> Ttl {
    Ttl::new(Duration::from_secs(10)).unwrap()
}

/// Eight seconds less the drift of a ttl of ten.
const EIGHT: Duration = Duration::from_millis(7898);

#[test]
fn any_two_majorities_share_a_member() {
    for members in 3..=9 {
        assert!(2 * majority(members) > members);
        assert!(
            2 * (majority(members) - 1) <= members,
            "more than is needed"
        );
    }
}

#[test]
fn an_election_is_decided_as_soon_as_the_missing_votes_cannot_change_it() {
    use Vote::{Against, Failed, Silent};
    let yes = ballot(1, 1, 10);
    for (votes, standing) in [
        ([Silent, Silent, Silent, Silent, Silent], Standing::Open),
        ([yes, yes, Silent, Against, Against], Standing::Open),
        ([yes, yes, yes, Silent, Silent], Standing::Won),
        ([yes, yes, Against, Against, Against], Standing::Refused),
        (
            [Silent, Silent, Against, Against, Against],
            Standing::Refused,
        ),
        // Those that failed are not to blame alone.
        ([yes, yes, Failed, Failed, Against], Standing::Refused),
        ([Silent, Silent, Failed, Failed, Against], Standing::Refused),
        ([yes, yes, Failed, Failed, Silent], Standing::Open),
        ([Failed, Failed, Failed, Silent, Against], Standing::Short),
    ] {
        assert_eq!(tally(&votes).election(), standing, "{votes:?}");
    }
    // Of an even number, half is not enough to grant, and enough to refuse.
    let half = [yes, yes, Against, Against];
    assert_eq!(tally(&half).election(), Standing::Refused);
}

#[test]
fn a_lease_is_gone_when_so_many_say_so_that_it_cannot_stand_on_a_majority() {
    use Vote::{Against, Done, Failed, Silent};
    for (votes, standing) in [
        ([Silent, Silent, Silent, Silent, Silent], Standing::Open),
        ([Done, Done, Done, Silent, Against], Standing::Won),
        ([Against, Against, Against, Silent, Done], Standing::Refused),
        ([Against, Against, Failed, Failed, Silent], Standing::Open),
        ([Against, Against, Failed, Failed, Failed], Standing::Short),
        ([Done, Done, Against, Against, Failed], Standing::Short),
        ([Failed, Failed, Failed, Silent, Silent], Standing::Short),
    ] {
        assert_eq!(tally(&votes).upkeep(), standing, "{votes:?}");
    }
}

#[test]
fn the_greatest_token_counts_once_a_majority_has_it() {
    use Vote::{Failed, Silent};
    let votes = [
        ballot(5, 1, 10),
        ballot(9, 1, 10),
        ballot(7, 1, 10),
        Silent,
        Silent,
    ];
    let mut tally = tally(&votes);
    assert_eq!(tally.token(), 9);
    assert_eq!(tally.agreement(9), Standing::Open);
    assert_eq!(tally.validity(9, ttl()), None);
    tally.vote(0, ballot(9, 1, 10));
    tally.vote(2, Failed);
    assert_eq!(tally.agreement(9), Standing::Open);
    tally.vote(3, ballot(9, 1, 10));
    assert_eq!(tally.agreement(9), Standing::Won);
    tally.vote(4, Failed);
    tally.vote(0, Failed);
    assert_eq!(tally.agreement(9), Standing::Short);
}

#[test]
fn a_lease_is_worth_what_its_best_majority_says_at_least() {
    let votes = [
        ballot(1, 1, 10),
        ballot(1, 1, 8),
        ballot(1, 1, 9),
        ballot(2, 1, 7),
        Vote::Silent,
    ];
    let worth = tally(&votes).validity(1, ttl()).unwrap();
    assert_eq!(worth.valid_for, EIGHT);
    let worth = tally(&votes).renewed(ttl()).unwrap();
    assert_eq!(worth.valid_for, EIGHT);
}

/// It counts from the send of the oldest attempt that is needed.
#[test]
fn a_lease_counts_from_its_oldest_attempt_that_is_needed() {
    let votes = [ballot(1, 1, 10), ballot(1, 2, 9), ballot(1, 3, 8)];
    let worth = tally(&votes).renewed(ttl()).unwrap();
    assert_eq!((worth.seq, worth.valid_for), (2, EIGHT));
}

#[test]
fn one_that_asks_for_a_refresh_is_enough() {
    let mut hasty = ballot(1, 1, 10);
    if let Vote::For(ballot) = &mut hasty {
        ballot.validity.refresh = true;
    }
    let votes = [ballot(1, 1, 10), hasty, Vote::Failed];
    assert!(tally(&votes).renewed(ttl()).unwrap().refresh);
}

#[test]
fn a_lease_is_spent_when_its_attempt_took_as_long() {
    let validity = Validity {
        seq: 2,
        valid_for: Duration::from_secs(9),
        refresh: false,
    };
    let just = Duration::from_millis(8999);
    assert!(!is_spent(&validity, 2, just));
    assert!(is_spent(&validity, 2, Duration::from_secs(9)));
    // When the one that stands was sent, its client knows.
    assert!(!is_spent(&validity, 3, Duration::from_secs(9)));
}

#[test]
fn nothing_is_worth_more_than_its_drift() {
    let votes = [ballot(1, 1, 0), ballot(1, 1, 0), Vote::Silent];
    assert_eq!(
        tally(&votes).renewed(ttl()).unwrap().valid_for,
        Duration::ZERO
    );
}

#[test]
fn it_is_contended_once_a_majority_answered_and_one_refused() {
    use Vote::{Against, Failed, Silent};
    let yes = ballot(1, 1, 10);
    for (votes, contended) in [
        ([Against, Against, Silent, Silent, Silent], false),
        ([Against, yes, Failed, Silent, Silent], true),
        ([yes, yes, Failed, Failed, Silent], false),
    ] {
        assert_eq!(tally(&votes).is_contended(), contended, "{votes:?}");
    }
}
