//! `rules::slot` as expressions: which run of a scheduled job it is, and whether it may begin.

use std::time::Duration;

use mongodb::bson::{Bson, Document, bson, doc};

use super::pipeline::millis;
use super::record::date;
use super::shape::all;
use crate::Result;
use crate::backend::{AcquireRequest, SlotStart};
use crate::rules::PINNED;
use crate::time::Timestamp;

/// What a run's slot adds to a grant. There, `$$slot` is its start.
pub(super) struct Slot {
    pub(super) start: Bson,
    tests: Vec<Bson>,
    pins: bool,
}

impl Slot {
    pub(super) fn of(request: &AcquireRequest, skew: Duration) -> Result<Option<Self>> {
        let Some(slot) = request.slot else {
            return Ok(None);
        };
        let skew = millis(skew)?;
        let latest = bson!({ "$add": ["$$NOW", skew] });
        let (start, begun) = match slot.start {
            SlotStart::Once => (date(Timestamp::default()), true.into()),
            SlotStart::At(start) => (date(start), bson!({ "$lte": ["$$slot", latest] })),
            SlotStart::Every(period) => {
                let period = millis(period)?;
                let into = |time: &Bson| bson!({ "$mod": [{ "$toLong": time }, period] });
                let start = bson!({ "$subtract": [&latest, into(&latest)] });
                // The earliest time that it may be lies in the same slot.
                let agreed = bson!({ "$gte": [into(&latest), skew.saturating_mul(2)] });
                (start, agreed)
            }
        };
        // What is missing is less than any date.
        let tests = if slot.until_done {
            vec![
                begun,
                bson!({ "$lt": ["$slotDone", "$$slot"] }),
                bson!({ "$lte": ["$slotStarted", "$$slot"] }),
            ]
        } else {
            vec![begun, bson!({ "$lt": ["$slotStarted", "$$slot"] })]
        };
        Ok(Some(Self {
            start,
            tests,
            pins: slot.recurs(),
        }))
    }

    /// `may`, and the slot allows it too.
    pub(super) fn guard(slot: Option<&Self>, may: Bson) -> Bson {
        match slot {
            None => may,
            Some(slot) => {
                let mut tests = slot.tests.clone();
                tests.push(may);
                all(tests)
            }
        }
    }

    /// What the grant of the run writes besides.
    pub(super) fn began(&self) -> Document {
        if !self.pins {
            return doc! { "slotStarted": "$$slot" };
        }
        let pinned = bson!({ "$ifNull": ["$pinned", date(PINNED)] });
        doc! { "slotStarted": "$$slot", "pinned": &pinned, "purgeAt": pinned }
    }
}
