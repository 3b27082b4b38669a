//! A grant beside whatever others do meanwhile: it names each entry that it evicts, and does not ask for the rest to be
//! unchanged. Under compare-and-swap, a crowd of holders that renew would never leave a quiet moment for it.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::backend::AcquireRequest;
use crate::backend::store::Seen;
use crate::{Holder, LockRecord, Mode, Waiter};

use super::expression::{Expression, NEXT, OPEN, SHAPE, next_token};
use super::grant::mine;
use super::record::{entry_key, holder_entry, millis, number, seconds, text};

/// How many entries one claim evicts: an expression has room for 300 operators and 4 KB of text.
const MOST: usize = 20;

/// The rests of minimum holds of an item, under their keys.
pub(super) type Lingers = Vec<(String, Holder)>;

impl Expression {
    /// A grant that is decided already, as far as nobody's change since takes its ground away. What it evicts is to be
    /// named by [`and`](Self::and) and [`remove`](Self::remove).
    fn claim(exclusive: bool, floor: Option<u64>) -> Self {
        let (token, below) = next_token(floor, NEXT);
        let (entry, room) = if exclusive {
            ("#holders = :mine", "size(#holders) = :dead")
        } else {
            (
                "#holders.#me = :holder",
                "(size(#holders) = :dead OR (#mode = :mode AND size(#holders) <= :room))",
            )
        };
        Self::new(
            format!(
                "SET {entry}, #mode = :mode, #limit = :limit, #token = {token}, \
                 #rev = #rev + :one, #purge_at = if_not_exists(#pinned, :purge)"
            ),
            format!("{SHAPE} AND {OPEN} AND attribute_not_exists(#holders.#me) AND {room}{below}"),
        )
        .with_floor(floor)
    }
}

/// What a claim does to the record that was seen.
struct Claim<'a> {
    request: &'a AcquireRequest,
    seen: &'a LockRecord,
    holder: &'a Holder,
    /// My place in the queue.
    place: Option<&'a Waiter>,
    /// The holders that it evicts.
    dead: Vec<&'a Holder>,
    /// The waiters that it evicts.
    late: Vec<&'a Waiter>,
}

/// The claim that makes `next` of what was seen. `None`: that is more than a claim may do, and a case for a swap.
pub(super) fn claim(
    request: &AcquireRequest,
    seen: &Seen,
    next: &LockRecord,
    lingers: Lingers,
) -> Option<Expression> {
    let claim = Claim::of(request, seen, next)?.within_limits(next)?;
    claim.expression(next, lingers)
}

impl<'a> Claim<'a> {
    fn of(request: &'a AcquireRequest, seen: &'a Seen, next: &'a LockRecord) -> Option<Self> {
        let record = seen.record.as_ref()?;
        let place = record.waiter(&request.id);
        let gone = |waiter: &&Waiter| !next.queue.contains(waiter) && Some(*waiter) != place;
        let claim = Self {
            request,
            seen: record,
            holder: next.holder(&request.id)?,
            place,
            dead: (record.holders.iter())
                .filter(|holder| !next.holders.contains(holder))
                .collect(),
            late: record.queue.iter().filter(gone).collect(),
        };
        // One's own lock or place is taken over on the whole record only: decided blindly, a late duplicate of an
        // older acquisition would replace a newer one. And who passes the living must have seen all of them.
        let is_mine = |holder: &&Holder| holder.owner() == Some(&request.owner);
        let may_go = |waiter: &&Waiter| {
            waiter.expires_at <= seen.time.earliest && waiter.claimant.owner != request.owner
        };
        let is_claim = request.slot.is_none()
            && !claim.dead.iter().any(is_mine)
            && claim.late.iter().all(may_go)
            && claim.changes_all_of(next);
        is_claim.then_some(claim)
    }

    /// Whether nothing else is different in `next`: no expiry was cut down, no slot began.
    fn changes_all_of(&self, next: &LockRecord) -> bool {
        let mut made = self.seen.clone();
        made.rev = next.rev;
        made.token = next.token;
        made.mode = self.request.mode;
        made.purge_at = next.purge_at;
        made.holders.retain(|holder| !self.dead.contains(&holder));
        made.holders.push(self.holder.clone());
        made.queue
            .retain(|waiter| Some(waiter) != self.place && !self.late.contains(&waiter));
        made == *next
    }

    /// Beside the living, what does not fit in is left to the next one, where it may stay: as long as they renew, a swap
    /// would not get through.
    fn within_limits(mut self, next: &LockRecord) -> Option<Self> {
        if next.holders.len() > 1 {
            self.dead.truncate(MOST);
            if self.place.is_some() {
                self.late.truncate(MOST - self.dead.len());
            }
        }
        let left = self.seen.holders.len() - self.dead.len();
        let fits = self.dead.len() + self.late.len() <= MOST;
        (fits && left < self.request.mode.capacity()).then_some(self)
    }

    fn expression(&self, next: &LockRecord, mut lingers: Lingers) -> Option<Expression> {
        let (owner, mode) = (&self.request.owner, self.request.mode);
        let entry = AttributeValue::M(holder_entry(self.holder));
        let alone = HashMap::from([(entry_key(owner), entry.clone())]);
        // Where the next token is enough now, it is whatever others do meanwhile.
        let jumps = next.token > self.seen.token.saturating_add(1);
        let claim = Expression::claim(mode == Mode::Exclusive, jumps.then_some(next.token))
            .value("holder", entry)
            .value("mine", AttributeValue::M(alone))
            .value("mode", text(mode.name()))
            .value("limit", number(mode.limit()))
            .value("dead", number(self.dead.len()))
            .value("room", number(mode.capacity() + self.dead.len() - 1))
            .value("purge", seconds(next.purge_at?));
        let mut claim = self.out_of_queue(mine(claim, owner, &self.request.id));
        for (index, holder) in self.dead.iter().enumerate() {
            claim = self.without_holder(claim, &format!("d{index}"), holder, &mut lingers)?;
        }
        for (index, waiter) in self.late.iter().enumerate() {
            claim = without_waiter(claim, &format!("w{index}"), waiter);
        }
        Some(claim)
    }

    /// Out of the queue, if I stand there since then; otherwise nobody may have joined those that were seen in it.
    fn out_of_queue(&self, claim: Expression) -> Expression {
        match self.place {
            Some(place) => claim
                .and("#queue.#me.#id = :id AND #queue.#me.#enqueued_at = :since")
                .value("since", millis(place.enqueued_at))
                .remove("#queue.#me, #tickets.#me"),
            None => claim
                .and("size(#queue) <= :waiting AND size(#tickets) <= :waiting")
                .value("waiting", number(self.seen.queue.len())),
        }
    }

    fn without_holder(
        &self,
        mut claim: Expression,
        name: &str,
        holder: &Holder,
        lingers: &mut Lingers,
    ) -> Option<Expression> {
        let path = format!("#holders.#{name}");
        // An exclusive grant replaces them all.
        if self.request.mode != Mode::Exclusive {
            claim = claim.remove(&path);
        }
        claim = claim
            .and(&format!("{path}.#seq = :{name}_seq"))
            .value(format!("{name}_seq"), number(holder.seq));
        let Some(claimant) = &holder.claimant else {
            let index = lingers.iter().position(|(_, linger)| linger == holder)?;
            return Some(
                claim
                    .and(&format!("{path}.#expires_at = :{name}_end"))
                    .value(format!("{name}_end"), millis(holder.expires_at))
                    .name(name.to_owned(), lingers.swap_remove(index).0),
            );
        };
        Some(
            claim
                .and(&format!("{path}.#id = :{name}_id"))
                .value(format!("{name}_id"), text(claimant.id.as_str()))
                .name(name.to_owned(), entry_key(&claimant.owner)),
        )
    }
}

fn without_waiter(claim: Expression, name: &str, waiter: &Waiter) -> Expression {
    let path = format!("#queue.#{name}");
    claim
        .remove(&format!("{path}, #tickets.#{name}"))
        .and(&format!(
            "{path}.#id = :{name}_id AND {path}.#seq = :{name}_seq"
        ))
        .value(format!("{name}_id"), text(waiter.claimant.id.as_str()))
        .value(format!("{name}_seq"), number(waiter.seq))
        .name(name.to_owned(), entry_key(&waiter.claimant.owner))
}

#[cfg(test)]
mod tests;
