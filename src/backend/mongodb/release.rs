//! Releasing: one `update`, and a look only where there was nothing to update.

use mongodb::bson::{Document, bson, doc};

use super::decide::Decision;
use super::error::{self, Access};
use super::pipeline::millis;
use super::record::{self, date};
use super::shape::{self, all, literal};
use super::{MongoBackend, write};
use crate::Result;
use crate::backend::{ReleaseOutcome, ReleaseRequest};
use crate::rules::{self, Released};

impl MongoBackend {
    pub(super) async fn release_once(&self, request: &ReleaseRequest) -> Result<ReleaseOutcome> {
        let updated = self
            .update(&request.key, pipeline(request)?, request.timeout)
            .await
            .map_err(|error| error::convert(error, Access::Write))?;
        if updated {
            return Ok(ReleaseOutcome::Released);
        }
        self.release_by_rules(request).await
    }

    /// There was nothing to update: an earlier attempt released it, the lease or the record is gone or broken. Or the
    /// record is well-formed but not as this crate writes it: then it is written as a whole.
    async fn release_by_rules(&self, request: &ReleaseRequest) -> Result<ReleaseOutcome> {
        self.decide(
            &request.key,
            request.timeout,
            |seen, time| match rules::release(seen, request, time) {
                Released::Write(next) => Decision::Write(next, ReleaseOutcome::Released),
                Released::Already => Decision::Done(ReleaseOutcome::Released),
                Released::NotHeld => Decision::Done(ReleaseOutcome::NotHeld),
            },
        )
        .await
    }
}

/// `rules::release` for a holder that is there, or for a waiter where one is expected; otherwise the document as it is.
fn pipeline(request: &ReleaseRequest) -> Result<Vec<Document>> {
    let mut holds = bson!({ "$eq": ["$$mine.id", "$$id"] });
    if let Some(attempt) = request.attempt {
        let is_of_it = bson!({ "$lte": ["$$mine.seq", record::signed("seq", attempt)?] });
        holds = all(vec![holds, is_of_it]);
    }
    let mut ended = doc! {
        "rev": { "$add": ["$rev", 1_i64] },
        "holders": { "$filter": {
            "input": "$holders",
            "as": "h",
            "cond": { "$ne": ["$$h.id", "$$id"] },
        } },
        "freeAt": "$$NOW",
    };
    if request.attempt.is_none() {
        ended.insert("closed", "$$id");
    }
    if let Some(linger) = linger(request)? {
        let holders = ended.remove("holders");
        ended.insert("holders", bson!({ "$concatArrays": [holders, [linger]] }));
    }
    if let Some(slot) = request.slot_done {
        ended.insert("slotDone", bson!({ "$max": ["$slotDone", date(slot)] }));
    }
    if let Some(state) = &request.state {
        ended.insert("state", literal(state.as_json()));
    }
    if let Some(keep) = request.kept() {
        let purge_at = bson!({ "$add": ["$$NOW", millis(keep)?] });
        ended.insert("purgeAt", bson!({ "$ifNull": ["$pinned", purge_at] }));
    }
    let ended = bson!({ "$mergeObjects": ["$$ROOT", ended] });
    let (concerned, changed) = if request.queued {
        let queues =
            bson!({ "$in": ["$$id", { "$cond": [{ "$isArray": "$queue" }, "$queue.id", []] }] });
        // Who holds as well, by a later attempt than the one that ends, stays.
        let queues = all(vec![bson!({ "$ne": ["$$mine.id", "$$id"] }), queues]);
        let left = bson!({ "$mergeObjects": ["$$ROOT", {
            "rev": { "$add": ["$rev", 1_i64] },
            "queue": { "$filter": {
                "input": "$queue",
                "as": "w",
                "cond": { "$ne": ["$$w.id", "$$id"] },
            } },
        }] });
        (
            bson!({ "$or": [&holds, queues] }),
            bson!({ "$cond": [holds, ended, left] }),
        )
    } else {
        (holds, ended)
    };
    let mut tests = vec![concerned];
    tests.extend(shape::well_formed());
    let decision = bson!({ "$cond": [all(tests), changed, "$$ROOT"] });
    Ok(write::with_mine(request.id.as_str(), decision))
}

/// `rules::linger`, with the order of fields that a written record has.
fn linger(request: &ReleaseRequest) -> Result<Option<Document>> {
    let Some(linger) = request.linger.filter(|linger| !linger.left.is_zero()) else {
        return Ok(None);
    };
    let left = millis(linger.left.min(linger.ttl.as_duration()))?;
    Ok(Some(doc! {
        "acquiredAt": "$$NOW",
        "expiresAt": { "$add": ["$$NOW", left] },
        "ttlMs": linger.ttl.as_millis(),
        "seq": 0_i64,
    }))
}
