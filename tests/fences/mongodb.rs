//! Guarded calls to MongoDB.

use std::time::Duration;

use anyhow::{Context, Result};
use doclock::fence::Guarded;
use doclock::fence::mongodb::MongoFence;
use doclock::{ErrorKind, Lease, LockClient, MemoryBackend};
use mongodb::bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use mongodb::options::{
    Collation, CollationStrength, FindOneAndUpdateOptions, IndexOptions, UpdateOptions,
};
use mongodb::{Collection, IndexModel};
use tokio::time::timeout;

use super::{lost, old_and_new};
use crate::mongodb::fixture::Fixture;
use crate::support::replica_set::ReplicaSet;
use crate::support::servers;

/// A collection of the data's own, through a client whose commands are counted.
struct Data {
    locks: LockClient,
    fixture: Fixture,
    items: Collection<Document>,
    raw: Collection<Document>,
}

impl Data {
    async fn new() -> Result<Self> {
        let fixture = Fixture::new().await?;
        let name = format!("{}-items", fixture.app_name);
        let database = fixture.raw.namespace().db;
        let items = fixture.client.database(&database).collection(&name);
        let raw = fixture.admin.database(&database).collection(&name);
        raw.insert_one(doc! { "_id": "other" }).await?;
        Ok(Self {
            // In another place than the data: a fence needs no more than the token.
            locks: LockClient::new(MemoryBackend::new()),
            fixture,
            items,
            raw,
        })
    }

    fn commands(&self) -> Vec<String> {
        self.fixture.commands.take()
    }

    async fn bytes(&self, id: &str) -> Result<RawDocumentBuf> {
        let raw = self.raw.clone_with_type::<RawDocumentBuf>();
        raw.find_one(doc! { "_id": id })
            .await?
            .context("no document")
    }
}

fn upsert() -> UpdateOptions {
    UpdateOptions::builder().upsert(true).build()
}

fn fence(lease: &Lease) -> MongoFence<'_> {
    lease.fence().mongodb().unwrap()
}

pub const FORMS: [&str; 7] = [
    "update",
    "pipeline",
    "upsert",
    "find and update",
    "find and upsert",
    "insert",
    "delete",
];

/// Each kind of write, to the document of this `_id`: whether it was applied.
pub async fn write(
    items: &Collection<Document>,
    lease: &Lease,
    form: &str,
    id: &str,
) -> doclock::Result<bool> {
    let fence = fence(lease);
    let this = doc! { "_id": id };
    let set = doc! { "$set": { "by": "late" } };
    let stage = vec![doc! { "$set": { "by": "late" } }];
    let finding = FindOneAndUpdateOptions::builder().upsert(true).build();
    Ok(match form {
        "update" => fence
            .guarded_update_one(items, this, set, None)
            .await?
            .applied()
            .is_some(),
        "pipeline" => fence
            .guarded_update_one(items, this, stage, None)
            .await?
            .applied()
            .is_some(),
        "upsert" => fence
            .guarded_update_one(items, this, set, upsert())
            .await?
            .applied()
            .is_some(),
        "find and update" => {
            let found = fence
                .guarded_find_one_and_update(items, this, stage, None)
                .await?;
            found.applied().is_some()
        }
        "find and upsert" => {
            let found = fence
                .guarded_find_one_and_update(items, this, set, finding)
                .await?;
            found.applied().is_some()
        }
        "insert" => {
            let document = doc! { "_id": id, "by": "late" };
            fence
                .guarded_insert(items, document)
                .await?
                .applied()
                .is_some()
        }
        "delete" => fence.guarded_delete(items, this).await?.applied().is_some(),
        other => panic!("{other}"),
    })
}

#[tokio::test]
async fn a_late_write_is_refused_and_changes_nothing() -> Result<()> {
    let data = Data::new().await?;
    let (old, new) = old_and_new(&data.locks, "k").await?;
    for form in FORMS {
        assert!(write(&data.items, &new, "upsert", form).await?);
        data.raw
            .update_one(doc! { "_id": form }, doc! { "$set": { "by": "new" } })
            .await?;
        let before = data.bytes(form).await?;
        assert!(!write(&data.items, &old, form, form).await?, "{form}");
        assert_eq!(data.bytes(form).await?, before, "{form}");
        // The control: the same write without a guard.
        let this = doc! { "_id": form };
        data.items
            .update_one(this, doc! { "$set": { "by": "late" } })
            .await?;
        assert_ne!(data.bytes(form).await?, before, "{form}");
    }
    Ok(())
}

#[tokio::test]
async fn a_guarded_call_costs_no_request_more() -> Result<()> {
    let data = Data::new().await?;
    let lease = data.locks.lock("k").acquire().await?;
    data.items
        .update_one(doc! { "_id": "other" }, doc! { "$set": { "a": 1 } })
        .await?;
    assert_eq!(data.commands(), ["update"]);
    for (form, command) in [
        ("insert", "insert"),
        ("update", "update"),
        ("pipeline", "update"),
        ("find and update", "findAndModify"),
        ("upsert", "update"),
        ("delete", "delete"),
        ("find and upsert", "findAndModify"),
    ] {
        assert!(write(&data.items, &lease, form, "one").await?, "{form}");
        assert_eq!(data.commands(), [command], "{form}");
    }
    let document = data
        .raw
        .find_one(doc! { "_id": "one" })
        .await?
        .context("none")?;
    let token = i64::try_from(lease.token())?;
    assert_eq!(
        document,
        doc! { "_id": "one", "by": "late", "fence": token }
    );
    Ok(())
}

#[tokio::test]
async fn what_matches_nothing_is_applied_to_nothing() -> Result<()> {
    let data = Data::new().await?;
    let (old, new) = old_and_new(&data.locks, "k").await?;
    assert!(write(&data.items, &new, "upsert", "one").await?);
    data.commands();
    let nothing = || doc! { "_id": "one", "by": "nobody" };
    let set = || doc! { "$set": { "by": "late" } };
    let fence = fence(&old);
    let Guarded::Applied(updated) = fence
        .guarded_update_one(&data.items, nothing(), set(), None)
        .await?
    else {
        panic!("refused");
    };
    assert_eq!(
        (updated.matched_count, data.commands()),
        (0, vec!["update".to_owned(), "find".to_owned()])
    );
    let found = fence
        .guarded_find_one_and_update(&data.items, nothing(), set(), None)
        .await?;
    assert!(matches!(found, Guarded::Applied(None)));
    assert_eq!(data.commands(), ["findAndModify", "find"]);
    let deleted = fence.guarded_delete(&data.items, nothing()).await?;
    assert_eq!(deleted.applied().context("refused")?.deleted_count, 0);
    assert_eq!(data.commands(), ["delete", "find"]);
    Ok(())
}

#[tokio::test]
async fn a_holder_writes_as_often_as_it_likes_and_after_an_older_one() -> Result<()> {
    let data = Data::new().await?;
    let (old, new) = old_and_new(&data.locks, "k").await?;
    for lease in [&old, &old, &new, &new] {
        assert!(write(&data.items, lease, "upsert", "one").await?);
    }
    // Of the documents that match, one that has no newer token.
    assert!(write(&data.items, &old, "upsert", "two").await?);
    let any = doc! { "by": "late" };
    let fence = fence(&old);
    let updated =
        fence.guarded_update_one(&data.items, any, doc! { "$set": { "by": "old" } }, None);
    assert_eq!(
        updated.await?.applied().context("refused")?.modified_count,
        1
    );
    assert_eq!(
        data.raw
            .find_one(doc! { "by": "old" })
            .await?
            .unwrap()
            .get_str("_id")?,
        "two"
    );
    // Another field is another lock's, and a small number is a number.
    data.raw
        .update_one(doc! { "_id": "one" }, doc! { "$set": { "theirs": 7 } })
        .await?;
    let theirs = old.fence().field("theirs").mongodb()?;
    let updated = theirs
        .guarded_update_one(&data.items, doc! { "_id": "one" }, doc! {}, None)
        .await?;
    assert_eq!(updated.applied().context("refused")?.matched_count, 1);
    Ok(())
}

/// The newer holder has made it one that the older one's filter does not match.
#[tokio::test]
async fn a_late_upsert_is_refused_whatever_else_its_filter_says() -> Result<()> {
    let data = Data::new().await?;
    let (old, new) = old_and_new(&data.locks, "k").await?;
    assert!(write(&data.items, &new, "upsert", "one").await?);
    let pending = || doc! { "_id": "one", "by": "nobody" };
    let set = || doc! { "$set": { "by": "old" } };
    let fence_of_old = fence(&old);
    let before = data.bytes("one").await?;
    let updated = fence_of_old.guarded_update_one(&data.items, pending(), set(), upsert());
    assert!(matches!(updated.await?, Guarded::Fenced));
    let finding = FindOneAndUpdateOptions::builder().upsert(true).build();
    let found = fence_of_old.guarded_find_one_and_update(&data.items, pending(), set(), finding);
    assert!(matches!(found.await?, Guarded::Fenced));
    // To the newer holder it is what it is without a guard.
    let fence_of_new = fence(&new);
    let own = fence_of_new.guarded_update_one(&data.items, pending(), set(), upsert());
    assert!(format!("{:?}", own.await.unwrap_err()).contains("E11000"));
    assert_eq!(data.bytes("one").await?, before);
    Ok(())
}

/// What else an update needs of its filter, and filters that are more than fields.
#[tokio::test]
async fn a_filter_does_what_it_did() -> Result<()> {
    let data = Data::new().await?;
    let lease = data.locks.lock("k").acquire().await?;
    let fence = fence(&lease);
    let lines = doc! { "lines": [{ "sku": "a", "n": 0 }, { "sku": "b", "n": 0 }] };
    data.raw
        .update_one(doc! { "_id": "other" }, doc! { "$set": lines })
        .await?;
    let add = |path: &str| doc! { "$inc": { path: 1 } };
    let elements = vec![doc! { "line.sku": "b" }];
    let elements = UpdateOptions::builder().array_filters(elements).build();
    let variables = UpdateOptions::builder()
        .let_vars(doc! { "id": "other" })
        .build();
    let none = UpdateOptions::default;
    // The first without a fence, the others with one.
    for (filter, update, options) in [
        (
            doc! { "_id": "other", "lines.sku": "b" },
            add("lines.$.n"),
            none(),
        ),
        (
            doc! { "_id": "other", "lines.sku": "b" },
            add("lines.$.n"),
            none(),
        ),
        (
            doc! { "lines": { "$elemMatch": { "sku": "b" } } },
            add("lines.$.n"),
            none(),
        ),
        (doc! { "_id": "other" }, add("lines.$[line].n"), elements),
        (
            doc! { "$or": [{ "_id": "other" }, { "_id": "none" }] },
            add("lines.1.n"),
            none(),
        ),
        (
            doc! { "$expr": { "$eq": ["$_id", "$$id"] } },
            add("lines.1.n"),
            variables,
        ),
        (doc! {}, add("lines.1.n"), none()),
    ] {
        let shown = filter.to_string();
        let updated = fence.guarded_update_one(&data.items, filter, update, options);
        let updated = updated.await?.applied().context("refused")?;
        assert_eq!(updated.modified_count, 1, "{shown}");
    }
    let item = data.raw.find_one(doc! { "_id": "other" }).await?;
    let lines = item.context("no document")?.get_array("lines")?.clone();
    let expected = [doc! { "sku": "a", "n": 0 }, doc! { "sku": "b", "n": 7 }];
    assert_eq!(lines, expected.map(Bson::from));
    Ok(())
}

/// What reads through the fence is protected from then on.
#[tokio::test]
async fn a_guarded_read_keeps_older_holders_out() -> Result<()> {
    let data = Data::new().await?;
    let (old, new) = old_and_new(&data.locks, "k").await?;
    let this = doc! { "_id": "other" };
    let seen = fence(&new)
        .guarded_find_one_and_update(&data.items, this, doc! {}, None)
        .await?;
    assert!(seen.applied().flatten().is_some());
    assert!(!write(&data.items, &old, "update", "other").await?);
    Ok(())
}

#[tokio::test]
async fn a_fence_of_a_wrong_type_is_an_error_that_names_it() -> Result<()> {
    let data = Data::new().await?;
    let lease = data.locks.lock("k").acquire().await?;
    let values: [Bson; 8] = [
        "1".into(),
        Bson::Null,
        vec![1_i64].into(),
        1.0.into(),
        true.into(),
        doc! { "a": 1 }.into(),
        DateTime::from_millis(0).into(),
        Bson::MinKey,
    ];
    for value in values {
        data.raw
            .update_one(
                doc! { "_id": "other" },
                doc! { "$set": { "fence": value.clone() } },
            )
            .await?;
        let before = data.bytes("other").await?;
        for form in FORMS {
            let error = write(&data.items, &lease, form, "other").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::CorruptRecord, "{form}, {value}");
            assert!(error.to_string().contains("`fence`"), "{error}");
            assert_eq!(data.bytes("other").await?, before, "{form}, {value}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn with_a_lost_lease_nothing_is_sent() -> Result<()> {
    let data = Data::new().await?;
    let lease = lost(&data.locks, "k").await?;
    data.commands();
    for form in FORMS {
        let error = write(&data.items, &lease, form, "other").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LeaseLost, "{form}");
    }
    assert!(data.commands().is_empty());
    Ok(())
}

#[tokio::test]
async fn bad_input_is_refused_before_any_request() -> Result<()> {
    let data = Data::new().await?;
    let lease = data.locks.lock("k").acquire().await?;
    data.commands();
    for name in ["", "$a", "a.b", "a\0", "_id"] {
        let error = lease.fence().field(name).mongodb().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name:?}");
    }
    let fence = fence(&lease);
    let set = || doc! { "$set": { "a": 1 } };
    let loose = fence
        .guarded_update_one(&data.items, doc! { "a": 1 }, set(), upsert())
        .await
        .unwrap_err();
    assert!(loose.to_string().contains("_id"), "{loose}");
    let finding = FindOneAndUpdateOptions::builder().upsert(true).build();
    let finding = fence
        .guarded_find_one_and_update(&data.items, doc! {}, set(), finding)
        .await
        .unwrap_err();
    // Blind to case it would not find `A` fenced as `a`, and `_id` has room for both.
    let blind = Collation::builder()
        .locale("en")
        .strength(CollationStrength::Secondary)
        .build();
    let blind = UpdateOptions::builder()
        .upsert(true)
        .collation(blind)
        .build();
    let blind = fence
        .guarded_update_one(&data.items, doc! { "_id": "A" }, set(), blind)
        .await
        .unwrap_err();
    let touching = doc! { "$inc": { "fence": 1 } };
    let touching = fence
        .guarded_update_one(&data.items, doc! {}, touching, None)
        .await
        .unwrap_err();
    let nameless = fence
        .guarded_insert(&data.items, doc! { "a": 1 })
        .await
        .unwrap_err();
    let fenced = doc! { "_id": 1, "fence": 1 };
    let fenced = fence.guarded_insert(&data.items, fenced).await.unwrap_err();
    for error in [loose, finding, blind, touching, nameless, fenced] {
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    assert!(data.commands().is_empty());
    Ok(())
}

#[tokio::test]
async fn another_duplicate_key_is_the_drivers_error() -> Result<()> {
    let data = Data::new().await?;
    let unique = IndexOptions::builder().unique(true).sparse(true).build();
    let index = IndexModel::builder()
        .keys(doc! { "email": 1 })
        .options(unique)
        .build();
    data.raw.create_index(index).await?;
    data.raw
        .insert_one(doc! { "_id": "first", "email": "a@b" })
        .await?;
    let lease = data.locks.lock("k").acquire().await?;
    let fence = fence(&lease);
    let taken = || doc! { "$set": { "email": "a@b" } };
    let errors = [
        fence
            .guarded_update_one(&data.items, doc! { "_id": "other" }, taken(), None)
            .await
            .unwrap_err(),
        fence
            .guarded_update_one(&data.items, doc! { "_id": "other" }, taken(), upsert())
            .await
            .unwrap_err(),
        fence
            .guarded_update_one(&data.items, doc! { "_id": "new" }, taken(), upsert())
            .await
            .unwrap_err(),
        fence
            .guarded_insert(&data.items, doc! { "_id": "new", "email": "a@b" })
            .await
            .unwrap_err(),
        fence
            .guarded_insert(&data.items, doc! { "_id": "first" })
            .await
            .unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Other, "{error}");
        let source = std::error::Error::source(&error).context("no source")?;
        let source = source
            .downcast_ref::<mongodb::error::Error>()
            .context("another error")?;
        assert!(source.to_string().contains("E11000"), "{source}");
    }
    Ok(())
}

/// The document comes to be between the write that did not match it and the look.
#[tokio::test]
async fn a_document_that_appears_meanwhile_is_written_after_all() -> Result<()> {
    let data = Data::new().await?;
    let lease = data.locks.lock("k").acquire().await?;
    data.commands();
    let raw = data.raw.clone();
    let name = raw.namespace().to_string();
    let insert = move || {
        let thread = std::thread::spawn(move || {
            tokio::runtime::Runtime::new()?.block_on(async {
                let client = mongodb::Client::with_uri_str(servers::mongodb_url()).await?;
                let (database, collection) = name.split_once('.').context("no dot")?;
                let raw = client.database(database).collection::<Document>(collection);
                raw.insert_one(doc! { "_id": "new" }).await?;
                anyhow::Ok(())
            })
        });
        thread.join().unwrap().unwrap();
    };
    data.fixture.commands.before(2, insert);
    assert!(write(&data.items, &lease, "update", "new").await?);
    assert_eq!(data.commands(), ["update", "find", "update"]);
    assert_eq!(
        data.raw
            .find_one(doc! { "_id": "new" })
            .await?
            .unwrap()
            .get_str("by")?,
        "late"
    );
    Ok(())
}

/// A future of any task.
#[tokio::test]
async fn guarded_calls_can_be_spawned() -> Result<()> {
    let data = Data::new().await?;
    let lease = data.locks.lock("k").acquire().await?;
    let items = data.items.clone();
    let task = tokio::spawn(async move { write(&items, &lease, "update", "other").await });
    assert!(task.await??);
    Ok(())
}

/// What only the primary has confirmed refuses as well, though no majority read shows it.
#[tokio::test]
async fn a_newer_token_counts_before_a_majority_has_it() -> Result<()> {
    if servers::without("mongodb") {
        return Ok(());
    }
    let set = ReplicaSet::start(3).await?;
    let primary = set.primary().await?;
    for node in (0..3).filter(|node| *node != primary) {
        let stop = doc! { "configureFailPoint": "stopReplProducer", "mode": "alwaysOn" };
        set.command(node, stop).await?;
    }
    let url = format!("{}&w=1", set.url());
    let client = mongodb::Client::with_uri_str(url).await?;
    let items = client.database("test").collection::<Document>("items");
    let locks = LockClient::new(MemoryBackend::new());
    let (old, new) = old_and_new(&locks, "k").await?;
    assert!(write(&items, &new, "upsert", "one").await?);
    // A majority read would wait for the others.
    let late = write(&items, &old, "update", "one");
    assert!(!timeout(Duration::from_mins(1), late).await??);
    Ok(())
}
