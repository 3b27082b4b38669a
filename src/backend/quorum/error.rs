//! What is said when there was no majority.

use super::decide::Tally;
use crate::{Error, ErrorKind};

/// A member that did not answer in time.
pub(super) fn no_answer() -> Error {
    Error::new(ErrorKind::OutcomeUnknown, "a member gave no answer in time")
}

/// Too few members agreed. `no_effect`: and certainly nothing came of it.
pub(super) fn short(tally: &Tally, errors: Vec<Error>, no_effect: bool) -> Error {
    let (in_favour, against) = (tally.in_favour(), tally.against());
    let members = tally.members();
    let failed = members - in_favour - against;
    let needed = tally.majority();
    let advice = if in_favour < needed {
        "see that they are reachable, and try again"
    } else {
        "but of one token, and before the lease would have been spent: try again, or with a longer ttl"
    };
    let message = format!(
        "{in_favour} of {members} members agreed, {against} refused, {failed} failed or did not in time; {needed} are \
         needed: {advice}"
    );
    let transient = errors.iter().any(Error::is_transient);
    let decisive = errors.len() > members - tally.majority();
    let kind = match errors.first() {
        // What cannot work there will not here, as long as so many others cannot either.
        Some(first) if !transient && decisive => first.kind(),
        _ if no_effect => ErrorKind::Unavailable,
        _ => ErrorKind::OutcomeUnknown,
    };
    let error = Error::new(kind, message);
    match errors.into_iter().next() {
        Some(first) => error.with_source(first),
        None => error,
    }
}

#[cfg(test)]
mod tests;
