//! Names are compared as they are, and are never part of an expression.

use anyhow::Result;
use doclock::{
    AcquireOutcome, AcquireRequest, Backend, ErrorKind, Key, Label, Mode, Owner, Payload,
    ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest,
};
use mongodb::options::{Collation, CollationStrength, CreateCollectionOptions};

use super::fixture::{Fixture, request, secs};

pub const NAMES: [&str; 12] = [
    "$$ROOT",
    "$$NOW",
    "$$REMOVE",
    "$_id",
    "$",
    "a.b.$.c",
    "#a#b",
    "\"'\\`",
    "{\"$literal\": 1}",
    "🔒 ключ",
    " ",
    "%00",
];

#[tokio::test]
async fn any_name_is_only_a_name() -> Result<()> {
    let locks = Fixture::new().await?;
    for name in NAMES {
        for mode in [Mode::Exclusive, Mode::Shared] {
            let mut mine =
                AcquireRequest::new(&Key::new(name)?, &Owner::new(name)?, mode, secs(30));
            mine.label = Some(Label::new(name)?);
            mine.data = Some(Payload::new(&name)?);
            let grant = locks.granted(&mine).await?;
            let record = locks.backend.inspect(&mine.key).await?.unwrap();
            let holder = record.holder(&mine.id).unwrap();
            assert_eq!(holder.owner(), Some(&mine.owner));
            assert_eq!((&holder.label, &holder.data), (&mine.label, &mine.data));

            let theirs =
                AcquireRequest::new(&mine.key, &Owner::random(), Mode::Exclusive, secs(30));
            let outcome = locks.backend.acquire(&theirs).await?;
            assert!(matches!(outcome, AcquireOutcome::Held(_)), "{name}");

            // By the rules and a swap.
            let mut takeover = mine.clone();
            takeover.id = request("k", mode).id;
            let second = locks.granted(&takeover).await?;
            assert!(second.token > grant.token, "{name}");

            let renewal = RenewRequest::new(&takeover, second.token, 2);
            let renewed = locks.backend.renew(&renewal).await?;
            assert!(matches!(renewed, RenewOutcome::Renewed(_)), "{name}");
            let record = locks.backend.inspect(&mine.key).await?.unwrap();
            let holder = record.holder(&takeover.id).unwrap();
            assert_eq!(holder.owner(), Some(&mine.owner));
            assert_eq!((&holder.label, &holder.data), (&mine.label, &mine.data));

            let release = ReleaseRequest::new(&mine.key, &mine.owner, &takeover.id);
            assert_eq!(
                locks.backend.release(&release).await?,
                ReleaseOutcome::Released
            );
        }
    }
    let listed = locks.backend.list("", None).await?;
    let mut keys: Vec<_> = NAMES.to_vec();
    keys.sort_unstable();
    let names: Vec<_> = listed.records.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(names, keys);
    assert_eq!(locks.backend.list("$$", None).await?.records.len(), 3);
    Ok(())
}

#[tokio::test]
async fn a_case_blind_collection_does_not_merge_names() -> Result<()> {
    let blind = Collation::builder()
        .locale("en")
        .strength(CollationStrength::Secondary)
        .build();
    let options = CreateCollectionOptions::builder().collation(blind).build();
    let locks = Fixture::with(|_| {}, Some(options)).await?;
    let mut mine = request("Key", Mode::Exclusive);
    mine.owner = Owner::new("Bob")?;
    let grant = locks.granted(&mine).await?;
    let before = locks.bytes("Key").await?;

    // Another owner, not the same one in other letters.
    let mut theirs = request("Key", Mode::Exclusive);
    theirs.owner = Owner::new("BOB")?;
    let outcome = locks.backend.acquire(&theirs).await?;
    assert!(matches!(outcome, AcquireOutcome::Held(_)));

    // Another key: the database cannot keep it, and nobody gets the other one instead.
    theirs.key = Key::new("KEY")?;
    let error = locks.backend.acquire(&theirs).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotSetUp, "{error}");
    assert_eq!(locks.backend.inspect(&theirs.key).await?, None);
    let mut renewal = RenewRequest::new(&mine, grant.token, 2);
    renewal.key = theirs.key.clone();
    assert_eq!(locks.backend.renew(&renewal).await?, RenewOutcome::Lost);
    let release = ReleaseRequest::new(&theirs.key, &mine.owner, &mine.id);
    assert_eq!(
        locks.backend.release(&release).await?,
        ReleaseOutcome::NotHeld
    );
    assert_eq!(locks.bytes("Key").await?, before);

    let error = locks.backend.setup().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotSetUp, "{error}");
    assert_eq!(locks.raw.count_documents(mongodb::bson::doc! {}).await?, 1);
    Ok(())
}

#[tokio::test]
async fn pages_follow_each_other() -> Result<()> {
    let locks = Fixture::new().await?;
    let broken = mongodb::bson::doc! { "_id": "a:050x", "name": "bob" };
    let mut documents = vec![broken];
    for index in 0..250 {
        let mut document = super::fixture::free();
        document.insert("_id", format!("a:{index:03}"));
        documents.push(document);
    }
    for other in ["a", "b:1", "A:1"] {
        let mut document = super::fixture::free();
        document.insert("_id", other);
        documents.push(document);
    }
    locks.raw.insert_many(documents).await?;
    let (mut names, mut page) = (Vec::new(), None);
    for pages in 0.. {
        let found = locks.backend.list("a:", page.as_deref()).await?;
        names.extend(found.records.into_iter().map(|(key, _)| key.to_string()));
        page = found.next;
        if page.is_none() {
            assert_eq!(pages, 2);
            break;
        }
    }
    let expected: Vec<_> = (0..250).map(|index| format!("a:{index:03}")).collect();
    assert_eq!(names, expected);
    Ok(())
}
