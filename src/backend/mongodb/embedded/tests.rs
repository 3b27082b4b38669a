//! That an expression reads from the field what it read from the document, and nothing else changes.

use mongodb::bson::Bson;
use proptest::prelude::*;

use super::*;
use crate::backend::AcquireRequest;
use crate::backend::mongodb::{pipeline, turn, write};
use crate::{Mode, Owner, Ttl};

/// Strings that mean something to the database, or look as if they did.
fn string() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{0,3}",
        r"\$[a-z]{1,3}(\.[a-z]{1,2})?",
        r"\$\$[a-zA-Z]{1,5}(\.[a-z]{1,2})?",
        r"\$\$(ROOTS?|NOW)(\.[a-z]{1,2})?",
        Just("$".to_owned()),
    ]
}

fn expression() -> impl Strategy<Value = Bson> {
    let leaf = prop_oneof![
        string().prop_map(Bson::String),
        any::<i64>().prop_map(Bson::Int64),
        any::<bool>().prop_map(Bson::Boolean),
        Just(Bson::Null),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let name = prop_oneof![Just("$literal".to_owned()), r"\$?[a-z]{1,4}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Bson::Array),
            prop::collection::vec((name, inner), 0..4)
                .prop_map(|fields| Bson::Document(fields.into_iter().collect())),
        ]
    })
}

/// Every string outside of `$literal`.
fn strings<'a>(expression: &'a Bson, found: &mut Vec<&'a str>) {
    match expression {
        Bson::String(text) => found.push(text),
        Bson::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Bson::Document(document) => {
            let evaluated = document.iter().filter(|(name, _)| *name != "$literal");
            evaluated.for_each(|(_, value)| strings(value, found));
        }
        _ => {}
    }
}

/// The expression with a mark in place of every string outside of `$literal`.
fn blank(expression: &Bson) -> Bson {
    match expression {
        Bson::String(_) => Bson::Undefined,
        Bson::Array(items) => Bson::Array(items.iter().map(blank).collect()),
        Bson::Document(document) => {
            let blanked = document.iter().map(|(name, value)| match &**name {
                "$literal" => (name.clone(), value.clone()),
                _ => (name.clone(), blank(value)),
            });
            Bson::Document(blanked.collect())
        }
        other => other.clone(),
    }
}

/// What reads the document itself: a field, or the whole.
fn reads_the_document(text: &str) -> bool {
    let path = text.strip_prefix('$').unwrap_or_default();
    let is_field = !path.is_empty() && !path.starts_with('$');
    is_field || path == "$ROOT" || path.starts_with("$ROOT.")
}

proptest! {
    #[test]
    fn every_path_moves_and_nothing_else(expression in expression()) {
        let moved = rebase(expression.clone());
        prop_assert_eq!(blank(&moved), blank(&expression), "a literal or the shape changed");
        let (mut before, mut after) = (Vec::new(), Vec::new());
        strings(&expression, &mut before);
        strings(&moved, &mut after);
        for (before, after) in before.into_iter().zip(after) {
            prop_assert!(!reads_the_document(after), "{after} was left behind");
            let back = match after.strip_prefix("$$r") {
                Some("") => "$$ROOT".to_owned(),
                Some(rest) if reads_the_document(before) && before.starts_with("$$") => {
                    format!("$$ROOT{rest}")
                }
                Some(rest) if reads_the_document(before) => rest.replacen('.', "$", 1),
                _ => after.to_owned(),
            };
            prop_assert_eq!(back, before);
        }
    }
}

#[test]
fn paths_of_every_kind() {
    for (path, moved) in [
        ("$rev", "$$r.rev"),
        ("$holders.owner", "$$r.holders.owner"),
        ("$_id", "$$r._id"),
        ("$$ROOT", "$$r"),
        ("$$ROOT.rev", "$$r.rev"),
        ("$$NOW", "$$NOW"),
        ("$$h.id", "$$h.id"),
        ("missing", "missing"),
        ("", ""),
    ] {
        assert_eq!(rebase(path.into()), moved.into(), "{path}");
    }
    let data = bson!({ "$literal": { "$rev": "$$ROOT" } });
    assert_eq!(rebase(data.clone()), data);
}

/// What the backend really sends names nothing of the document but the lock's field.
#[test]
fn no_pipeline_reads_anything_else_of_the_document() {
    let key = Key::new("\"a\"").unwrap();
    let ttl = Ttl::new(std::time::Duration::from_secs(1)).unwrap();
    let skew = std::time::Duration::from_millis(500);
    for mode in [Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 3 }] {
        let request = AcquireRequest::new(&key, &Owner::random(), mode, ttl);
        let record = LockRecord::new(mode);
        for pipeline in [
            pipeline::newcomer(&request, skew).unwrap(),
            turn::turn(&request, skew).unwrap(),
            turn::enqueue(&request).unwrap(),
            write::unchanged(),
            write::swap(&key, Some(&record), &record).unwrap().0,
            write::swap(&key, None, &record).unwrap().0,
        ] {
            let moved = Place::field("seat").moved(&key, pipeline);
            let whole = Bson::Array(moved.into_iter().map(Bson::Document).collect());
            let mut found = Vec::new();
            strings(&whole, &mut found);
            found.retain(|text| reads_the_document(text));
            found.retain(|text| !["$seat", "$seat._id", "$$ROOT"].contains(text));
            assert!(found.is_empty(), "{found:?}");
        }
    }
}

#[test]
fn a_key_is_an_id_and_back() {
    for id in [
        Bson::ObjectId(mongodb::bson::oid::ObjectId::new()),
        "a \"quoted\" string \u{7f}\u{85}\n".into(),
        7_i32.into(),
        7_i64.into(),
        7.5.into(),
        bson!({ "b": 1_i32, "a": [true, null] }),
        mongodb::bson::DateTime::now().into(),
        mongodb::bson::Uuid::new().into(),
        "{\"$oid\": \"507f1f77bcf86cd799439011\"}".into(),
    ] {
        let key = crate::document::key(&id_json(&id).unwrap()).unwrap();
        let back = super::id(&key);
        let same_number = back
            .as_i32()
            .map(i64::from)
            .is_some_and(|n| id.as_i64() == Some(n));
        assert!(back == id || same_number, "{key}: {back}");
    }
}

proptest! {
    /// To the last bit: a document with the next number is another one.
    #[test]
    fn a_number_is_an_id_and_back(number in proptest::num::f64::NORMAL) {
        let key = crate::document::key(&id_json(&number.into()).unwrap()).unwrap();
        prop_assert_eq!(super::id(&key), Bson::Double(number));
    }
}
