//! Renewing: one `update`, and a look only where there was nothing to update.

use mongodb::bson::{Bson, DateTime, Document, bson, doc};

use super::decide::Decision;
use super::error::{self, Access};
use super::pipeline::millis;
use super::shape::{self, all};
use super::{MongoBackend, record, write};
use crate::backend::store::whole_ttl;
use crate::backend::{RenewOutcome, RenewRequest, Validity};
use crate::record::RETENTION;
use crate::rules::{self, Renewed};
use crate::{LockRecord, Mode, Result};

/// The end of the year 9999. Adding to a date at the end of its range fails the whole request.
const FAR: i64 = 253_402_300_799_999;

impl MongoBackend {
    pub(super) async fn renew_once(&self, request: &RenewRequest) -> Result<RenewOutcome> {
        let updated = self
            .update(&request.key, pipeline(request)?, request.timeout)
            .await
            .map_err(|error| error::convert(error, Access::Write))?;
        if updated {
            return Ok(renewed(request));
        }
        self.renew_by_rules(request).await
    }

    /// There was nothing to update: a later attempt stands already, the lease or the record is gone or broken. Or the
    /// record is well-formed but not as this crate writes it: then it is written as a whole.
    async fn renew_by_rules(&self, request: &RenewRequest) -> Result<RenewOutcome> {
        self.decide(
            &request.key,
            request.timeout,
            |seen, time| match rules::renew(seen, request, time) {
                Renewed::Write(next) => Decision::Write(next, renewed(request)),
                Renewed::Newer { .. } => Decision::Done(newer(request, seen)),
                Renewed::Lost => Decision::Done(RenewOutcome::Lost),
            },
        )
        .await
    }
}

fn renewed(request: &RenewRequest) -> RenewOutcome {
    RenewOutcome::Renewed(Validity {
        seq: request.seq,
        valid_for: request.ttl.as_duration(),
        refresh: false,
    })
}

fn newer(request: &RenewRequest, seen: Option<&LockRecord>) -> RenewOutcome {
    match seen.and_then(|record| record.holder(&request.id)) {
        Some(holder) => RenewOutcome::Renewed(whole_ttl(holder)),
        None => RenewOutcome::Lost,
    }
}

/// `rules::renew` for a holder that may be renewed; otherwise the document as it is.
fn pipeline(request: &RenewRequest) -> Result<Vec<Document>> {
    let seq = record::signed("seq", request.seq)?;
    let token = record::signed("token", request.token)?;
    let mut tests = vec![
        // First: what is missing is less than anything, but equal to nothing.
        bson!({ "$eq": ["$$mine.token", token] }),
        bson!({ "$lt": ["$$mine.seq", seq] }),
        bson!({ "$lt": ["$$mine.expiresAt", DateTime::from_millis(FAR)] }),
        bson!({ "$eq": ["$mode", request.mode.name()] }),
    ];
    if request.mode == Mode::Exclusive {
        tests.push(bson!({ "$eq": ["$token", token] }));
    }
    tests.extend(shape::well_formed());
    let decision = bson!({ "$cond": [all(tests), changed(request, seq)?, "$$ROOT"] });
    Ok(write::with_mine(request.id.as_str(), &decision))
}

fn changed(request: &RenewRequest, seq: i64) -> Result<Bson> {
    let mut renewed = doc! { "ttlMs": "$$ttl", "expiresAt": "$$until", "seq": seq };
    if request.restamp {
        renewed.insert("acquiredAt", "$$NOW");
    }
    let is_mine = bson!({ "$eq": ["$$h.id", "$$id"] });
    let holders = bson!({ "$map": { "input": "$holders", "as": "h", "in": {
        "$cond": [is_mine, { "$mergeObjects": ["$$h", renewed] }, "$$h"],
    } } });
    let purge_at = bson!({ "$add": ["$$until", millis(RETENTION)?] });
    let written = bson!({ "$mergeObjects": ["$$ROOT", {
        "rev": { "$add": ["$rev", 1_i64] },
        "holders": holders,
        "purgeAt": { "$ifNull": ["$pinned", purge_at] },
    }] });
    let until = bson!({ "$max": ["$$mine.expiresAt", { "$add": ["$$NOW", "$$ttl"] }] });
    let written = bson!({ "$let": { "vars": { "until": until }, "in": written } });
    let ttl = bson!({ "$max": ["$$mine.ttlMs", request.ttl.as_millis()] });
    Ok(bson!({ "$let": { "vars": { "ttl": ttl }, "in": written } }))
}
