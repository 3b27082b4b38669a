//! Renewing and releasing: one task for each member, behind whatever is under way there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{timeout, timeout_at};

use super::acquire::renew;
use super::decide::{Ballot, Standing, Tally, Vote};
use super::error::{no_answer, short};
use super::seat::{Seat, Seats};
use super::{Member, QuorumBackend, end_of};
use crate::backend::{ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest};
use crate::{Error, Result};

impl QuorumBackend {
    pub(super) async fn prolong(&self, request: &RenewRequest) -> Result<RenewOutcome> {
        let now = self.clock.now();
        let seats = self.acquisitions.held(&request.id, request.token, now);
        let ask = |number, member| prolong_at(number, member, seats.clone(), request.clone());
        let (tally, errors) = self.poll(request.timeout, ask).await;
        match (tally.upkeep(), tally.renewed(request.ttl)) {
            (Standing::Won, Some(validity)) => Ok(RenewOutcome::Renewed(validity)),
            (Standing::Refused, _) => {
                // By another token it is not this lease that is lost.
                if seats.is_some() {
                    self.acquisitions.leave(&request.id);
                }
                Ok(RenewOutcome::Lost)
            }
            _ => Err(short(&tally, errors, false)),
        }
    }

    pub(super) async fn end(&self, request: &ReleaseRequest) -> Result<ReleaseOutcome> {
        let seats = self.acquisitions.leave(&request.id);
        let ask = |number, member| end_at(number, member, seats.clone(), request.clone());
        let (tally, errors) = self.poll(request.timeout, ask).await;
        let (released, gone) = (tally.in_favour(), tally.against());
        match tally.upkeep() {
            Standing::Won => Ok(ReleaseOutcome::Released),
            Standing::Refused => Ok(ReleaseOutcome::NotHeld),
            // It may have stood on a majority, and does not any more.
            _ if released > 0 && released + gone >= tally.majority() => {
                Ok(ReleaseOutcome::Released)
            }
            _ => Err(short(&tally, errors, false)),
        }
    }

    /// Asks each member in a task of its own, and counts until the votes decide or the time is over. What nobody waits for
    /// any more goes on.
    async fn poll<F>(
        &self,
        timeout: Duration,
        ask: impl Fn(usize, Member) -> F,
    ) -> (Tally, Vec<Error>)
    where
        F: Future<Output = Result<Vote>> + Send + 'static,
    {
        let end = end_of(timeout);
        let (said, mut votes) = mpsc::unbounded_channel();
        for (number, member) in self.members.iter().enumerate() {
            let (asked, said) = (ask(number, Arc::clone(member)), said.clone());
            tokio::spawn(async move { drop(said.send((number, asked.await))) });
        }
        let mut tally = Tally::new(self.members.len());
        let mut errors = Vec::new();
        while tally.upkeep() == Standing::Open {
            let (member, vote) = match timeout_at(end, votes.recv()).await {
                Ok(Some((member, Ok(vote)))) => (member, vote),
                Ok(Some((member, Err(error)))) => {
                    errors.push(error);
                    (member, Vote::Failed)
                }
                Ok(None) | Err(_) => {
                    errors.push(no_answer());
                    break;
                }
            };
            tally.vote(member, vote);
        }
        (tally, errors)
    }
}

/// A member that did not grant it is not asked, and one that has a token of its own is asked by that.
async fn prolong_at(
    number: usize,
    member: Member,
    seats: Option<Arc<Seats>>,
    mut request: RenewRequest,
) -> Result<Vote> {
    let (token, within) = (request.token, request.timeout);
    let renewed = async {
        let Some(seat) = seats.as_ref().and_then(|seats| seats.each.get(number)) else {
            return renew(&member, &mut Seat::default(), &request).await;
        };
        let mut seat = seat.lock().await;
        let Some(own) = seat.token else {
            return Ok(RenewOutcome::Lost);
        };
        (request.token, request.raise_token) = (own, seat.raising);
        renew(&member, &mut seat, &request).await
    };
    match timeout(within, renewed).await {
        Ok(Ok(RenewOutcome::Renewed(validity))) => Ok(Vote::For(Ballot { token, validity })),
        Ok(Ok(RenewOutcome::Lost)) => Ok(Vote::Against),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(no_answer()),
    }
}

async fn end_at(
    number: usize,
    member: Member,
    seats: Option<Arc<Seats>>,
    request: ReleaseRequest,
) -> Result<Vote> {
    // However long it takes until it is this one's turn: nobody else ends what an earlier attempt may yet be granted.
    let seat = seats.as_ref().and_then(|seats| seats.each.get(number));
    let _seat = match seat {
        Some(seat) => Some(seat.lock().await),
        None => None,
    };
    let released = timeout(request.timeout, member.release(&request)).await;
    match released.unwrap_or_else(|_| Err(no_answer()))? {
        ReleaseOutcome::Released => Ok(Vote::Done),
        ReleaseOutcome::NotHeld => Ok(Vote::Against),
    }
}
