//! `rules::admit` for a newcomer, as an update pipeline; and what it shares with that of a waiter.

use std::time::Duration;

use mongodb::bson::{Bson, Document, bson, doc};

use super::shape::{self, all, literal};
use super::slot::Slot;
use super::{record, write};
use crate::backend::AcquireRequest;
use crate::record::RETENTION;
use crate::rules::{MAX_FLOOR, MAX_LEAD};
use crate::{Error, ErrorKind, Mode, Result};

/// Grants the plain cases; what it leaves alone is read, and decided by the rules.
///
/// Left alone are: this acquisition already there, another lease of the same owner, any queue, an expiry that is
/// implausibly late, and everything that is not quite as this crate writes it.
pub(super) fn newcomer(request: &AcquireRequest, skew: Duration) -> Result<Vec<Document>> {
    let slot = Slot::of(request, skew)?;
    // The cheap tests first, and those that tell a busy lock before all that a free one must pass.
    let mut tests = vec![
        room(request.mode),
        bson!({ "$eq": ["$queue", { "$literal": [] }] }),
    ];
    tests.extend(not_settled());
    tests.extend(shape::plausible_but_queue());
    let may = bson!({ "$or": [write::absent(&request.key), all(tests)] });
    let may = Slot::guard(slot.as_ref(), may);
    let granted = granted(request, bson!([]), slot.as_ref())?;
    let decision = bson!({ "$cond": [may, granted, "$$ROOT"] });
    let decision = bson!({ "$let": { "vars": { "live": live() }, "in": decision } });
    let mut vars = parties(request);
    vars.extend(bounds(skew)?);
    vars.extend(slot.map(|slot| ("slot".to_owned(), slot.start)));
    Ok(replace_with(vars, decision))
}

/// A pipeline that replaces the document by `decision`.
pub(super) fn replace_with(vars: Document, decision: Bson) -> Vec<Document> {
    vec![doc! { "$replaceWith": { "$let": { "vars": vars, "in": decision } } }]
}

/// `$$id` and `$$owner` are the request's, `$$all` the holders, whatever the document is.
pub(super) fn parties(request: &AcquireRequest) -> Document {
    doc! {
        "id": literal(request.id.as_str()),
        "owner": literal(request.owner.as_str()),
        "all": array("$holders"),
    }
}

/// Before anything is known of the document.
pub(super) fn array(path: &str) -> Bson {
    bson!({ "$cond": [{ "$isArray": path }, path, []] })
}

/// `$$earliest` and `$$latest`: between them lies every server's time.
pub(super) fn bounds(skew: Duration) -> Result<Document> {
    let skew = millis(skew)?;
    Ok(doc! {
        "earliest": { "$subtract": ["$$NOW", skew] },
        "latest": { "$add": ["$$NOW", skew] },
    })
}

/// The holders that count.
pub(super) fn live() -> Bson {
    bson!({ "$filter": { "input": "$$all", "as": "h", "cond": { "$gt": ["$$h.expiresAt", "$$earliest"] } } })
}

/// This acquisition neither holds nor ended, and its owner holds nothing.
pub(super) fn not_settled() -> [Bson; 3] {
    [
        bson!({ "$ne": ["$closed", "$$id"] }),
        bson!({ "$not": [{ "$in": ["$$id", "$$all.id"] }] }),
        bson!({ "$not": [{ "$in": ["$$owner", "$$all.owner"] }] }),
    ]
}

/// Whether the holders that count leave room for one more of this mode.
pub(super) fn room(mode: Mode) -> Bson {
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

/// The document with the grant. The holder that it adds has the order of fields that a written record has.
pub(super) fn granted(request: &AcquireRequest, queue: Bson, slot: Option<&Slot>) -> Result<Bson> {
    granted_until(request, &expiry(request), queue, slot)
}

/// When the lease of a grant ends.
pub(super) fn expiry(request: &AcquireRequest) -> Bson {
    bson!({ "$add": ["$$NOW", request.ttl.as_millis()] })
}

pub(super) fn granted_until(
    request: &AcquireRequest,
    expires_at: &Bson,
    queue: Bson,
    slot: Option<&Slot>,
) -> Result<Bson> {
    let mut holder = doc! {
        "owner": "$$owner",
        "id": "$$id",
        "token": "$$next",
        "acquiredAt": "$$NOW",
        "expiresAt": expires_at,
        "ttlMs": request.ttl.as_millis(),
        "seq": record::signed("seq", request.seq)?,
    };
    if let Some(label) = &request.label {
        holder.insert("label", literal(label.as_str()));
    }
    if let Some(data) = &request.data {
        holder.insert("data", literal(data.as_json()));
    }
    let purge_at = bson!({ "$add": [expires_at, millis(RETENTION)?] });
    let mut changed = doc! {
        "v": 1_i32,
        "rev": { "$add": [{ "$ifNull": ["$rev", 0_i64] }, 1_i64] },
        "token": "$$next",
        "mode": request.mode.name(),
        "limit": i64::from(request.mode.limit()),
        "holders": { "$concatArrays": ["$$live", [holder]] },
        "queue": queue,
        "purgeAt": { "$ifNull": ["$pinned", purge_at] },
    };
    changed.extend(slot.map(Slot::began).unwrap_or_default());
    let next = bson!({ "$max": [
        { "$add": [{ "$ifNull": ["$token", 0_i64] }, 1_i64] },
        least_token(request)?,
    ] });
    Ok(bson!({ "$let": {
        "vars": { "next": next },
        "in": { "$mergeObjects": ["$$ROOT", changed] },
    } }))
}

/// `least_token` of the rules.
fn least_token(request: &AcquireRequest) -> Result<Bson> {
    let now = bson!({ "$multiply": [{ "$toLong": "$$NOW" }, 1000_i64] });
    let floor = match request.token_floor {
        floor @ 1..=MAX_FLOOR => record::signed("token_floor", floor)?,
        _ => return Ok(now),
    };
    let bound = bson!({ "$add": [&now, record::signed("token_floor", MAX_LEAD)?] });
    let is_first = bson!({ "$eq": [{ "$ifNull": ["$token", 0_i64] }, 0_i64] });
    let other = bson!({ "$cond": [is_first, { "$max": [floor, &now] }, floor] });
    Ok(bson!({ "$cond": [{ "$lte": [floor, bound] }, other, now] }))
}

pub(super) fn millis(duration: Duration) -> Result<i64> {
    i64::try_from(duration.as_millis()).map_err(|_| {
        Error::new(
            ErrorKind::InvalidInput,
            "a duration, or the clock skew, is longer than time itself: use milliseconds",
        )
    })
}
