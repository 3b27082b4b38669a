//! Documents that are broken in one place each.

use mongodb::bson::{Bson, Document, doc};

use super::fixture::{dead, free, past};

/// The holder of the documents whose holders are broken.
pub const ID: &str = "0123";

/// A document, and the field that the error names.
pub type Case = (String, Document);

fn null() -> Bson {
    Bson::Null
}

/// What no field has, whatever it is: a double rounds, and a server compares all numbers with each other.
fn no_numbers() -> [Bson; 2] {
    let decimal = |text: &str| Bson::Decimal128(text.parse().unwrap());
    [f64::NAN.into(), decimal("1E6144")]
}

/// As large as can be, where there is a limit.
fn huge(field: &str) -> Option<Bson> {
    let is_limited = ["v", "limit", "ttlMs"].contains(&field);
    is_limited.then(|| i64::MAX.into())
}

fn without(mut document: Document, field: &str) -> Document {
    document.remove(field);
    document
}

fn with(mut document: Document, field: &str, value: Bson) -> Document {
    document.insert(field, value);
    document
}

/// Each field of the record itself, on one that is otherwise free.
pub fn of_the_record() -> Vec<Case> {
    let required: [(&str, Vec<Bson>); 7] = [
        ("v", vec![2.into(), 0.into(), "1".into(), 1.0.into()]),
        ("rev", vec!["7".into(), 7.0.into(), (-1_i64).into()]),
        (
            "token",
            vec!["41".into(), 41.0.into(), (-1_i64).into(), past()],
        ),
        ("mode", vec!["owl".into(), "".into(), 1.into()]),
        (
            "limit",
            vec![0.into(), 257.into(), (-1).into(), "3".into(), 3.0.into()],
        ),
        ("holders", vec!["".into(), doc! {}.into(), 0.into()]),
        ("queue", vec!["".into(), doc! {}.into(), 0.into()]),
    ];
    let optional: [(&str, Vec<Bson>); 7] = [
        ("freeAt", vec![0_i64.into(), "".into()]),
        (
            "closed",
            vec![
                0.into(),
                "".into(),
                "a\n".into(),
                "x".repeat(257).into(),
                past(),
            ],
        ),
        ("slotStarted", vec![0_i64.into()]),
        ("slotDone", vec!["".into()]),
        ("pinned", vec![253_402_300_799_000_i64.into(), true.into()]),
        ("state", vec![doc! {}.into(), 1.into()]),
        ("purgeAt", vec!["9999".into(), 0_i64.into()]),
    ];
    let mut cases = Vec::new();
    for (field, values) in required {
        cases.push((field.to_owned(), without(free(), field)));
        cases.push((field.to_owned(), with(free(), field, null())));
        let values = values.into_iter().chain(no_numbers()).chain(huge(field));
        cases.extend(values.map(|value| (field.to_owned(), with(free(), field, value))));
    }
    for (field, values) in optional {
        cases.push((field.to_owned(), with(free(), field, null())));
        let values = values.into_iter().chain(no_numbers()).chain(huge(field));
        cases.extend(values.map(|value| (field.to_owned(), with(free(), field, value))));
    }
    cases.push(("limit".into(), with(free(), "mode", "exclusive".into())));
    // Somebody's own documents.
    cases.push(("v".into(), doc! { "name": "bob" }));
    cases.push(("v".into(), doc! { "expiresAt": past(), "owner": "o" }));
    cases.push(("mode".into(), doc! { "v": 1 }));
    cases
}

/// Each field of an element, on a record whose holders are all dead.
pub fn of_the_elements() -> Vec<Case> {
    let control = Bson::from("a\u{85}");
    let fields: [(&str, Vec<Bson>); 7] = [
        (
            "owner",
            vec![1.into(), "".into(), "x".repeat(257).into(), control.clone()],
        ),
        (
            "id",
            vec![
                1.into(),
                "".into(),
                "é".repeat(129).into(),
                "a\u{0}b".into(),
            ],
        ),
        ("token", vec!["41".into(), 41.0.into(), (-1_i64).into()]),
        ("acquiredAt", vec![0_i64.into(), "".into()]),
        ("expiresAt", vec![0_i64.into(), "1970".into(), 0.0.into()]),
        (
            "ttlMs",
            vec![
                0_i64.into(),
                (-1_i64).into(),
                86_400_001_i64.into(),
                1000.0.into(),
                "1".into(),
            ],
        ),
        ("seq", vec![(-1_i64).into(), 1.0.into(), "1".into()]),
    ];
    let mut cases = Vec::new();
    let mut broken = |index: usize, field: &str, value: Option<Bson>| {
        let mut document = dead(ID);
        let holders = document.get_array_mut("holders").unwrap();
        let holder = holders[index].as_document_mut().unwrap();
        match value {
            Some(value) => holder.insert(field, value),
            None => holder.remove(field),
        };
        // A linger with one field of a claimant lacks the others.
        let named = if index == 1 && ["id", "token"].contains(&field) {
            "owner"
        } else {
            field
        };
        cases.push((format!("holders.{index}.{named}"), document));
    };
    for (field, values) in fields {
        broken(0, field, None);
        broken(0, field, Some(null()));
        broken(1, field, Some(null()));
        for value in values.into_iter().chain(no_numbers()).chain(huge(field)) {
            broken(0, field, Some(value));
        }
    }
    for value in [null(), 1.into(), "".into(), control, "x".repeat(257).into()] {
        broken(0, "label", Some(value));
    }
    for value in [null(), 1.into(), doc! {}.into()] {
        broken(0, "data", Some(value));
    }
    cases.push((
        "holders.0".into(),
        with(free(), "holders", vec![null()].into()),
    ));
    cases.push((
        "holders.0".into(),
        with(free(), "holders", vec![Bson::from("x")].into()),
    ));
    cases.push((
        "holders.0.acquiredAt".into(),
        with(free(), "holders", vec![doc! {}].into()),
    ));
    cases.push(("queue.0".into(), with(free(), "queue", vec![1].into())));
    cases.push((
        "queue.0.owner".into(),
        with(free(), "queue", vec![doc! {}].into()),
    ));
    let waiter = || {
        doc! {
            "owner": "w", "id": "i", "mode": "shared", "limit": 0_i64, "enqueuedAt": past(), "expiresAt": past(),
            "ttlMs": 6000_i64, "seq": 1_i64,
        }
    };
    let names: [(&str, Vec<Bson>); 8] = [
        ("owner", vec![1.into(), "".into(), "a\u{1}".into()]),
        ("id", vec![1.into(), "".into(), "x".repeat(257).into()]),
        ("mode", vec!["owl".into(), 1.into()]),
        ("limit", vec![1_i64.into(), 0.0.into(), "0".into()]),
        ("enqueuedAt", vec![0_i64.into(), "".into()]),
        ("expiresAt", vec![0_i64.into(), "1970".into()]),
        ("ttlMs", vec![0_i64.into(), 1000.0.into(), "1".into()]),
        ("seq", vec![(-1_i64).into(), 1.0.into(), "1".into()]),
    ];
    for (field, values) in names {
        let values = values.into_iter().chain(no_numbers()).chain(huge(field));
        let broken = values.chain([null()]);
        let broken = broken.map(|value| with(waiter(), field, value));
        for broken in broken.chain([without(waiter(), field)]) {
            let queue = vec![Bson::from(broken)];
            cases.push((
                format!("queue.0.{field}"),
                with(dead(ID), "queue", queue.into()),
            ));
        }
    }
    cases
}
