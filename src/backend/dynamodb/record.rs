//! A lock record as an item: strict on the way in, because whatever else lies under a key is not ours to change.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use sha2::{Digest, Sha256};

use crate::record::{FORMAT, Label, Payload};
use crate::time::Timestamp;
use crate::{Claimant, Error, Holder, LeaseId, LockRecord, Owner, Result, Ttl, Waiter};

use super::field::Fields;

#[cfg(test)]
mod fuzz;

/// An item, or a map within one.
pub(super) type Item = HashMap<String, AttributeValue>;

/// Where an owner's entries stand: it becomes part of a path, so it must not be the owner itself.
pub(super) fn entry_key(owner: &Owner) -> String {
    hash(owner.as_str())
}

/// Where the rest of an acquisition's minimum hold stands. No owner's entry: no hash looks like this.
pub(super) fn linger_key(id: &LeaseId) -> String {
    format!("linger-{}", hash(id.as_str()))
}

fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let hex = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    let bytes = digest.iter().take(16);
    bytes
        .flat_map(|byte| [hex(byte >> 4), hex(byte & 15)])
        .collect()
}

pub(super) fn number(value: impl ToString + Copy) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub(super) fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

pub(super) fn millis(time: Timestamp) -> AttributeValue {
    number(time.as_millis().max(0))
}

/// What the database's TTL wants: seconds. Rounded up, for it may only ever be late.
pub(super) fn seconds(time: Timestamp) -> AttributeValue {
    let up = time.as_millis().max(0).saturating_add(999);
    number(up / 1000)
}

/// Reads a record.
pub(super) fn decode(item: &Item) -> Result<LockRecord> {
    let item = Fields::of(item);
    let version = item.integer("v")?;
    if version != FORMAT {
        return Err(Error::corrupt("v", format_args!("is {version}")));
    }
    let mut record = LockRecord::new(item.mode()?);
    record.rev = item.unsigned("rev")?;
    record.token = item.unsigned("token")?;
    record.holders = holders(&item.entries("holders")?)?;
    record.queue = queue(&item.entries("queue")?, &item.entries("tickets")?)?;
    record.free_at = item.optional("free_at", Fields::time)?;
    record.closed = item.optional("closed", lease_id)?;
    record.slot_started = item.optional("slot_started", Fields::time)?;
    record.slot_done = item.optional("slot_done", Fields::time)?;
    record.pinned = item.optional("pinned", Fields::whole_seconds)?;
    record.state = item.optional("state", payload)?;
    record.purge_at = item.optional("purge_at", Fields::whole_seconds)?;
    Ok(record)
}

/// Reads a record that is to be written again, with higher numbers: they must be readable afterwards.
pub(super) fn decode_to_raise(item: &Item) -> Result<LockRecord> {
    let record = decode(item)?;
    for (field, number) in [("rev", record.rev), ("token", record.token)] {
        if number >= i64::MAX.unsigned_abs() {
            return Err(Error::corrupt(field, "is at the end of its range"));
        }
    }
    Ok(record)
}

/// What stays of minimum holds, with the keys of the entries: a record does not tell them.
pub(super) fn lingers(item: &Item) -> Result<Vec<(String, Holder)>> {
    let entries = Fields::of(item).entries("holders")?;
    let mut lingers = Vec::new();
    for key in entries.names() {
        let entry = entries.entries(key)?;
        if !entry.has("owner") {
            lingers.push((key.to_owned(), holder(key, &entry)?));
        }
    }
    Ok(lingers)
}

fn holders(entries: &Fields<'_>) -> Result<Vec<Holder>> {
    let mut holders = Vec::new();
    for key in entries.names() {
        let holder = holder(key, &entries.entries(key)?)?;
        holders.push((holder.acquired_at, key, holder));
    }
    // A map has no order of its own; the same record must always read the same.
    holders.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    Ok(holders.into_iter().map(|(_, _, holder)| holder).collect())
}

fn holder(key: &str, entry: &Fields<'_>) -> Result<Holder> {
    let claimant = match (entry.has("owner"), entry.has("id")) {
        (false, false) => None,
        _ => Some(claimant(key, entry)?),
    };
    let mut holder = Holder::new(
        claimant,
        entry.time("acquired_at")?,
        entry.time("expires_at")?,
        ttl(entry)?,
        entry.unsigned("seq")?,
    );
    holder.label = entry.optional("label", |entry, name| {
        Label::new(entry.text(name)?).map_err(|_| entry.wrong(name, "is no label"))
    })?;
    holder.data = entry.optional("data", payload)?;
    Ok(holder)
}

fn queue(entries: &Fields<'_>, tickets: &Fields<'_>) -> Result<Vec<Waiter>> {
    let mut waiters = Vec::new();
    for key in entries.names() {
        let entry = entries.entries(key)?;
        let waiter = Waiter::new(
            claimant(key, &entry)?,
            entry.mode()?,
            entry.time("enqueued_at")?,
            entry.time("expires_at")?,
            ttl(&entry)?,
            entry.unsigned("seq")?,
        );
        waiters.push((tickets.unsigned(key)?, key, waiter));
    }
    if let Some(stray) = tickets.names().into_iter().find(|key| !entries.has(key)) {
        return Err(tickets.wrong(stray, "belongs to nobody in the queue"));
    }
    waiters.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    Ok(waiters.into_iter().map(|(_, _, waiter)| waiter).collect())
}

fn claimant(key: &str, entry: &Fields<'_>) -> Result<Claimant> {
    let owner =
        Owner::new(entry.text("owner")?).map_err(|_| entry.wrong("owner", "is no owner"))?;
    if entry_key(&owner) != key {
        return Err(entry.wrong("owner", "does not stand under its own hash"));
    }
    let id = lease_id(entry, "id")?;
    Ok(Claimant { owner, id })
}

fn lease_id(fields: &Fields<'_>, name: &str) -> Result<LeaseId> {
    LeaseId::new(fields.text(name)?).map_err(|_| fields.wrong(name, "is no id"))
}

fn payload(fields: &Fields<'_>, name: &str) -> Result<Payload> {
    fields
        .text(name)
        .map(|json| Payload::from_record(json.to_owned()))
}

fn ttl(entry: &Fields<'_>) -> Result<Ttl> {
    Ttl::from_record(&entry.path("ttl_ms"), entry.integer("ttl_ms")?)
}

/// A whole record as its attributes; those that are `None` must not stand in the item.
pub(super) fn encode(record: &LockRecord) -> Vec<(&'static str, Option<AttributeValue>)> {
    let holders = record.holders.iter().enumerate();
    let holders = holders.map(|(index, holder)| {
        let nobodys = || format!("linger-{index:03}");
        let key = holder.owner().map_or_else(nobodys, entry_key);
        (key, AttributeValue::M(holder_entry(holder)))
    });
    let waiter_key = |waiter: &Waiter| entry_key(&waiter.claimant.owner);
    let queue = record.queue.iter();
    let queue = queue.map(|waiter| (waiter_key(waiter), AttributeValue::M(waiter_entry(waiter))));
    // Later tickets are `rev + 1`, and `rev` has grown with every waiter: these stay ahead of them.
    let tickets = record.queue.iter().enumerate();
    let tickets = tickets.map(|(place, waiter)| (waiter_key(waiter), number(place)));
    vec![
        ("v", Some(number(FORMAT))),
        ("rev", Some(number(record.rev))),
        ("token", Some(number(record.token))),
        ("mode", Some(text(record.mode.name()))),
        ("limit", Some(number(record.mode.limit()))),
        ("holders", Some(AttributeValue::M(holders.collect()))),
        ("queue", Some(AttributeValue::M(queue.collect()))),
        ("tickets", Some(AttributeValue::M(tickets.collect()))),
        ("free_at", record.free_at.map(millis)),
        ("closed", record.closed.as_ref().map(|id| text(id.as_str()))),
        ("slot_started", record.slot_started.map(millis)),
        ("slot_done", record.slot_done.map(millis)),
        ("pinned", record.pinned.map(seconds)),
        (
            "state",
            record.state.as_ref().map(|state| text(state.as_json())),
        ),
        ("purge_at", record.purge_at.map(seconds)),
    ]
}

/// One entry of `holders`.
pub(super) fn holder_entry(holder: &Holder) -> Item {
    let mut entry = HashMap::from([
        ("acquired_at".to_owned(), millis(holder.acquired_at)),
        ("expires_at".to_owned(), millis(holder.expires_at)),
        ("ttl_ms".to_owned(), number(holder.ttl.as_millis())),
        ("seq".to_owned(), number(holder.seq)),
    ]);
    if let Some(claimant) = &holder.claimant {
        entry.extend(claimant_fields(claimant));
    }
    if let Some(label) = &holder.label {
        entry.insert("label".to_owned(), text(label.as_str()));
    }
    if let Some(data) = &holder.data {
        entry.insert("data".to_owned(), text(data.as_json()));
    }
    entry
}

/// One entry of `queue`.
pub(super) fn waiter_entry(waiter: &Waiter) -> Item {
    let mut entry = HashMap::from([
        ("mode".to_owned(), text(waiter.mode.name())),
        ("limit".to_owned(), number(waiter.mode.limit())),
        ("enqueued_at".to_owned(), millis(waiter.enqueued_at)),
        ("expires_at".to_owned(), millis(waiter.expires_at)),
        ("ttl_ms".to_owned(), number(waiter.ttl.as_millis())),
        ("seq".to_owned(), number(waiter.seq)),
    ]);
    entry.extend(claimant_fields(&waiter.claimant));
    entry
}

fn claimant_fields(claimant: &Claimant) -> [(String, AttributeValue); 2] {
    [
        ("owner".to_owned(), text(claimant.owner.as_str())),
        ("id".to_owned(), text(claimant.id.as_str())),
    ]
}
