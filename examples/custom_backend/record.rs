//! A record as JSON, and back.

use doclock::{
    Claimant, Error, FORMAT, Holder, Label, LeaseId, LockRecord, Mode, Owner, Payload, Result,
    Timestamp, Ttl,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Without what this backend never writes: slots, state, and a time to purge the record.
pub(crate) fn encode(record: &LockRecord) -> Value {
    let holder = |holder: &Holder| {
        json!({
            "owner": holder.owner().map(Owner::as_str), "id": holder.id().map(LeaseId::as_str),
            "token": holder.token, "seq": holder.seq, "ttl_ms": holder.ttl.as_millis(),
            "acquired_at": holder.acquired_at.as_millis(), "expires_at": holder.expires_at.as_millis(),
            "label": holder.label.as_ref().map(Label::as_str), "data": holder.data.as_ref().map(Payload::as_json),
        })
    };
    json!({
        "v": FORMAT, "rev": record.rev, "token": record.token,
        "mode": record.mode.name(), "limit": record.mode.limit(), "queue": [],
        "holders": record.holders.iter().map(holder).collect::<Vec<_>>(),
        "free_at": record.free_at.map(Timestamp::as_millis), "closed": record.closed.as_ref().map(LeaseId::as_str),
    })
}

/// Strict: whatever is let in here, the rules may act on and write over.
pub(crate) fn decode(value: &Value) -> Result<LockRecord> {
    if field::<i64>(value, "v")? != FORMAT {
        return Err(Error::corrupt("v", "is another version's"));
    }
    let mode: String = field(value, "mode")?;
    let mut record = LockRecord::new(Mode::from_record(&mode, field(value, "limit")?)?);
    let _: [(); 0] = field(value, "queue")?;
    (record.rev, record.token) = (field(value, "rev")?, field(value, "token")?);
    for holder in field::<Vec<Value>>(value, "holders")? {
        record.holders.push(decode_holder(&holder)?);
    }
    record.free_at = field::<Option<i64>>(value, "free_at")?.map(Timestamp::from_millis);
    record.closed = field::<Option<String>>(value, "closed")?
        .map(LeaseId::new)
        .transpose()?;
    Ok(record)
}

fn decode_holder(value: &Value) -> Result<Holder> {
    let owner = Owner::new(field::<String>(value, "owner")?)?;
    let id = LeaseId::new(field::<String>(value, "id")?)?;
    let acquired_at = Timestamp::from_millis(field(value, "acquired_at")?);
    let expires_at = Timestamp::from_millis(field(value, "expires_at")?);
    let ttl = Ttl::from_record("ttl_ms", field(value, "ttl_ms")?)?;
    let claimant = Some(Claimant { owner, id });
    let mut holder = Holder::new(claimant, acquired_at, expires_at, ttl, field(value, "seq")?);
    holder.token = field(value, "token")?;
    holder.label = field::<Option<String>>(value, "label")?
        .map(Label::new)
        .transpose()?;
    holder.data = field::<Option<String>>(value, "data")?.map(Payload::from_record);
    Ok(holder)
}

fn field<T: DeserializeOwned>(of: &Value, name: &str) -> Result<T> {
    let value = of
        .get(name)
        .ok_or_else(|| Error::corrupt(name, "is missing"))?;
    serde_json::from_value(value.clone())
        .map_err(|error| Error::corrupt(name, "is of a wrong type").with_source(error))
}
