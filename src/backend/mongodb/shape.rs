//! The server's own test that a document is a well-formed record, as an aggregation expression.
//!
//! It accepts nothing that `record::decode` refuses: MongoDB compares values of any type with each other, so an update
//! that does not look would take a string for an expired time. It also refuses what is well-formed but not quite as
//! this crate writes it (an `Int32` token, numbers near the end of their range): such a record is read, decided by the
//! rules, and written as a whole.
//!
//! What is the same for every request is built once and copied, which takes a fraction of the time.

use std::sync::LazyLock;

use mongodb::bson::{Bson, bson};

/// Below this, adding to a number does not turn it into a double.
const MAX_NUMBER: i64 = 1 << 62;
const MAX_TTL_MS: i64 = 24 * 3600 * 1000;
const CONTROL_CHARACTER: &str = "[\\x00-\\x1f\\x7f-\\x9f]";

/// A string as itself, whatever characters it starts with.
pub(super) fn literal(text: &str) -> Bson {
    bson!({ "$literal": text })
}

/// Everything but the elements of `holders` and `queue`, which are arrays if this holds.
fn header() -> Vec<Bson> {
    let types =
        ["v", "rev", "token", "mode", "limit", "holders", "queue"].map(|field| kind("", field));
    let wanted = ["int", "long", "long", "string", "long", "array", "array"];
    let dates =
        ["freeAt", "slotStarted", "slotDone", "pinned", "purgeAt"].map(|field| kind("", field));
    let strings = ["closed", "state"].map(|field| kind("", field));
    vec![
        bson!({ "$eq": [types.to_vec(), { "$literal": wanted.to_vec() }] }),
        bson!({ "$eq": ["$v", 1_i32] }),
        counts("$rev"),
        counts("$token"),
        mode(""),
        only(&dates, "date"),
        only(&strings, "string"),
        missing_or("$closed", name("$closed")),
    ]
}

/// The elements of `holders`. `$$h` is each of them; `also` must hold as well.
fn holders(also: Option<Bson>) -> Bson {
    let fields = [
        "owner",
        "id",
        "token",
        "acquiredAt",
        "expiresAt",
        "ttlMs",
        "seq",
    ];
    let types = fields.map(|field| kind("$h.", field));
    let optional = ["label", "data"].map(|field| kind("$h.", field));
    let mut tests = vec![
        bson!({ "$in": [types.to_vec(), { "$literal": [
            ["string", "string", "long", "date", "date", "long", "long"],
            ["missing", "missing", "missing", "date", "date", "long", "long"],
        ] }] }),
        only(&optional, "string"),
        ttl(),
        counts("$$h.seq"),
        missing_or(
            "$$h.owner",
            all(vec![name("$$h.owner"), name("$$h.id"), counts("$$h.token")]),
        ),
        missing_or("$$h.label", name("$$h.label")),
    ];
    tests.extend(also);
    each("$holders", tests)
}

/// The elements of `queue`. `$$h` is each of them; `also` must hold as well.
fn waiters(also: Option<Bson>) -> Bson {
    let fields = [
        "owner",
        "id",
        "mode",
        "limit",
        "enqueuedAt",
        "expiresAt",
        "ttlMs",
        "seq",
    ];
    let types = fields.map(|field| kind("$h.", field));
    let wanted = [
        "string", "string", "string", "long", "date", "date", "long", "long",
    ];
    let mut tests = vec![
        bson!({ "$eq": [types.to_vec(), { "$literal": wanted.to_vec() }] }),
        mode("$h."),
        ttl(),
        counts("$$h.seq"),
        name("$$h.owner"),
        name("$$h.id"),
    ];
    tests.extend(also);
    each("$queue", tests)
}

/// Of an element `$$h`: its expiry is not too late to be true. `$$latest` is what no server's clock has passed.
fn plausible() -> Bson {
    bson!({ "$lte": ["$$h.expiresAt", { "$add": ["$$latest", "$$h.ttlMs"] }] })
}

/// The whole document.
pub(super) fn well_formed() -> Vec<Bson> {
    static TESTS: LazyLock<Vec<Bson>> = LazyLock::new(|| {
        let mut tests = header();
        tests.extend([holders(None), waiters(None)]);
        tests
    });
    TESTS.clone()
}

/// All but the elements of `queue`, and each holder's expiry is plausible.
pub(super) fn plausible_but_queue() -> Vec<Bson> {
    static TESTS: LazyLock<Vec<Bson>> = LazyLock::new(|| {
        let mut tests = header();
        tests.push(holders(Some(plausible())));
        tests
    });
    TESTS.clone()
}

/// The whole document, and each expiry is plausible.
pub(super) fn plausible_whole() -> Vec<Bson> {
    static WAITERS: LazyLock<Bson> = LazyLock::new(|| waiters(Some(plausible())));
    let mut tests = plausible_but_queue();
    tests.push(WAITERS.clone());
    tests
}

/// Evaluated one after another up to the first that fails, so that an earlier test guards a later one.
pub(super) fn all(tests: Vec<Bson>) -> Bson {
    bson!({ "$and": tests })
}

fn each(array: &str, tests: Vec<Bson>) -> Bson {
    bson!({ "$allElementsTrue": [{ "$map": { "input": array, "as": "h", "in": all(tests) } }] })
}

fn kind(parent: &str, field: &str) -> Bson {
    bson!({ "$type": format!("${parent}{field}") })
}

fn only(types: &[Bson], wanted: &str) -> Bson {
    bson!({ "$setIsSubset": [types.to_vec(), [wanted, "missing"]] })
}

fn missing_or(path: &str, test: Bson) -> Bson {
    bson!({ "$or": [{ "$eq": [{ "$type": path }, "missing"] }, test] })
}

fn counts(path: &str) -> Bson {
    bson!({ "$and": [{ "$gte": [path, 0_i64] }, { "$lt": [path, MAX_NUMBER] }] })
}

fn ttl() -> Bson {
    bson!({ "$and": [{ "$gte": ["$$h.ttlMs", 1_i64] }, { "$lte": ["$$h.ttlMs", MAX_TTL_MS] }] })
}

fn mode(parent: &str) -> Bson {
    let (mode, limit) = (format!("${parent}mode"), format!("${parent}limit"));
    bson!({ "$cond": [
        { "$eq": [&mode, "permit"] },
        { "$and": [{ "$gte": [&limit, 1_i64] }, { "$lte": [&limit, 256_i64] }] },
        { "$and": [{ "$eq": [&limit, 0_i64] }, { "$in": [&mode, ["exclusive", "shared"]] }] },
    ] })
}

/// What `Owner`, `LeaseId` and `Label` accept.
fn name(path: &str) -> Bson {
    bson!({ "$and": [
        { "$gte": [{ "$strLenBytes": path }, 1_i32] },
        { "$lte": [{ "$strLenBytes": path }, 256_i32] },
        { "$not": [{ "$regexMatch": { "input": path, "regex": CONTROL_CHARACTER } }] },
    ] })
}
