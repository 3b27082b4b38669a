//! A record as JSON, and back.

use doclock::{
    Claimant, Error, FORMAT, Holder, Label, LeaseId, LockRecord, Mode, Owner, Payload, Result,
    Timestamp, Ttl, Waiter,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// With everything that a record may have: what is left out here is forgotten by the next write.
pub(crate) fn encode(record: &LockRecord) -> Value {
    let millis = |time: Option<Timestamp>| time.map(Timestamp::as_millis);
    json!({
        "v": FORMAT, "rev": record.rev, "token": record.token,
        "mode": record.mode.name(), "limit": record.mode.limit(),
        "holders": record.holders.iter().map(encode_holder).collect::<Vec<_>>(),
        "queue": record.queue.iter().map(encode_waiter).collect::<Vec<_>>(),
        "free_at": millis(record.free_at), "closed": record.closed.as_ref().map(LeaseId::as_str),
        "slot_started": millis(record.slot_started), "slot_done": millis(record.slot_done),
        "state": record.state.as_ref().map(Payload::as_json),
        "pinned": millis(record.pinned), "purge_at": millis(record.purge_at),
    })
}

/// The rest of a minimum hold has neither owner nor id.
fn encode_holder(holder: &Holder) -> Value {
    json!({
        "owner": holder.owner().map(Owner::as_str), "id": holder.id().map(LeaseId::as_str),
        "token": holder.token, "seq": holder.seq, "ttl_ms": holder.ttl.as_millis(),
        "acquired_at": holder.acquired_at.as_millis(), "expires_at": holder.expires_at.as_millis(),
        "label": holder.label.as_ref().map(Label::as_str), "data": holder.data.as_ref().map(Payload::as_json),
    })
}

fn encode_waiter(waiter: &Waiter) -> Value {
    json!({
        "owner": waiter.claimant.owner.as_str(), "id": waiter.claimant.id.as_str(),
        "mode": waiter.mode.name(), "limit": waiter.mode.limit(),
        "seq": waiter.seq, "ttl_ms": waiter.ttl.as_millis(),
        "enqueued_at": waiter.enqueued_at.as_millis(), "expires_at": waiter.expires_at.as_millis(),
    })
}

/// Strict: whatever is let in here, the rules may act on and write over.
pub(crate) fn decode(value: &Value) -> Result<LockRecord> {
    if field::<i64>(value, "v")? != FORMAT {
        return Err(Error::corrupt("v", "is another version's"));
    }
    let mut record = LockRecord::new(mode(value)?);
    (record.rev, record.token) = (field(value, "rev")?, field(value, "token")?);
    record.holders = entries(value, "holders", decode_holder)?;
    record.queue = entries(value, "queue", decode_waiter)?;
    record.free_at = optional_time(value, "free_at")?;
    record.closed = optional(value, "closed", LeaseId::new)?;
    record.slot_started = optional_time(value, "slot_started")?;
    record.slot_done = optional_time(value, "slot_done")?;
    record.state = field::<Option<String>>(value, "state")?.map(Payload::from_record);
    record.pinned = optional_time(value, "pinned")?;
    record.purge_at = optional_time(value, "purge_at")?;
    Ok(record)
}

fn decode_holder(value: &Value) -> Result<Holder> {
    let claimant = match (
        field::<Option<String>>(value, "owner")?,
        field::<Option<String>>(value, "id")?,
    ) {
        (None, None) => None,
        _ => Some(claimant(value)?),
    };
    let (acquired_at, expires_at) = (time(value, "acquired_at")?, time(value, "expires_at")?);
    let mut holder = Holder::new(
        claimant,
        acquired_at,
        expires_at,
        ttl(value)?,
        field(value, "seq")?,
    );
    holder.token = field(value, "token")?;
    holder.label = optional(value, "label", Label::new)?;
    holder.data = field::<Option<String>>(value, "data")?.map(Payload::from_record);
    Ok(holder)
}

fn decode_waiter(value: &Value) -> Result<Waiter> {
    let (enqueued_at, expires_at) = (time(value, "enqueued_at")?, time(value, "expires_at")?);
    let (claimant, mode, seq) = (claimant(value)?, mode(value)?, field(value, "seq")?);
    Ok(Waiter::new(
        claimant,
        mode,
        enqueued_at,
        expires_at,
        ttl(value)?,
        seq,
    ))
}

fn claimant(value: &Value) -> Result<Claimant> {
    let owner = Owner::new(field::<String>(value, "owner")?)?;
    let id = LeaseId::new(field::<String>(value, "id")?)?;
    Ok(Claimant { owner, id })
}

fn mode(value: &Value) -> Result<Mode> {
    Mode::from_record(&field::<String>(value, "mode")?, field(value, "limit")?)
}

fn time(of: &Value, name: &str) -> Result<Timestamp> {
    field(of, name).map(Timestamp::from_millis)
}

fn optional_time(of: &Value, name: &str) -> Result<Option<Timestamp>> {
    Ok(field::<Option<i64>>(of, name)?.map(Timestamp::from_millis))
}

fn ttl(value: &Value) -> Result<Ttl> {
    Ttl::from_record("ttl_ms", field(value, "ttl_ms")?)
}

fn entries<T>(of: &Value, name: &str, decode: fn(&Value) -> Result<T>) -> Result<Vec<T>> {
    field::<Vec<Value>>(of, name)?.iter().map(decode).collect()
}

fn optional<T>(of: &Value, name: &str, read: fn(String) -> Result<T>) -> Result<Option<T>> {
    field::<Option<String>>(of, name)?.map(read).transpose()
}

fn field<T: DeserializeOwned>(of: &Value, name: &str) -> Result<T> {
    let value = of
        .get(name)
        .ok_or_else(|| Error::corrupt(name, "is missing"))?;
    serde_json::from_value(value.clone())
        .map_err(|error| Error::corrupt(name, "is of a wrong type").with_source(error))
}
