use super::super::decide::Vote;
use super::*;

fn of(kinds: &[ErrorKind], no_effect: bool) -> Error {
    let errors = kinds.iter().map(|kind| Error::new(*kind, "secret"));
    short(&Tally::new(3), errors.collect(), no_effect)
}

#[test]
fn what_may_pass_is_tried_again_and_what_cannot_is_told() {
    use ErrorKind::{OutcomeUnknown, PermissionDenied, Throttled, Unavailable};
    for (kinds, no_effect, told) in [
        (
            &[PermissionDenied, PermissionDenied][..],
            true,
            PermissionDenied,
        ),
        (&[PermissionDenied, Unavailable], true, Unavailable),
        (&[Throttled, Throttled], true, Unavailable),
        (&[Unavailable], false, OutcomeUnknown),
        (&[], true, Unavailable),
        // It fails for good, and the others do not: they were too late, or lost what they had granted.
        (&[PermissionDenied], true, Unavailable),
    ] {
        let error = of(kinds, no_effect);
        assert_eq!(error.kind(), told, "{kinds:?}");
        assert!(!error.to_string().contains("secret"), "told by the source");
    }
}

#[test]
fn members_that_agreed_too_late_are_not_to_blame_for_being_away() {
    let mut tally = Tally::new(3);
    let advice = |tally: &Tally| short(tally, Vec::new(), true).to_string();
    tally.vote(0, Vote::Done);
    assert!(advice(&tally).contains("see that they are reachable"));
    tally.vote(1, Vote::Done);
    assert!(advice(&tally).contains("a longer ttl"));
}
