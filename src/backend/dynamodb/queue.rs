//! Joining the queue, staying in it, and leaving.

use aws_sdk_dynamodb::types::AttributeValue;

use crate::LockRecord;
use crate::backend::AcquireRequest;

use super::expression::{Expression, OPEN, SHAPE};
use super::grant::mine;
use super::record::{millis, number, waiter_entry};

/// My place in the queue is mine and well-formed.
const QUEUED: &str = "#queue.#me.#id = :id AND #queue.#me.#owner = :owner \
    AND #tickets.#me BETWEEN :zero AND :most \
    AND ((#queue.#me.#mode IN (:exclusive, :shared) AND #queue.#me.#limit = :zero) \
        OR (#queue.#me.#mode = :permit AND #queue.#me.#limit BETWEEN :one AND :cap)) \
    AND #queue.#me.#enqueued_at BETWEEN :zero AND :most \
    AND #queue.#me.#expires_at BETWEEN :zero AND :most \
    AND #queue.#me.#ttl_ms BETWEEN :one AND :max_ttl \
    AND #queue.#me.#seq BETWEEN :zero AND :most";

/// The acquisition does not hold yet, though another of its owner may.
const NOT_HELD: &str = "(attribute_not_exists(#holders.#me) OR #holders.#me.#id <> :id)";

impl Expression {
    /// A place at the end of the queue. Tickets grow with `rev`, so each is later than all before.
    fn enqueue() -> Self {
        Self::new(
            "SET #queue.#me = :waiter, #tickets.#me = #rev + :one, #rev = #rev + :one",
            format!(
                "{SHAPE} AND {OPEN} AND {NOT_HELD} \
                 AND attribute_not_exists(#queue.#me) AND size(#queue) < :cap"
            ),
        )
    }

    /// A longer life for my place in the queue. It does not raise `rev`: no decision rests on it.
    fn heartbeat() -> Self {
        Self::new(
            "SET #queue.#me.#expires_at = :expires, #queue.#me.#seq = :seq",
            format!("{SHAPE} AND {QUEUED} AND #queue.#me.#seq < :seq"),
        )
    }

    /// The end of my place in the queue.
    pub(super) fn leave() -> Self {
        Self::new(
            "SET #rev = #rev + :one REMOVE #queue.#me, #tickets.#me",
            format!("{SHAPE} AND {QUEUED} AND {NOT_HELD}"),
        )
    }
}

/// The write that makes `next` of what was seen by touching my own entry only. `None`: that is not enough.
pub(super) fn place(
    request: &AcquireRequest,
    seen: &LockRecord,
    next: &LockRecord,
) -> Option<Expression> {
    let entry = next.waiter(&request.id)?;
    let mut made = seen.clone();
    let mut queue = made.queue.iter_mut();
    let expression = if let Some(standing) = queue.find(|waiter| waiter.claimant == entry.claimant)
    {
        standing.expires_at = entry.expires_at;
        standing.seq = entry.seq;
        Expression::heartbeat()
            .value("expires", millis(entry.expires_at))
            .value("seq", number(entry.seq))
    } else {
        made.rev = made.rev.saturating_add(1);
        made.queue.push(entry.clone());
        Expression::enqueue().value("waiter", AttributeValue::M(waiter_entry(entry)))
    };
    (made == *next).then(|| mine(expression, &request.owner, &request.id))
}
