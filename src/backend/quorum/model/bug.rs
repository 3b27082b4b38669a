//! What one may get wrong: each is to be found, or the check is worth nothing.

use super::{Bounds, ENDS, GROW, ONE, VALID, duplicates, late, losses, time};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// One less than a majority.
    HalfIsEnough,
    /// A greater token that comes late is not followed.
    RaisesToTheFirst,
    /// The lease is handed out with the greatest token, and no other member learns of it.
    NoWriteBack,
    HandsOutWhatIsSpent,
    CountsFromTheAnswer,
    /// What a refused attempt was granted counts for the next, though it is given back.
    CountsFormerGrants,
    /// The release of an attempt names the acquisition alone.
    GivesAllBack,
    /// What a release that is under way may end.
    CountsWhatMayBeGivenBack,
}

/// Which invariant finds it, and in which world.
pub(super) fn table() -> [(Bug, &'static str, Bounds); 8] {
    [
        (Bug::HalfIsEnough, ONE, time()),
        (Bug::RaisesToTheFirst, ENDS, losses()),
        (Bug::NoWriteBack, GROW, time()),
        (Bug::HandsOutWhatIsSpent, VALID, time()),
        (Bug::CountsFromTheAnswer, ONE, time()),
        (Bug::CountsFormerGrants, ONE, losses()),
        (Bug::GivesAllBack, ONE, duplicates()),
        (Bug::CountsWhatMayBeGivenBack, ONE, late()),
    ]
}
