//! Renewing: one `update`, and a look only where there was nothing to update.

use mongodb::bson::{Bson, DateTime, Document, bson, doc};

use super::decide::Decision;
use super::error::{self, Access};
use super::pipeline::{millis, replace_with};
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

/// What there is to do; all the rest are [values](values).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Form {
    exclusive: bool,
    restamps: bool,
    raises: bool,
}

impl Form {
    pub(super) fn of(request: &RenewRequest) -> Self {
        Self {
            exclusive: request.mode == Mode::Exclusive,
            restamps: request.restamp,
            raises: raise(request).is_some(),
        }
    }
}

/// What the token shall become, if that is more than it was.
fn raise(request: &RenewRequest) -> Option<u64> {
    request.raise_token.filter(|raise| *raise > request.token)
}

/// `rules::renew` for a holder that may be renewed; otherwise the document as it is.
fn pipeline(request: &RenewRequest) -> Result<Vec<Document>> {
    let values = values(request)?.into_iter();
    let vars = values.map(|(name, value)| (name, bson!({ "$literal": value })));
    Ok(replace_with(vars.collect(), renewal(Form::of(request))?))
}

/// The same for any request of a form, where its [values](values) are known by their names.
pub(super) fn shared(form: Form) -> Result<Vec<Document>> {
    Ok(vec![doc! { "$replaceWith": renewal(form)? }])
}

/// By the names that they have in the expression.
pub(super) fn values(request: &RenewRequest) -> Result<Document> {
    let mut values = doc! {
        "id": request.id.as_str(),
        "granted": record::signed("token", request.token)?,
        "seq": record::signed("seq", request.seq)?,
        "asked": request.ttl.as_millis(),
        "mode": request.mode.name(),
    };
    if let Some(raise) = raise(request) {
        values.insert("raised", record::signed("token", raise)?);
    }
    Ok(values)
}

fn renewal(form: Form) -> Result<Bson> {
    let newer = if form.raises { "$lte" } else { "$lt" };
    let mut tests = vec![
        // First: what is missing is less than anything, but equal to nothing.
        bson!({ "$eq": ["$$mine.token", "$$granted"] }),
        bson!({ newer: ["$$mine.seq", "$$seq"] }),
        bson!({ "$lt": ["$$mine.expiresAt", DateTime::from_millis(FAR)] }),
        bson!({ "$eq": ["$mode", "$$mode"] }),
    ];
    if form.exclusive {
        tests.push(bson!({ "$eq": ["$token", "$$granted"] }));
    }
    if form.raises {
        tests.push(bson!({ "$lt": ["$token", "$$raised"] }));
    }
    tests.extend(shape::well_formed());
    let decision = bson!({ "$cond": [all(tests), changed(form)?, "$$ROOT"] });
    Ok(write::with_mine(decision))
}

fn changed(form: Form) -> Result<Bson> {
    let mut renewed = doc! { "ttlMs": "$$ttl", "expiresAt": "$$until", "seq": "$$seq" };
    if form.restamps {
        renewed.insert("acquiredAt", "$$NOW");
    }
    let is_mine = bson!({ "$eq": ["$$h.id", "$$id"] });
    let purge_at = bson!({ "$add": ["$$until", millis(RETENTION)?] });
    let mut written = doc! {
        "rev": { "$add": ["$rev", 1_i64] },
        "purgeAt": { "$ifNull": ["$pinned", purge_at] },
    };
    if form.raises {
        renewed.insert("token", "$$raised");
        written.insert("token", "$$raised");
    }
    let renewed = bson!({ "$mergeObjects": ["$$h", renewed] });
    let holder = bson!({ "$cond": [is_mine, renewed, "$$h"] });
    let holders = bson!({ "$map": { "input": "$holders", "as": "h", "in": holder } });
    written.insert("holders", holders);
    let written = bson!({ "$mergeObjects": ["$$ROOT", written] });
    let until = bson!({ "$max": ["$$mine.expiresAt", { "$add": ["$$NOW", "$$ttl"] }] });
    let written = bson!({ "$let": { "vars": { "until": until }, "in": written } });
    let ttl = bson!({ "$max": ["$$mine.ttlMs", "$$asked"] });
    Ok(bson!({ "$let": { "vars": { "ttl": ttl }, "in": written } }))
}
