//! `rules::admit` for an exclusive lock that one acquisition hands to the next of its owner, as a condition.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::backend::AcquireRequest;
use crate::backend::store::Written;
use crate::record::RETENTION;
use crate::rules::{ServerTime, sane_floor};
use crate::{Holder, LeaseId, Result};

use super::acquire::Attempt;
use super::expression::{Expression, MINE, NEXT, PURGE, SHAPE, next_token};
use super::grant::{mine, new_holder};
use super::record::{entry_key, holder_entry, millis, number, seconds, text};
use super::request::Update;

impl Attempt<'_> {
    /// Puts the request in the place of the lease that it names, or shows what stands there.
    pub(super) async fn hand_over(
        &self,
        request: &AcquireRequest,
        replaced: &LeaseId,
    ) -> Result<Written> {
        let time = self.backend.write_time();
        let holder = new_holder(request, &time);
        let expression = handing(request, replaced, &holder, &time);
        match self.update(request, &expression).await? {
            Update::Applied(item, exchange) => self.granted(request, &holder, &item, &exchange),
            // Nothing stands there, or something on the way dropped it.
            Update::Refused(None, _) => self.read(request).await,
            Update::Refused(item, _) => self.shown(request, item).await,
        }
    }
}

/// A new holder in the place of the only one, whoever queues. There, `:id` is the lease that ends.
///
/// Left alone are: a ttl or an expiry that is greater than the new one, an owner that queues as well, and a lease that may
/// have expired while others queue. The dead in the queue stay for the next one that sees them.
fn handing(
    request: &AcquireRequest,
    replaced: &LeaseId,
    holder: &Holder,
    time: &ServerTime,
) -> Expression {
    let floor = Some(sane_floor(request.token_floor, time)).filter(|floor| *floor > 0);
    let (token, below) = next_token(floor, NEXT);
    let expression = Expression::new(
        format!(
            "SET #holders = :mine, #token = {token}, #rev = #rev + :one, #closed = :id, {PURGE}"
        ),
        format!(
            "{SHAPE} AND {MINE} AND (attribute_not_exists(#closed) OR #closed <> :next) \
             AND #mode = :exclusive AND size(#holders) = :one \
             AND #holders.#me.#ttl_ms <= :ttl AND #holders.#me.#expires_at <= :expires \
             AND (#holders.#me.#expires_at > :now OR size(#queue) = :zero) \
             AND attribute_not_exists(#queue.#me) AND attribute_not_exists(#tickets.#me){below}"
        ),
    );
    let entry = AttributeValue::M(holder_entry(holder));
    let alone = HashMap::from([(entry_key(&request.owner), entry)]);
    let purge_at = holder.expires_at.saturating_add(RETENTION);
    mine(expression, &request.owner, replaced)
        .with_floor(floor)
        .value("mine", AttributeValue::M(alone))
        .value("next", text(request.id.as_str()))
        .value("ttl", number(holder.ttl.as_millis()))
        .value("expires", millis(holder.expires_at))
        .value("now", millis(time.latest))
        .value("purge", seconds(purge_at))
}
