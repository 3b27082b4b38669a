//! What is not a well-formed record is refused by name, and left as it is.

use anyhow::{Context, Result};
use doclock::{
    AcquireRequest, Backend, Error, ErrorKind, Key, LeaseId, Mode, Owner, ReleaseRequest,
    RenewRequest,
};
use mongodb::bson::{Bson, Document, doc};

use super::fixture::{Fixture, dead, free, past, request};

const ID: &str = "0123";

/// A document, and the field that the error names.
type Case = (String, Document);

fn null() -> Bson {
    Bson::Null
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
fn of_the_record() -> Vec<Case> {
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
        cases.extend(
            values
                .into_iter()
                .map(|value| (field.to_owned(), with(free(), field, value))),
        );
    }
    for (field, values) in optional {
        cases.push((field.to_owned(), with(free(), field, null())));
        cases.extend(
            values
                .into_iter()
                .map(|value| (field.to_owned(), with(free(), field, value))),
        );
    }
    cases.push(("limit".into(), with(free(), "mode", "exclusive".into())));
    // Somebody's own documents.
    cases.push(("v".into(), doc! { "name": "bob" }));
    cases.push(("v".into(), doc! { "expiresAt": past(), "owner": "o" }));
    cases.push(("mode".into(), doc! { "v": 1 }));
    cases
}

/// Each field of an element, on a record whose holders are all dead.
fn of_the_elements() -> Vec<Case> {
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
        for value in values {
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
    for field in [
        "owner",
        "id",
        "mode",
        "limit",
        "enqueuedAt",
        "expiresAt",
        "ttlMs",
        "seq",
    ] {
        for broken in [without(waiter(), field), with(waiter(), field, null())] {
            cases.push((
                format!("queue.0.{field}"),
                with(dead(ID), "queue", vec![broken].into()),
            ));
        }
    }
    cases
}

fn refused<T: std::fmt::Debug>(result: Result<T, Error>, field: &str) -> Result<()> {
    let error = result.err().context("it was accepted")?;
    anyhow::ensure!(error.kind() == ErrorKind::CorruptRecord, "{error:?}");
    anyhow::ensure!(error.to_string().contains(&format!("`{field}`")), "{error}");
    Ok(())
}

async fn every_call_refuses(locks: &Fixture, key: &Key, field: &str) -> Result<()> {
    let modes = [
        Mode::Exclusive,
        Mode::Shared,
        Mode::Permit { limit: 3 },
        Mode::Permit { limit: 9 },
    ];
    for mode in modes {
        let mut acquire = request(key.as_str(), mode);
        refused(locks.backend.acquire(&acquire).await, field).context("acquire")?;
        acquire.owner = Owner::new("o")?;
        refused(locks.backend.acquire(&acquire).await, field).context("acquire as `o`")?;
    }
    for id in [LeaseId::new(ID)?, LeaseId::random()] {
        let mut acquire =
            AcquireRequest::new(key, &Owner::new("o")?, modes[2], super::fixture::secs(1));
        acquire.id = id.clone();
        let renewal = RenewRequest::new(&acquire, 41, 9);
        refused(locks.backend.renew(&renewal).await, field).context("renew")?;
        let release = ReleaseRequest::new(key, &acquire.owner, &id);
        refused(locks.backend.release(&release).await, field).context("release")?;
    }
    refused(locks.backend.inspect(key).await, field).context("inspect")
}

#[tokio::test]
async fn broken_documents_are_named_and_left_alone() -> Result<()> {
    let locks = Fixture::new().await?;
    let cases: Vec<_> = of_the_record()
        .into_iter()
        .chain(of_the_elements())
        .collect();
    assert!(cases.len() > 100, "{}", cases.len());
    for (index, (field, document)) in cases.iter().enumerate() {
        let key = Key::new(format!("k{index}"))?;
        locks.put(key.as_str(), document).await?;
        let before = locks.bytes(key.as_str()).await?;
        let refusals = every_call_refuses(&locks, &key, field).await;
        refusals.with_context(|| format!("{field}: {document}"))?;
        assert_eq!(
            locks.bytes(key.as_str()).await?,
            before,
            "{field}: {document}"
        );
    }
    let listed = locks.backend.list("", None).await?;
    assert!(listed.records.is_empty());
    Ok(())
}

#[tokio::test]
async fn the_unbroken_ones_are_granted() -> Result<()> {
    let locks = Fixture::new().await?;
    for (index, document) in [free(), dead(ID), doc! {}].iter().enumerate() {
        for mode in [Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 3 }] {
            let key = format!("k{index}");
            locks.put(&key, document).await?;
            locks.granted(&request(&key, mode)).await?;
        }
    }
    Ok(())
}
