//! Acquiring: one `findAndModify` by which the server decides the plain cases.

use std::time::Duration;

use async_trait::async_trait;
use mongodb::bson::{Bson, Document, bson, doc};

use super::error::{self, Access};
use super::shape::{self, all, literal};
use super::write::{self, Answer, Upsert};
use super::{MongoBackend, record};
use crate::backend::store::{Seen, Store, Written, whole_ttl};
use crate::backend::{AcquireRequest, Grant};
use crate::record::RETENTION;
use crate::rules::ServerTime;
use crate::{Error, ErrorKind, Holder, LockRecord, Mode, Result};

/// How often a request is sent again whose answer decides nothing.
const ATTEMPTS: usize = 4;

#[async_trait]
impl Store for MongoBackend {
    async fn try_acquire(&self, request: &AcquireRequest) -> Result<Written> {
        let pipeline = pipeline(request, self.skew)?;
        let mut duplicates = 0;
        for _ in 0..ATTEMPTS {
            let update = pipeline.clone();
            let written = self
                .find_and_modify(&request.key, update, Upsert::Yes, request.timeout)
                .await;
            match written {
                Ok(Some(answer)) => {
                    if let Some(written) = self.judge(request, &answer)? {
                        return Ok(written);
                    }
                }
                Ok(None) => {}
                // Two first writers of a key: the later one meets the earlier one's record next time.
                Err(error) if error::is_duplicate(&error) => duplicates += 1,
                Err(error) => return Err(self.unsettled(request, error)),
            }
        }
        if duplicates == ATTEMPTS {
            return Err(Error::new(
                ErrorKind::NotSetUp,
                "the database refuses to create this key beside another document: give the locks a collection of \
                 their own, with the simple collation and no unique index but that of `_id`",
            ));
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "the record changed under every attempt: try again",
        ))
    }

    async fn swap(
        &self,
        request: &AcquireRequest,
        seen: &Seen,
        next: &LockRecord,
    ) -> Result<Written> {
        let (pipeline, upsert) = write::swap(&request.key, seen.record.as_ref(), next)?;
        let swapped = self
            .find_and_modify(&request.key, pipeline, upsert, request.timeout)
            .await;
        let answer = match swapped {
            Ok(answer) => answer,
            Err(error) if error::is_duplicate(&error) => None,
            Err(error) => return Err(self.unsettled(request, error)),
        };
        let written = answer
            .map(|answer| self.judge(request, &answer))
            .transpose()?;
        match written.flatten() {
            Some(written) => Ok(written),
            // Removed meanwhile, or an answer without the time: nothing to decide from.
            None => self.try_acquire(request).await,
        }
    }

    async fn recognise(
        &self,
        _request: &AcquireRequest,
        _seen: &Seen,
        holder: &Holder,
    ) -> Result<Grant> {
        Ok(grant(holder))
    }
}

impl MongoBackend {
    /// Granted if this very acquisition holds in its mode. `None` if the answer does not tell enough.
    fn judge(&self, request: &AcquireRequest, answer: &Answer) -> Result<Option<Written>> {
        let record = record::decode(&answer.document)?;
        let mine = record
            .as_ref()
            .filter(|record| record.mode.same_kind(request.mode))
            .and_then(|record| record.holder(&request.id));
        if let Some(holder) = mine {
            return Ok(Some(Written::Granted(grant(holder))));
        }
        let seen = answer.now.map(|now| Seen {
            record,
            time: ServerTime::exact(now, self.skew),
        });
        Ok(seen.map(|seen| Written::Refused(Box::new(seen))))
    }

    /// A write that no majority confirmed: unknown if it granted; what was refused is refused again or not.
    fn unsettled(&self, request: &AcquireRequest, error: mongodb::error::Error) -> Error {
        let answer = error::answer_beside(&error);
        let converted = error::convert(error, Access::Write);
        match answer.map(|answer| self.judge(request, &answer)) {
            Some(Ok(Some(Written::Refused(_)))) => Error::new(
                ErrorKind::Unavailable,
                "held by others, as far as one server knows; no majority confirms it in time: try again",
            )
            .with_source(converted),
            _ => converted,
        }
    }
}

fn grant(holder: &Holder) -> Grant {
    Grant {
        // Decoding wants a token of every holder that has an id.
        token: holder.token.unwrap_or_default(),
        validity: whole_ttl(holder),
    }
}

/// `rules::admit` for the plain cases; what it leaves alone is read, and decided there.
///
/// Left alone are: this acquisition already there, another lease of the same owner, any queue, an expiry that is
/// implausibly late, and everything that is not quite as this crate writes it.
fn pipeline(request: &AcquireRequest, skew: Duration) -> Result<Vec<Document>> {
    // The cheap tests first, and those that tell a busy lock before all that a free one must pass.
    let mut tests = vec![
        room(request.mode),
        bson!({ "$eq": ["$queue", { "$literal": [] }] }),
        bson!({ "$ne": ["$closed", "$$id"] }),
        bson!({ "$not": [{ "$in": ["$$id", "$$all.id"] }] }),
        bson!({ "$not": [{ "$in": ["$$owner", "$$all.owner"] }] }),
    ];
    tests.extend(shape::header());
    let bound = bson!({ "$add": ["$$NOW", millis(skew)?, "$$h.ttlMs"] });
    let plausible = bson!({ "$lte": ["$$h.expiresAt", bound] });
    tests.push(shape::holders("$holders", Some(plausible)));
    let live = bson!({ "$filter": { "input": "$$all", "as": "h", "cond": { "$gt": ["$$h.expiresAt", "$$earliest"] } } });
    let next = bson!({ "$max": [
        { "$add": [{ "$ifNull": ["$token", 0_i64] }, 1_i64] },
        { "$multiply": [{ "$toLong": "$$NOW" }, 1000_i64] },
    ] });
    let decision = bson!({ "$cond": [
        { "$or": [write::absent(&request.key), all(tests)] },
        { "$let": { "vars": { "next": next }, "in": { "$mergeObjects": ["$$ROOT", granted(request)?] } } },
        "$$ROOT",
    ] });
    let decision = bson!({ "$let": { "vars": { "live": live }, "in": decision } });
    Ok(vec![doc! { "$replaceWith": { "$let": {
        "vars": {
            "id": literal(request.id.as_str()),
            "owner": literal(request.owner.as_str()),
            "earliest": { "$subtract": ["$$NOW", millis(skew)?] },
            "all": { "$cond": [{ "$isArray": "$holders" }, "$holders", []] },
        },
        "in": decision,
    } } }])
}

/// Whether the holders that count leave room for one more of this mode.
fn room(mode: Mode) -> Bson {
    let nobody = bson!({ "$eq": ["$$live", []] });
    if mode == Mode::Exclusive {
        return nobody;
    }
    let capacity = i32::try_from(mode.capacity()).unwrap_or(i32::MAX);
    let beside = bson!({ "$and": [
        { "$eq": ["$mode", mode.name()] },
        { "$lt": [{ "$size": "$$live" }, capacity] },
    ] });
    bson!({ "$or": [nobody, beside] })
}

/// What a grant changes. The holder that it adds has the order of fields that a written record has.
fn granted(request: &AcquireRequest) -> Result<Document> {
    let ttl = request.ttl.as_millis();
    let mut holder = doc! {
        "owner": "$$owner",
        "id": "$$id",
        "token": "$$next",
        "acquiredAt": "$$NOW",
        "expiresAt": { "$add": ["$$NOW", ttl] },
        "ttlMs": ttl,
        "seq": record::signed("seq", request.seq)?,
    };
    if let Some(label) = &request.label {
        holder.insert("label", literal(label.as_str()));
    }
    if let Some(data) = &request.data {
        holder.insert("data", literal(data.as_json()));
    }
    let purge_at = bson!({ "$add": ["$$NOW", ttl + millis(RETENTION)?] });
    Ok(doc! {
        "v": 1_i32,
        "rev": { "$add": [{ "$ifNull": ["$rev", 0_i64] }, 1_i64] },
        "token": "$$next",
        "mode": request.mode.name(),
        "limit": i64::from(request.mode.limit()),
        "holders": { "$concatArrays": ["$$live", [holder]] },
        "queue": [],
        "purgeAt": { "$ifNull": ["$pinned", purge_at] },
    })
}

pub(super) fn millis(duration: Duration) -> Result<i64> {
    i64::try_from(duration.as_millis()).map_err(|_| {
        Error::new(
            ErrorKind::InvalidInput,
            "the clock skew is longer than time itself: use milliseconds",
        )
    })
}
