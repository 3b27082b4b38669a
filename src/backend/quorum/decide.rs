//! What a majority decides, from what its members said: pure, without I/O and clock.

use std::time::Duration;

use crate::Ttl;
use crate::backend::Validity;

/// The least number of members any two of which share one.
pub(super) const fn majority(members: usize) -> usize {
    members / 2 + 1
}

/// A grant or a renewal, as one member answered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ballot {
    pub(super) token: u64,
    pub(super) validity: Validity,
}

/// What a member said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Vote {
    /// Nothing yet.
    #[default]
    Silent,
    /// It grants or renews.
    For(Ballot),
    /// It did what else was asked for.
    Done,
    /// Others hold there, or the lease does not.
    Against,
    /// An error, whatever came of it.
    Failed,
}

/// Where an election stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Standing {
    /// The missing votes decide.
    Open,
    Won,
    /// There is none, for others hold or the lease is gone.
    Refused,
    /// There is none, for too many failed.
    Short,
}

/// The votes of all members.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tally {
    votes: Vec<Vote>,
}

impl Tally {
    pub(super) fn new(members: usize) -> Self {
        Self {
            votes: vec![Vote::default(); members],
        }
    }

    /// The last word of a member counts.
    pub(super) fn vote(&mut self, member: usize, vote: Vote) {
        if let Some(slot) = self.votes.get_mut(member) {
            *slot = vote;
        }
    }

    pub(super) fn members(&self) -> usize {
        self.votes.len()
    }

    pub(super) fn majority(&self) -> usize {
        majority(self.votes.len())
    }

    fn count(&self, is: impl Fn(&Vote) -> bool) -> usize {
        self.votes.iter().filter(|vote| is(vote)).count()
    }

    pub(super) fn in_favour(&self) -> usize {
        self.count(|vote| matches!(vote, Vote::For(_) | Vote::Done))
    }

    pub(super) fn against(&self) -> usize {
        self.count(|vote| *vote == Vote::Against)
    }

    fn failed(&self) -> usize {
        self.count(|vote| *vote == Vote::Failed)
    }

    pub(super) fn is_silent(&self, member: usize) -> bool {
        self.votes.get(member) == Some(&Vote::Silent)
    }

    pub(super) fn silent(&self) -> usize {
        self.count(|vote| *vote == Vote::Silent)
    }

    /// Whether a majority grants.
    pub(super) fn election(&self) -> Standing {
        if self.in_favour() >= self.majority() {
            Standing::Won
        } else if self.failed() > self.spare() {
            Standing::Short
        } else if self.in_favour() + self.silent() < self.majority() {
            // Those who refused are to blame: without them there could have been one.
            Standing::Refused
        } else {
            Standing::Open
        }
    }

    /// Whether a majority did what was asked of a lease. That it is gone is for good: so many must say so that it cannot stand
    /// on a majority, whatever those would say that failed.
    pub(super) fn upkeep(&self) -> Standing {
        if self.in_favour() >= self.majority() {
            Standing::Won
        } else if self.against() > self.spare() {
            Standing::Refused
        } else if self.in_favour() + self.silent() < self.majority()
            && self.against() + self.silent() <= self.spare()
        {
            Standing::Short
        } else {
            Standing::Open
        }
    }

    /// How many may be missing.
    fn spare(&self) -> usize {
        self.votes.len() - self.majority()
    }

    /// Whether a majority has answered and somebody is in the way: those who hold a minority meanwhile should not wait long
    /// for the rest, or they keep each other out.
    pub(super) fn is_contended(&self) -> bool {
        self.against() > 0 && self.votes.len() - self.silent() >= self.majority()
    }

    /// Whether a majority has this very token. Members' tokens differ where some missed a grant; until a majority has the
    /// greatest, the next grant could be told a smaller one.
    pub(super) fn agreement(&self, token: u64) -> Standing {
        let agree = self.with_token(token).count();
        if agree >= self.majority() {
            Standing::Won
        } else if self.in_favour() + self.silent() < self.majority() {
            Standing::Short
        } else {
            Standing::Open
        }
    }

    /// The fencing token of the lease: the greatest.
    pub(super) fn token(&self) -> u64 {
        let tokens = self.ballots().map(|ballot| ballot.token);
        tokens.max().unwrap_or_default()
    }

    /// What the lease is worth, by the best majority of those that have this token: the least of what each says, so that it
    /// stands on all of them for so long. It counts from the send of the oldest attempt among them.
    pub(super) fn validity(&self, token: u64, ttl: Ttl) -> Option<Validity> {
        let counted = self.with_token(token).map(|ballot| ballot.validity);
        worth(counted, self.majority(), ttl)
    }

    /// The same, whatever the tokens: of a renewal.
    pub(super) fn renewed(&self, ttl: Ttl) -> Option<Validity> {
        let counted = self.ballots().map(|ballot| ballot.validity);
        worth(counted, self.majority(), ttl)
    }

    fn ballots(&self) -> impl Iterator<Item = &Ballot> {
        self.votes.iter().filter_map(|vote| match vote {
            Vote::For(ballot) => Some(ballot),
            _ => None,
        })
    }

    fn with_token(&self, token: u64) -> impl Iterator<Item = &Ballot> {
        self.ballots().filter(move |ballot| ballot.token == token)
    }
}

/// Members' clocks and ours do not run at quite the same rate.
fn drift(ttl: Ttl) -> Duration {
    ttl.as_duration() / 100 + Duration::from_millis(2)
}

fn worth(
    validities: impl Iterator<Item = Validity>,
    majority: usize,
    ttl: Ttl,
) -> Option<Validity> {
    let mut counted: Vec<_> = validities.collect();
    counted.sort_unstable_by_key(|validity| (validity.seq, validity.valid_for));
    let counted = counted
        .len()
        .checked_sub(majority)
        .map(|worse| &counted[worse..])?;
    let valid_for = counted.iter().map(|validity| validity.valid_for).min()?;
    Some(Validity {
        seq: counted.iter().map(|validity| validity.seq).min()?,
        valid_for: valid_for.saturating_sub(drift(ttl)),
        refresh: counted.iter().any(|validity| validity.refresh),
    })
}

/// Whether a lease may still be handed out when its attempt may have taken so long. An earlier attempt that stands is for
/// its client to judge, who knows when it was sent.
pub(super) fn is_spent(validity: &Validity, seq: u64, elapsed: Duration) -> bool {
    validity.seq >= seq && elapsed >= validity.valid_for
}

#[cfg(test)]
mod tests;
