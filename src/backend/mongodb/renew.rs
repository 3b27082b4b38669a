//! Renewing: one `update`, and a look only where there was nothing to update.

use mongodb::bson::{Bson, DateTime, Document, bson, doc};

use super::decide::Decision;
use super::error::{self, Access};
use super::pipeline::millis;
use super::shape::{self, all};
use super::{MongoBackend, record, write};
use crate::backend::store::whole_ttl;
use crate::backend::{RenewOutcome, RenewRequest, Validity, passed};
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
            return Ok(renewed(request, request.seq));
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
                Renewed::Write(next) => {
                    let renewed = written(request, &next);
                    Decision::Write(next, Ok(renewed))
                }
                Renewed::Newer { .. } => Decision::Done(Ok(newer(request, seen))),
                Renewed::Passed => Decision::Done(Err(passed())),
                Renewed::Lost => Decision::Done(Ok(RenewOutcome::Lost)),
            },
        )
        .await?
    }
}

pub(super) fn renewed(request: &RenewRequest, seq: u64) -> RenewOutcome {
    RenewOutcome::Renewed(Validity {
        seq,
        valid_for: request.ttl.as_duration(),
        refresh: false,
    })
}

/// A token that is raised leaves a later attempt standing.
fn written(request: &RenewRequest, next: &LockRecord) -> RenewOutcome {
    let holder = next.holder(&request.id);
    renewed(request, holder.map_or(request.seq, |holder| holder.seq))
}

fn newer(request: &RenewRequest, seen: Option<&LockRecord>) -> RenewOutcome {
    match seen.and_then(|record| record.holder(&request.id)) {
        Some(holder) => RenewOutcome::Renewed(whole_ttl(holder)),
        None => RenewOutcome::Lost,
    }
}

/// `rules::renew` for a holder that may be renewed; otherwise the document as it is.
pub(super) fn pipeline(request: &RenewRequest) -> Result<Vec<Document>> {
    let seq = record::signed("seq", request.seq)?;
    let token = record::signed("token", request.token)?;
    let raise = raise(request)?;
    let newer = if raise.is_some() { "$lte" } else { "$lt" };
    let mut tests = vec![
        // First: what is missing is less than anything, but equal to nothing.
        bson!({ "$eq": ["$$mine.token", token] }),
        bson!({ newer: ["$$mine.seq", seq] }),
        bson!({ "$lt": ["$$mine.expiresAt", DateTime::from_millis(FAR)] }),
        bson!({ "$eq": ["$mode", request.mode.name()] }),
    ];
    if request.mode == Mode::Exclusive {
        tests.push(bson!({ "$eq": ["$token", token] }));
    }
    tests.extend(raise.map(|raise| bson!({ "$lt": ["$token", raise] })));
    tests.extend(shape::well_formed());
    let decision = bson!({ "$cond": [all(tests), changed(request, seq, raise)?, "$$ROOT"] });
    Ok(write::with_mine(request.id.as_str(), decision))
}

/// What the token shall become, if that is more than it was.
fn raise(request: &RenewRequest) -> Result<Option<i64>> {
    let raise = request.raise_token.filter(|raise| *raise > request.token);
    raise
        .map(|raise| record::signed("token", raise))
        .transpose()
}

fn changed(request: &RenewRequest, seq: i64, raise: Option<i64>) -> Result<Bson> {
    let mut renewed = doc! { "ttlMs": "$$ttl", "expiresAt": "$$until", "seq": seq };
    if request.restamp {
        renewed.insert("acquiredAt", "$$NOW");
    }
    renewed.extend(raise.map(|raise| ("token".to_owned(), raise.into())));
    let is_mine = bson!({ "$eq": ["$$h.id", "$$id"] });
    let holders = bson!({ "$map": { "input": "$holders", "as": "h", "in": {
        "$cond": [is_mine, { "$mergeObjects": ["$$h", renewed] }, "$$h"],
    } } });
    let purge_at = bson!({ "$add": ["$$until", millis(RETENTION)?] });
    let mut written = doc! {
        "rev": { "$add": ["$rev", 1_i64] },
        "holders": holders,
        "purgeAt": { "$ifNull": ["$pinned", purge_at] },
    };
    written.extend(raise.map(|raise| ("token".to_owned(), raise.into())));
    let written = bson!({ "$mergeObjects": ["$$ROOT", written] });
    let until = bson!({ "$max": ["$$mine.expiresAt", { "$add": ["$$NOW", "$$ttl"] }] });
    let written = bson!({ "$let": { "vars": { "until": until }, "in": written } });
    let ttl = bson!({ "$max": ["$$mine.ttlMs", request.ttl.as_millis()] });
    Ok(bson!({ "$let": { "vars": { "ttl": ttl }, "in": written } }))
}
