//! A record as a MongoDB document, and back.

use mongodb::bson::{Bson, DateTime, Document, doc};

use super::field::Fields;
use crate::record::{FORMAT, Label, Payload};
use crate::time::Timestamp;
use crate::{Claimant, Error, Holder, LeaseId, LockRecord, Owner, Result, Waiter};

#[cfg(test)]
mod fuzz;

/// The fields that this crate writes. All others are the user's: kept, and never read.
pub(super) const FIELDS: [&str; 15] = [
    "v",
    "rev",
    "token",
    "mode",
    "limit",
    "holders",
    "queue",
    "freeAt",
    "closed",
    "slotStarted",
    "slotDone",
    "pinned",
    "state",
    "purgeAt",
    "_id",
];

/// Reads a document. One with nothing but `_id` is no record yet.
///
/// Strict: whatever this accepts, the rules may act on and write over. The server's own test, in `shape`, accepts
/// nothing that this refuses.
pub(super) fn decode(document: &Document) -> Result<Option<LockRecord>> {
    if document.keys().all(|field| field == "_id") {
        return Ok(None);
    }
    let fields = Fields::of(document);
    let format = fields.integer("v")?;
    if format != FORMAT {
        return Err(fields.wrong(
            "v",
            format_args!("is {format}, a format of another version"),
        ));
    }
    let mut record = LockRecord::new(fields.mode()?);
    record.rev = fields.unsigned("rev")?;
    record.token = fields.unsigned("token")?;
    record.holders = fields.elements("holders", holder)?;
    record.queue = fields.elements("queue", waiter)?;
    record.free_at = fields.optional("freeAt", Fields::time)?;
    record.closed = fields.optional("closed", |fields, name| fields.name(name, LeaseId::new))?;
    record.slot_started = fields.optional("slotStarted", Fields::time)?;
    record.slot_done = fields.optional("slotDone", Fields::time)?;
    record.pinned = fields.optional("pinned", Fields::time)?;
    record.state = fields.optional("state", payload)?;
    record.purge_at = fields.optional("purgeAt", Fields::time)?;
    Ok(Some(record))
}

fn payload(fields: &Fields<'_>, name: &'static str) -> Result<Payload> {
    fields
        .text(name)
        .map(|json| Payload::from_record(json.into()))
}

fn claimant(fields: &Fields<'_>) -> Result<Claimant> {
    Ok(Claimant {
        owner: fields.name("owner", Owner::new)?,
        id: fields.name("id", LeaseId::new)?,
    })
}

fn holder(fields: &Fields<'_>) -> Result<Holder> {
    // The rest of a minimum hold is nobody's; half a claimant is a broken one.
    let lingers = !["owner", "id", "token"].iter().any(|name| fields.has(name));
    let mut holder = Holder::new(
        (!lingers).then(|| claimant(fields)).transpose()?,
        fields.time("acquiredAt")?,
        fields.time("expiresAt")?,
        fields.ttl("ttlMs")?,
        fields.unsigned("seq")?,
    );
    if !lingers {
        holder.token = Some(fields.unsigned("token")?);
    }
    holder.label = fields.optional("label", |fields, name| fields.name(name, Label::new))?;
    holder.data = fields.optional("data", payload)?;
    Ok(holder)
}

fn waiter(fields: &Fields<'_>) -> Result<Waiter> {
    Ok(Waiter::new(
        claimant(fields)?,
        fields.mode()?,
        fields.time("enqueuedAt")?,
        fields.time("expiresAt")?,
        fields.ttl("ttlMs")?,
        fields.unsigned("seq")?,
    ))
}

/// The document of a record, without `_id`.
pub(super) fn encode(record: &LockRecord) -> Result<Document> {
    let holders: Vec<_> = record
        .holders
        .iter()
        .map(encode_holder)
        .collect::<Result<_>>()?;
    let queue: Vec<_> = record
        .queue
        .iter()
        .map(encode_waiter)
        .collect::<Result<_>>()?;
    let mut document = doc! {
        "v": 1_i32,
        "rev": signed("rev", record.rev)?,
        "token": signed("token", record.token)?,
        "mode": record.mode.name(),
        "limit": i64::from(record.mode.limit()),
        "holders": holders,
        "queue": queue,
    };
    let mut set = |name: &str, value: Option<Bson>| value.map(|value| document.insert(name, value));
    set("freeAt", record.free_at.map(date));
    set(
        "closed",
        record.closed.as_ref().map(|id| id.as_str().into()),
    );
    set("slotStarted", record.slot_started.map(date));
    set("slotDone", record.slot_done.map(date));
    set("pinned", record.pinned.map(date));
    set(
        "state",
        record.state.as_ref().map(|state| state.as_json().into()),
    );
    set("purgeAt", record.purge_at.map(date));
    Ok(document)
}

fn encode_holder(holder: &Holder) -> Result<Document> {
    let mut document = Document::new();
    if let Some(Claimant { owner, id }) = &holder.claimant {
        document.extend(doc! { "owner": owner.as_str(), "id": id.as_str() });
    }
    if let Some(token) = holder.token {
        document.insert("token", signed("token", token)?);
    }
    document.extend(doc! {
        "acquiredAt": date(holder.acquired_at),
        "expiresAt": date(holder.expires_at),
        "ttlMs": holder.ttl.as_millis(),
        "seq": signed("seq", holder.seq)?,
    });
    if let Some(label) = &holder.label {
        document.insert("label", label.as_str());
    }
    if let Some(data) = &holder.data {
        document.insert("data", data.as_json());
    }
    Ok(document)
}

fn encode_waiter(waiter: &Waiter) -> Result<Document> {
    Ok(doc! {
        "owner": waiter.claimant.owner.as_str(),
        "id": waiter.claimant.id.as_str(),
        "mode": waiter.mode.name(),
        "limit": i64::from(waiter.mode.limit()),
        "enqueuedAt": date(waiter.enqueued_at),
        "expiresAt": date(waiter.expires_at),
        "ttlMs": waiter.ttl.as_millis(),
        "seq": signed("seq", waiter.seq)?,
    })
}

/// A time as MongoDB keeps it.
pub(super) fn date(time: Timestamp) -> Bson {
    DateTime::from_millis(time.as_millis()).into()
}

/// MongoDB's integers are signed; a larger one would be stored as a double and rounded.
pub(super) fn signed(field: &str, number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| Error::corrupt(field, "is at the end of its range"))
}
