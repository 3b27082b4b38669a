//! What an acquisition writes: a new entry in the plain case, else the whole record.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::backend::AcquireRequest;
use crate::backend::store::Seen;
use crate::record::RETENTION;
use crate::rules::{ServerTime, sane_floor};
use crate::{Claimant, Holder, LeaseId, LockRecord, Mode, Owner};

use super::expression::Expression;
use super::record::{encode, entry_key, holder_entry, number, seconds, text};

/// Binds what tells my entry from others.
pub(super) fn mine(expression: Expression, owner: &Owner, id: &LeaseId) -> Expression {
    expression
        .name("me", entry_key(owner))
        .value("owner", text(owner.as_str()))
        .value("id", text(id.as_str()))
}

pub(super) fn new_holder(request: &AcquireRequest, time: &ServerTime) -> Holder {
    let claimant = Claimant {
        owner: request.owner.clone(),
        id: request.id.clone(),
    };
    let expires_at = time.expiry(request.ttl);
    let mut holder = Holder::new(
        Some(claimant),
        time.stamp,
        expires_at,
        request.ttl,
        request.seq,
    );
    holder.label.clone_from(&request.label);
    holder.data.clone_from(&request.data);
    holder
}

/// The grant that the server decides by itself; it says the same as [`admit`](crate::rules::admit).
pub(super) fn plain_grant(
    request: &AcquireRequest,
    holder: &Holder,
    time: &ServerTime,
    creates: bool,
) -> Expression {
    let floor = Some(sane_floor(request.token_floor, time)).filter(|floor| *floor > 0);
    let purge_at = holder.expires_at.saturating_add(RETENTION);
    let entry = AttributeValue::M(holder_entry(holder));
    let expression = if request.mode == Mode::Exclusive {
        let holders = HashMap::from([(entry_key(&request.owner), entry)]);
        let exclusive = Expression::exclusive(creates, floor);
        let exclusive = match request.slot {
            Some(slot) => exclusive.once(slot.until_done),
            None => exclusive,
        };
        exclusive
            .value("mine", AttributeValue::M(holders))
            .value("seed", number(time.token_floor.saturating_sub(1)))
            .value("id", text(request.id.as_str()))
    } else {
        mine(Expression::sharable(floor), &request.owner, &request.id)
            .value("holder", entry)
            .value("mode", text(request.mode.name()))
            .value("limit", number(request.mode.limit()))
            .value("room", number(request.mode.capacity()))
    };
    expression.value("purge", seconds(purge_at))
}

/// The whole record, under the condition that it is still the one that was seen. An update, not a `PutItem`:
/// attributes that are not doclock's stay.
pub(super) fn replacement(seen: &Seen, next: &LockRecord) -> Expression {
    let (mut set, mut remove) = (Vec::new(), Vec::new());
    let fields = encode(next);
    for (name, value) in &fields {
        match value {
            Some(_) => set.push(format!("#{name} = :{name}")),
            None => remove.push(format!("#{name}")),
        }
    }
    let removals = if remove.is_empty() {
        String::new()
    } else {
        format!(" REMOVE {}", remove.join(", "))
    };
    let condition = match &seen.record {
        Some(_) => "#rev = :seen_rev AND #token = :seen_token",
        None => "attribute_not_exists(#pk)",
    };
    let mut expression = Expression::new(format!("SET {}{removals}", set.join(", ")), condition);
    if let Some(record) = &seen.record {
        expression = expression
            .value("seen_rev", number(record.rev))
            .value("seen_token", number(record.token));
    }
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .fold(expression, |expression, (name, value)| {
            expression.value(name, value)
        })
}
