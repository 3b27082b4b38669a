//! What is no well-formed record is refused, with the field's name, and stays as it is.

use aws_sdk_dynamodb::types::AttributeValue::{Bool, L, M, Null};
use doclock::{
    Backend, Error, ErrorKind, LeaseId, Mode, ReleaseRequest, RenewRequest, Slot, SlotStart,
    Timestamp,
};

use super::*;

const OWNER: &str = "somebody";
/// The first 32 hex digits of `somebody`'s SHA-256.
const HASH: &str = "729d7d638cef1b476c9ad1d5d275dc91";

on_both! {
    async fn a_broken_record_is_left_alone(server: Server) {
        let (backend, table) = server.backend().await?;
        granted(&backend, &request("warm-up", Mode::Exclusive)?).await?;
        for (index, broken) in broken_records().into_iter().enumerate() {
            let key = format!("broken-{index}");
            let mut item = broken.item;
            item.insert("pk".into(), text(&key));
            server.put(&table, item.clone()).await?;
            // DynamoDB writes numbers in its own way.
            let before = server.item(&table, &key).await?;
            for (operation, error) in refusals(&backend, &key).await? {
                let what = format!("{operation} of {} in {item:?}: {error}", broken.field);
                assert_eq!(error.kind(), ErrorKind::CorruptRecord, "{what}");
                assert!(error.to_string().contains(&format!("field `{}`", broken.field)), "{what}");
            }
            assert_eq!(server.item(&table, &key).await?, before, "{}", broken.field);
        }
        assert_eq!(backend.list("broken", None).await?.records, []);
    }

    /// A number that cannot be raised by one and read again is not raised.
    async fn the_end_of_a_range_is_not_passed(server: Server) {
        let (backend, table) = server.backend().await?;
        granted(&backend, &request("warm-up", Mode::Exclusive)?).await?;
        for field in ["rev", "token"] {
            let most = |item| with(item, field, number(i64::MAX));
            for (key, mut item) in [("free", most(free())), ("held", most(held_by_somebody()))] {
                item.insert("pk".into(), text(key));
                server.put(&table, item.clone()).await?;
                let mine = somebodys(key)?;
                let ended = [
                    backend.acquire(&request(key, Mode::Exclusive)?).await.err(),
                    backend.acquire(&request(key, Mode::Shared)?).await.err(),
                    backend.acquire(&fair(key, Mode::Exclusive)?).await.err(),
                    backend.renew(&RenewRequest::new(&mine, 11, 9)).await.err(),
                    backend.release(&ending(&mine)).await.err(),
                ];
                for error in ended {
                    let error = error.with_context(|| format!("{field} of {key} was raised"))?;
                    assert_eq!(error.kind(), ErrorKind::CorruptRecord, "{error}");
                    assert!(error.to_string().contains(&format!("`{field}` is at the end")), "{error}");
                }
                assert_eq!(server.item(&table, key).await?.as_ref(), Some(&item), "{field}");
                record(&backend, &mine.key).await?;
            }
        }
    }

    /// The same items without what is broken in them are records.
    async fn a_sound_record_is_accepted(server: Server) {
        let (backend, table) = server.backend().await?;
        let queued = || queued_with(place(), number(3));
        for (key, mut item) in [
            ("free", free()),
            ("held", held_by_somebody()),
            ("polled", queued()),
            ("left", queued()),
        ] {
            item.insert("pk".into(), text(key));
            server.put(&table, item).await?;
            let lock = Key::new(key)?;
            assert_eq!(record(&backend, &lock).await?.rev, 7);
        }
        assert_eq!(granted(&backend, &request("free", Mode::Exclusive)?).await?.token, 12);
        let mine = somebodys("held")?;
        backend.renew(&RenewRequest::new(&mine, 11, 9)).await?;
        let release = ReleaseRequest::new(&mine.key, &mine.owner, &mine.id);
        assert_eq!(backend.release(&release).await?, doclock::ReleaseOutcome::Released);
        assert_eq!(granted(&backend, &poll(&somebodys("polled")?)).await?.token, 12);
        let mut leave = ending(&somebodys("left")?);
        leave.queued = true;
        let (sent, left) = server.count(backend.release(&leave)).await;
        assert_eq!((sent, left?), (1, doclock::ReleaseOutcome::Released));
    }
}

/// What every operation says, in every mode.
async fn refusals(backend: &DynamoBackend, key: &str) -> Result<Vec<(&'static str, Error)>> {
    let mut errors = Vec::new();
    for mode in [Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 5 }] {
        for waiting in [false, true] {
            let mut mine = request(key, mode)?;
            mine.waiting = waiting;
            errors.push(("acquire", backend.acquire(&mine).await.err()));
        }
    }
    let mut upgrade = somebodys(key)?;
    upgrade.replaces = Some(std::mem::replace(&mut upgrade.id, LeaseId::random()));
    errors.push(("change the mode", backend.acquire(&upgrade).await.err()));
    let mut run = request(key, Mode::Exclusive)?;
    run.slot = Some(Slot::new(SlotStart::At(Timestamp::default())));
    errors.push(("run", backend.acquire(&run).await.err()));
    run.slot = Some(Slot::new(SlotStart::Once));
    errors.push(("run once", backend.acquire(&run).await.err()));
    errors.push((
        "queue up",
        backend.acquire(&fair(key, Mode::Exclusive)?).await.err(),
    ));
    let mine = somebodys(key)?;
    errors.push((
        "ask in the queue",
        backend.acquire(&poll(&mine)).await.err(),
    ));
    let mut leave = ending(&mine);
    leave.queued = true;
    errors.push(("leave", backend.release(&leave).await.err()));
    errors.push(("acquire again", backend.acquire(&mine).await.err()));
    let renewal = RenewRequest::new(&mine, 11, 9);
    errors.push(("renew", backend.renew(&renewal).await.err()));
    let mut many = backend.renew_many(&[renewal]).await;
    errors.push(("renew many", many.pop().context("no outcome")?.err()));
    let release = ReleaseRequest::new(&mine.key, &mine.owner, &mine.id);
    errors.push(("release", backend.release(&release).await.err()));
    errors.push(("inspect", backend.inspect(&mine.key).await.err()));
    errors.push((
        "force_release",
        backend.force_release(&mine.key).await.err(),
    ));
    let found = errors.into_iter().map(|(operation, error)| {
        let error = error.with_context(|| format!("{operation} `{key}` succeeded"))?;
        Ok((operation, error))
    });
    found.collect()
}

fn somebodys(key: &str) -> Result<AcquireRequest> {
    let mut mine = request(key, Mode::Exclusive)?;
    mine.owner = Owner::new(OWNER)?;
    mine.id = LeaseId::new("id")?;
    Ok(mine)
}

struct Broken {
    item: Item,
    field: String,
}

fn broken_records() -> Vec<Broken> {
    let mut all = vec![
        broken(Item::from([("name".into(), text("Ann"))]), "v"),
        broken(Item::from([("v".into(), number(1))]), "mode"),
    ];
    let required = [
        "v", "rev", "token", "mode", "limit", "holders", "queue", "tickets",
    ];
    for field in required {
        all.push(broken(without(free(), field), field));
    }
    let optional = [
        "free_at",
        "closed",
        "slot_started",
        "slot_done",
        "pinned",
        "state",
        "purge_at",
    ];
    for field in required.into_iter().chain(optional) {
        for value in [Null(true), Bool(true), L(vec![])] {
            all.push(broken(with(free(), field, value), field));
        }
    }
    for field in [
        "v",
        "rev",
        "token",
        "limit",
        "free_at",
        "slot_started",
        "slot_done",
        "pinned",
        "purge_at",
    ] {
        for value in no_counts() {
            all.push(broken(with(free(), field, value), field));
        }
    }
    for (field, value) in [
        ("v", number(2)),
        ("mode", text("owl")),
        ("limit", number(3)),
        ("limit", number("0.5")),
        ("limit", number(i64::MAX)),
        ("state", number(1)),
        ("closed", number(1)),
    ] {
        all.push(broken(with(free(), field, value), field));
    }
    all.extend(broken_entries());
    all.extend(broken_places());
    all
}

fn broken_entries() -> Vec<Broken> {
    let mut all = Vec::new();
    let entry_field = |field: &str| format!("holders.{HASH}.{field}");
    for field in [
        "owner",
        "id",
        "acquired_at",
        "expires_at",
        "ttl_ms",
        "seq",
        "label",
        "data",
    ] {
        for value in [Null(true), M(Item::new()), L(vec![])] {
            let item = held_with(with(entry(), field, value));
            all.push(broken(item, &entry_field(field)));
        }
    }
    for field in ["acquired_at", "expires_at", "ttl_ms", "seq", "owner", "id"] {
        all.push(broken(
            held_with(without(entry(), field)),
            &entry_field(field),
        ));
    }
    for field in ["acquired_at", "expires_at", "ttl_ms", "seq"] {
        for value in no_counts() {
            all.push(broken(
                held_with(with(entry(), field, value)),
                &entry_field(field),
            ));
        }
    }
    let stranger = held_with(with(entry(), "owner", text("somebody else")));
    all.push(broken(stranger, &entry_field("owner")));
    let scalar = with(free(), "holders", M(Item::from([("x".into(), text("y"))])));
    all.push(broken(scalar, "holders.x"));
    let stray = with(free(), "tickets", M(Item::from([("x".into(), number(1))])));
    all.push(broken(stray, "tickets.x"));
    all
}

/// A queue of one, who may take its turn.
fn broken_places() -> Vec<Broken> {
    let mut all = Vec::new();
    let times = ["enqueued_at", "expires_at", "ttl_ms", "seq"];
    let fields = ["owner", "id", "mode", "limit"];
    for field in fields.into_iter().chain(times) {
        let path = format!("queue.{HASH}.{field}");
        for value in [Null(true), M(Item::new()), L(vec![])] {
            all.push(broken(
                queued_with(with(place(), field, value), number(3)),
                &path,
            ));
        }
        all.push(broken(
            queued_with(without(place(), field), number(3)),
            &path,
        ));
    }
    for field in times.into_iter().chain(["limit"]) {
        for value in no_counts() {
            let item = queued_with(with(place(), field, value), number(3));
            all.push(broken(item, &format!("queue.{HASH}.{field}")));
        }
    }
    for (field, value) in [
        ("owner", text("somebody else")),
        ("mode", text("owl")),
        ("limit", number(257)),
    ] {
        let item = queued_with(with(place(), field, value), number(3));
        all.push(broken(item, &format!("queue.{HASH}.{field}")));
    }
    for ticket in [Null(true), text("3"), number(-1)] {
        let item = queued_with(place(), ticket);
        all.push(broken(item, &format!("tickets.{HASH}")));
    }
    let unordered = with(queued_with(place(), number(3)), "tickets", M(Item::new()));
    all.push(broken(unordered, &format!("tickets.{HASH}")));
    all
}

/// Text, and numbers that this crate never writes. DynamoDB has no NaN and no infinity, and a fraction passes for a number
/// where nobody reads it.
fn no_counts() -> [AttributeValue; 4] {
    [
        text("1"),
        number(-5),
        number(1_u128 << 100),
        number("1E125"),
    ]
}

fn broken(item: Item, field: &str) -> Broken {
    Broken {
        item,
        field: field.to_owned(),
    }
}

fn with(mut item: Item, field: &str, value: AttributeValue) -> Item {
    item.insert(field.to_owned(), value);
    item
}

fn without(mut item: Item, field: &str) -> Item {
    item.remove(field);
    item
}

fn free() -> Item {
    Item::from([
        ("v".into(), number(1)),
        ("rev".into(), number(7)),
        ("token".into(), number(11)),
        ("mode".into(), text("exclusive")),
        ("limit".into(), number(0)),
        ("holders".into(), M(Item::new())),
        ("queue".into(), M(Item::new())),
        ("tickets".into(), M(Item::new())),
    ])
}

fn held_by_somebody() -> Item {
    held_with(entry())
}

fn held_with(entry: Item) -> Item {
    with(free(), "holders", M(Item::from([(HASH.into(), M(entry))])))
}

fn queued_with(place: Item, ticket: AttributeValue) -> Item {
    let item = with(free(), "queue", M(Item::from([(HASH.into(), M(place))])));
    with(item, "tickets", M(Item::from([(HASH.into(), ticket)])))
}

fn place() -> Item {
    Item::from([
        ("owner".into(), text(OWNER)),
        ("id".into(), text("id")),
        ("mode".into(), text("exclusive")),
        ("limit".into(), number(0)),
        ("enqueued_at".into(), number(1_700_000_000_000_i64)),
        ("expires_at".into(), number(1_700_000_000_000_i64)),
        ("ttl_ms".into(), number(6_000)),
        ("seq".into(), number(1)),
    ])
}

fn entry() -> Item {
    Item::from([
        ("owner".into(), text(OWNER)),
        ("id".into(), text("id")),
        ("acquired_at".into(), number(1_700_000_000_000_i64)),
        ("expires_at".into(), number(4_000_000_000_000_i64)),
        ("ttl_ms".into(), number(10_000)),
        ("seq".into(), number(1)),
    ])
}
