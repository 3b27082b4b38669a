//! `rules::admit` for an exclusive lock that one acquisition hands to the next of its owner, as an update pipeline.

use std::time::Duration;

use mongodb::bson::{Document, bson, doc};

use super::pipeline::{array, bounds, expiry, granted_until, parties, replace_with};
use super::shape::{self, all, literal};
use super::turn::queue_where;
use crate::backend::AcquireRequest;
use crate::{LeaseId, Mode, Result};

/// Puts the request in the place of the lease that it names, whoever queues.
///
/// Left alone are: any other holder, a ttl that is longer than the new one, an owner that queues as well, a lease that
/// has expired while others queue, an expiry that is implausibly late, and everything that is not quite as this crate
/// writes it.
pub(super) fn handing(
    request: &AcquireRequest,
    replaced: &LeaseId,
    skew: Duration,
) -> Result<Vec<Document>> {
    let mut tests = vec![
        bson!({ "$eq": ["$mode", Mode::Exclusive.name()] }),
        bson!({ "$eq": [{ "$size": "$$all" }, 1] }),
        bson!({ "$eq": ["$$old.id", "$$replaced"] }),
        bson!({ "$eq": ["$$old.owner", "$$owner"] }),
        bson!({ "$ne": ["$closed", "$$id"] }),
        bson!({ "$lte": ["$$old.ttlMs", request.ttl.as_millis()] }),
        bson!({ "$not": [{ "$in": ["$$owner", "$$queue.owner"] }] }),
        // One that has expired is no holder's, and waits for its turn like anybody.
        bson!({ "$or": [{ "$gt": ["$$old.expiresAt", "$$earliest"] }, { "$eq": ["$$queue", []] }] }),
    ];
    tests.extend(shape::plausible_whole());

    let until = bson!({ "$max": [expiry(request), "$$old.expiresAt"] });
    let waiting = queue_where(bson!({ "$gt": ["$$w.expiresAt", "$$earliest"] }), "$$queue");
    let granted = granted_until(request, &until, waiting, None)?;
    let handed = bson!({ "$mergeObjects": [granted, { "closed": "$$replaced" }] });
    let decision = bson!({ "$cond": [all(tests), handed, "$$ROOT"] });
    let found = doc! { "old": { "$first": "$$all" }, "live": [] };
    let decision = bson!({ "$let": { "vars": found, "in": decision } });

    let mut vars = parties(request);
    vars.insert("replaced", literal(replaced.as_str()));
    vars.insert("queue", array("$queue"));
    vars.extend(bounds(skew)?);
    Ok(replace_with(vars, decision))
}
