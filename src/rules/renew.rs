use super::ServerTime;
use crate::backend::RenewRequest;
use crate::record::RETENTION;
use crate::time::Timestamp;
use crate::{LockRecord, Mode, Ttl};

/// What [`renew`] decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// The lease lives on, by writing this record in place of the one that was seen.
    Write(Box<LockRecord>),
    /// A later attempt of the same lease stands already; nothing is written.
    Newer {
        /// Which attempt.
        seq: u64,
        /// Until when it lives.
        expires_at: Timestamp,
        /// How long it lives without renewal.
        ttl: Ttl,
    },
    /// A later grant has the token that the lease's shall become, or a greater one; nothing is written.
    Passed,
    /// The lease is not there any more.
    Lost,
}

/// Decides whether a lease lives on. One that expired but that nobody evicted does, with its token.
#[must_use]
pub fn renew(record: Option<&LockRecord>, request: &RenewRequest, time: &ServerTime) -> Renewed {
    let Some(seen) = record else {
        return Renewed::Lost;
    };
    let Some(standing) = seen.holder(&request.id) else {
        return Renewed::Lost;
    };
    let raise = request.raise_token.filter(|raise| *raise > request.token);
    let is_mine = |token: u64| token == request.token || Some(token) == raise;
    // Granted anew meanwhile, perhaps by a late duplicate: in between, others may have held.
    let is_regranted = standing.token.is_some_and(|token| !is_mine(token))
        || (request.mode == Mode::Exclusive && !is_mine(seen.token));
    if is_regranted || !seen.mode.same_kind(request.mode) {
        return Renewed::Lost;
    }
    // Where the holder has no token of its own, an exclusive one's is the record's.
    let alone = (request.mode == Mode::Exclusive).then_some(seen.token);
    let raise = raise.filter(|raise| standing.token.or(alone) != Some(*raise));
    if raise.is_some_and(|raise| seen.token >= raise) {
        return Renewed::Passed;
    }
    if standing.seq >= request.seq && raise.is_none() {
        return Renewed::Newer {
            seq: standing.seq,
            expires_at: standing.expires_at,
            ttl: standing.ttl,
        };
    }

    let mut next = seen.clone();
    next.rev = next.rev.saturating_add(1);
    next.token = raise.unwrap_or(next.token);
    let pinned = next.pinned;
    if let Some(holder) = next.holder_mut(&request.id) {
        holder.ttl = holder.ttl.max(request.ttl);
        let expires_at = time.expiry(holder.ttl);
        holder.expires_at = if time.keep_later_expiry {
            expires_at.max(holder.expires_at)
        } else {
            expires_at
        };
        holder.seq = holder.seq.max(request.seq);
        holder.token = holder.token.map(|token| raise.unwrap_or(token));
        if request.restamp {
            holder.acquired_at = time.stamp;
        }
        let purge_at = holder.expires_at.saturating_add(RETENTION);
        next.purge_at = Some(pinned.unwrap_or(purge_at));
    }
    Renewed::Write(Box::new(next))
}
