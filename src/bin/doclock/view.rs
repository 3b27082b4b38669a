//! A record for people and for programs.

use std::time::{Duration, SystemTime};

use doclock::{Holder, Label, LeaseId, LockRecord, Mode, Owner, Payload, Timestamp, Waiter};
use serde::Serialize;
use serde_json::Value;

/// What the records look like as JSON, for `--help`.
pub(crate) const JSON: &str = "\
JSON, one line for each key (times are RFC 3339, null is none):
  {\"key\", \"mode\": \"exclusive\" | \"shared\" | \"permit\", \"limit\": of permits,
   \"token\": the last one issued, \"rev\",
   \"holders\": [{\"owner\", \"id\", \"token\", \"acquired_at\", \"expires_at\",
                \"ttl_ms\", \"label\", \"data\"}],
   \"waiters\": [{\"owner\", \"id\", \"mode\", \"limit\", \"enqueued_at\",
                \"expires_at\"}],
   \"free_at\", \"closed\", \"slot_started\", \"slot_done\", \"pinned\", \"state\",
   \"purge_at\"}
A holder without owner is what is left of a minimum hold. One that expired stays
until somebody else comes.";

/// A record as JSON.
#[derive(Serialize)]
pub(crate) struct RecordView<'a> {
    key: &'a str,
    mode: &'static str,
    limit: Option<u32>,
    token: u64,
    rev: u64,
    holders: Vec<HolderView<'a>>,
    waiters: Vec<WaiterView<'a>>,
    free_at: Option<String>,
    closed: Option<&'a str>,
    slot_started: Option<String>,
    slot_done: Option<String>,
    pinned: Option<String>,
    state: Option<Value>,
    purge_at: Option<String>,
}

/// One of its holders.
#[derive(Serialize)]
pub(crate) struct HolderView<'a> {
    owner: Option<&'a str>,
    id: Option<&'a str>,
    token: Option<u64>,
    acquired_at: String,
    expires_at: String,
    ttl_ms: i64,
    label: Option<&'a str>,
    data: Option<Value>,
}

#[derive(Serialize)]
struct WaiterView<'a> {
    owner: &'a str,
    id: &'a str,
    mode: &'static str,
    limit: Option<u32>,
    enqueued_at: String,
    expires_at: String,
}

impl<'a> RecordView<'a> {
    pub(crate) fn new(key: &'a str, record: &'a LockRecord) -> Self {
        Self {
            key,
            mode: record.mode.name(),
            limit: limit(record.mode),
            token: record.token,
            rev: record.rev,
            holders: holders(record),
            waiters: record.queue.iter().map(WaiterView::new).collect(),
            free_at: record.free_at.map(instant),
            closed: record.closed.as_ref().map(LeaseId::as_str),
            slot_started: record.slot_started.map(instant),
            slot_done: record.slot_done.map(instant),
            pinned: record.pinned.map(instant),
            state: record.state.as_ref().map(value),
            purge_at: record.purge_at.map(instant),
        }
    }
}

/// The holders of a record as JSON.
pub(crate) fn holders(record: &LockRecord) -> Vec<HolderView<'_>> {
    let view = |holder| HolderView::new(holder, record);
    record.holders.iter().map(view).collect()
}

impl<'a> HolderView<'a> {
    fn new(holder: &'a Holder, record: &LockRecord) -> Self {
        Self {
            owner: holder.owner().map(Owner::as_str),
            id: holder.id().map(LeaseId::as_str),
            token: token(holder, record),
            acquired_at: instant(holder.acquired_at),
            expires_at: instant(holder.expires_at),
            ttl_ms: holder.ttl.as_millis(),
            label: holder.label.as_ref().map(Label::as_str),
            data: holder.data.as_ref().map(value),
        }
    }
}

impl<'a> WaiterView<'a> {
    fn new(waiter: &'a Waiter) -> Self {
        Self {
            owner: waiter.claimant.owner.as_str(),
            id: waiter.claimant.id.as_str(),
            mode: waiter.mode.name(),
            limit: limit(waiter.mode),
            enqueued_at: instant(waiter.enqueued_at),
            expires_at: instant(waiter.expires_at),
        }
    }
}

/// The fencing token of a holder, where it is known: an exclusive one has the record's.
pub(crate) fn token(holder: &Holder, record: &LockRecord) -> Option<u64> {
    let is_alone = record.mode == Mode::Exclusive && holder.claimant.is_some();
    holder.token.or(is_alone.then_some(record.token))
}

fn limit(mode: Mode) -> Option<u32> {
    match mode {
        Mode::Permit { limit } => Some(limit),
        _ => None,
    }
}

/// Anybody may have written it: what is no JSON is shown as text.
fn value(payload: &Payload) -> Value {
    payload
        .parse()
        .unwrap_or_else(|_| Value::from(payload.as_json()))
}

/// `exclusive`, `shared` or `permit of 3`.
pub(crate) fn mode(mode: Mode) -> String {
    match limit(mode) {
        Some(limit) => format!("{} of {limit}", mode.name()),
        None => mode.name().to_owned(),
    }
}

/// `2026-11-22T12:00:00.000Z`.
pub(crate) fn instant(at: Timestamp) -> String {
    /// The year 10000.
    const END: i64 = 253_402_300_800_000;
    if (0..END).contains(&at.as_millis()) {
        humantime::format_rfc3339_millis(at.into()).to_string()
    } else {
        at.to_string()
    }
}

/// This machine's time.
pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}

/// `3m 20s`, `850ms`.
pub(crate) fn span(span: Duration) -> String {
    let shown = if span < Duration::from_secs(1) {
        Duration::from_millis(u64::from(span.subsec_millis()))
    } else {
        Duration::from_secs(span.as_secs())
    };
    humantime::format_duration(shown).to_string()
}

/// `in 20s`, or `3s ago`.
pub(crate) fn relative(at: Timestamp, now: Timestamp) -> String {
    if at > now {
        format!("in {}", span(at.saturating_since(now)))
    } else {
        format!("{} ago", span(now.saturating_since(at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_both_ways() {
        let at = Timestamp::from_millis;
        assert_eq!(instant(at(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(instant(at(-1)), "-1 ms since the epoch");
        assert!(instant(at(i64::MAX)).ends_with("since the epoch"));
        assert_eq!(relative(at(20_999), at(0)), "in 20s");
        assert_eq!(relative(at(0), at(200_850)), "3m 20s ago");
        assert_eq!(relative(at(0), at(850)), "850ms ago");
        assert_eq!(
            relative(at(i64::MIN), at(i64::MAX)).split(' ').next_back(),
            Some("ago")
        );
    }
}
