use std::time::Duration;

use super::ServerTime;
use crate::LockRecord;
use crate::backend::{AcquireRequest, Slot, SlotStart};
use crate::time::Timestamp;

/// What a record that remembers slots has for `pinned`: the end of the year 9999. The database never collects it.
pub(crate) const PINNED: Timestamp = Timestamp::from_millis(253_402_300_799_000);

/// What the record says of the slot that a request is for.
pub(super) enum Judged {
    /// The request is for none.
    NoSlot,
    /// Its run may begin, as far as the slot goes.
    Run(Timestamp),
    /// Its run has happened.
    Done,
    /// It is not known yet which slot it is, or it has not begun: ask again after so long.
    TooEarly(Duration),
}

/// Which slot it is, and whether it may run.
pub(super) fn judge(
    record: Option<&LockRecord>,
    request: &AcquireRequest,
    time: &ServerTime,
) -> Judged {
    let Some(slot) = request.slot else {
        return Judged::NoSlot;
    };
    let start = match start(slot, time) {
        Ok(start) => start,
        Err(wait) => return Judged::TooEarly(wait),
    };
    if record.is_some_and(|record| is_done(record, slot, start)) {
        Judged::Done
    } else {
        Judged::Run(start)
    }
}

/// A slot that a later one has begun after is covered by that.
fn is_done(record: &LockRecord, slot: Slot, start: Timestamp) -> bool {
    if slot.until_done {
        record.slot_done >= Some(start) || record.slot_started > Some(start)
    } else {
        record.slot_started >= Some(start)
    }
}

/// The start of the slot, or how long until it can be told.
fn start(slot: Slot, time: &ServerTime) -> Result<Timestamp, Duration> {
    match slot.start {
        SlotStart::Once => Ok(Timestamp::default()),
        SlotStart::At(start) if start <= time.latest => Ok(start),
        SlotStart::At(start) => Err(start.saturating_since(time.latest)),
        SlotStart::Every(period) => {
            let (first, last) = (floor(time.earliest, period), floor(time.latest, period));
            // Judged by a clock that is a little behind, the next slot would still be this one: a trigger at the
            // border would run twice, or never.
            if first == last {
                Ok(last)
            } else {
                Err(last.saturating_since(time.earliest))
            }
        }
    }
}

fn floor(time: Timestamp, period: Duration) -> Timestamp {
    let period = i64::try_from(period.as_millis()).unwrap_or(i64::MAX).max(1);
    let since = time.as_millis().rem_euclid(period);
    Timestamp::from_millis(time.as_millis().saturating_sub(since))
}
