//! Releasing: one `update`, and a look only where there was nothing to update.

use mongodb::bson::{Document, bson};

use super::decide::Decision;
use super::error::{self, Access};
use super::shape::{self, all};
use super::{MongoBackend, write};
use crate::Result;
use crate::backend::{ReleaseOutcome, ReleaseRequest};
use crate::rules::{self, Released};

impl MongoBackend {
    pub(super) async fn release_once(&self, request: &ReleaseRequest) -> Result<ReleaseOutcome> {
        let updated = self
            .update(&request.key, pipeline(request), request.timeout)
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

/// `rules::release` for a holder that is there; otherwise the document as it is.
fn pipeline(request: &ReleaseRequest) -> Vec<Document> {
    let mut tests = vec![bson!({ "$eq": ["$$mine.id", "$$id"] })];
    tests.extend(shape::well_formed());
    let others = bson!({ "$filter": {
        "input": "$holders",
        "as": "h",
        "cond": { "$ne": ["$$h.id", "$$id"] },
    } });
    let changed = bson!({ "$mergeObjects": ["$$ROOT", {
        "rev": { "$add": ["$rev", 1_i64] },
        "holders": others,
        "freeAt": "$$NOW",
        "closed": "$$id",
    }] });
    let decision = bson!({ "$cond": [all(tests), changed, "$$ROOT"] });
    write::with_mine(request.id.as_str(), &decision)
}
