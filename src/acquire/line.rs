//! Waiting among the tasks of one client that want the same lock, before the database is asked.

use std::time::Duration;

use super::{Acquisition, no_answer, wait_timeout};
use crate::backend::{AcquireOutcome, Contention, Queueing, Reason};
use crate::worker::{Crowd, Turn, closed};
use crate::{Error, Mode, Result};

impl Acquisition<'_> {
    /// Waits for its turn among those of this client that want the key. The answer to a first attempt, if that was made in
    /// the place of a lease that ended.
    pub(super) async fn line_up(&mut self) -> Result<Option<Result<AcquireOutcome>>> {
        if !self.waits || !self.plan.stands_in_line() {
            return Ok(None);
        }
        let inner = self.client.inner();
        self.plan.request.timeout = inner.request_timeout;
        let left = self.budget.left(self.now());
        let line = inner.worker.line(self.plan.clone(), self.renewal.clone());
        let Ok(turn) = tokio::time::timeout(left, line).await else {
            return Err(self.held_here().await);
        };
        match turn? {
            Turn::Ask(crowd) => {
                // Where many of this client want a lock, those of other clients get their turns as well.
                if crowd == Crowd::Some && inner.backend.hands_over() {
                    self.plan.request.queueing = Queueing::Fair;
                }
                Ok(None)
            }
            Turn::Offer(offer) => {
                self.plan.request.owner = offer.owner;
                self.renewal = offer.renewal;
                self.story.asks(self.now());
                let left = self.budget.left(self.now());
                let answer = match tokio::time::timeout(left, offer.answer).await {
                    Ok(answer) => answer.unwrap_or_else(|_| Err(closed())),
                    Err(_) => Err(no_answer()),
                };
                // Gone before it could be handed on: this one asks as if nothing had been offered.
                let is_gone = |refusal: &Contention| refusal.reason == Reason::Replaced;
                let gone = matches!(&answer, Ok(AcquireOutcome::Held(refusal)) if is_gone(refusal));
                Ok(Some(answer).filter(|_| !gone))
            }
        }
    }

    /// Nobody has asked the database for it: this client knows who holds the lock.
    async fn held_here(&self) -> Error {
        let worker = &self.client.inner().worker;
        match worker.holder(&self.plan.request.key).await {
            Ok(holder) => {
                let holders = holder.into_iter().collect();
                let refusal =
                    Contention::new(Reason::Busy, Mode::Exclusive, holders, Duration::MAX);
                wait_timeout(&refusal)
            }
            Err(error) => error,
        }
    }
}
