//! What an acquisition was asked to do, with everything checked that can be checked without a request.

use std::time::Duration;

use crate::backend::{AcquireRequest, Queueing, ReleaseRequest};
use crate::client::invalid;
use crate::renewal::{Renewal, Span};
use crate::time::Moment;
use crate::{Mode, Result, Ttl};

/// A lock that is to be taken.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) request: AcquireRequest,
    pub(crate) deadline: Option<Span>,
    pub(crate) max_hold: Option<Duration>,
    pub(crate) min_hold: Option<Ttl>,
    pub(crate) takes_turns: bool,
    /// Whoever it is for does not matter: it may be granted in the name of another task's lease, and handed on as one.
    pub(crate) any_owner: bool,
    pub(crate) automatic: bool,
    /// When it was first granted, if it is a lease already whose mode is to change: limits count from there.
    pub(crate) since: Option<Moment>,
}

impl Plan {
    /// Shortens the ttl so that the record does not outlive the deadline; the margin with it.
    pub(crate) fn fit_deadline(&mut self, now: Moment) -> Result<()> {
        let Some(deadline) = self.deadline else {
            return Ok(());
        };
        let left = deadline.left(now);
        let ttl = self.request.ttl.as_duration();
        if left >= ttl {
            return Ok(());
        }
        self.request.ttl = Ttl::new(left).map_err(|_| {
            invalid(format!(
                "the deadline is {left:?} away: too near to do anything under a lock"
            ))
        })?;
        self.request.margin = self.request.margin.mul_f64(left.div_duration_f64(ttl));
        Ok(())
    }

    /// Sets the end that no renewal moves. A maximum hold counts from the grant.
    pub(crate) fn cap(&self, renewal: &mut Renewal, now: Moment) {
        let from = self.since.unwrap_or(now);
        let max_hold = self.max_hold.map(|length| Span { from, length });
        let terms = (self.request.ttl.as_duration(), self.request.margin);
        renewal.end_with(terms, max_hold, self.deadline, now);
    }

    /// Whether it waits in line with others of this client: whoever is served in another order asks for itself.
    pub(crate) fn stands_in_line(&self) -> bool {
        let request = &self.request;
        request.mode == Mode::Exclusive
            && request.queueing == Queueing::WhenNeeded
            && request.slot.is_none()
            && request.replaces.is_none()
    }

    /// Whether it may take the place of another task's lease.
    pub(crate) fn may_be_handed(&self) -> bool {
        self.any_owner && self.deadline.is_none()
    }

    /// What ends it.
    pub(crate) fn ending(&self, timeout: Duration) -> ReleaseRequest {
        let request = &self.request;
        let mut release = ReleaseRequest::new(&request.key, &request.owner, &request.id);
        release.timeout = timeout;
        release
    }
}
