//! Items of every kind: none makes the decoder panic, none that is broken passes, none that passes changes in writing.

use aws_sdk_dynamodb::types::AttributeValue;
use bolero::TypeGenerator;

use super::{Item, decode, decode_to_raise, encode, lingers, number, text};
use crate::fuzz::TRIES;
use crate::fuzz::damage::{Damage, Field, Kind};
use crate::fuzz::record::{AnyRecord, Who};
use crate::fuzz::request::{AnyRequest, AnyTime};
use crate::fuzz::rules::for_all_three;
use crate::{Error, ErrorKind, LockRecord};

const RECORD: [Field; 15] = [
    Kind::Bounded.needed("v"),
    Kind::Count.needed("rev"),
    Kind::Count.needed("token"),
    Kind::Text.needed("mode"),
    Kind::Bounded.needed("limit"),
    Kind::Map.needed("holders"),
    Kind::Map.needed("queue"),
    Kind::Map.needed("tickets"),
    Kind::Time.optional("free_at"),
    Kind::Text.optional("closed"),
    Kind::Time.optional("slot_started"),
    Kind::Time.optional("slot_done"),
    Kind::Time.optional("pinned"),
    Kind::Text.optional("state"),
    Kind::Time.optional("purge_at"),
];
const HOLDER: [Field; 8] = [
    Kind::Text.needed("owner"),
    Kind::Text.needed("id"),
    Kind::Time.needed("acquired_at"),
    Kind::Time.needed("expires_at"),
    Kind::Bounded.needed("ttl_ms"),
    Kind::Count.needed("seq"),
    Kind::Text.optional("label"),
    Kind::Text.optional("data"),
];
const WAITER: [Field; 8] = [
    Kind::Text.needed("owner"),
    Kind::Text.needed("id"),
    Kind::Text.needed("mode"),
    Kind::Bounded.needed("limit"),
    Kind::Time.needed("enqueued_at"),
    Kind::Time.needed("expires_at"),
    Kind::Bounded.needed("ttl_ms"),
    Kind::Count.needed("seq"),
];

/// A value of any type, as a stranger's item has them, or as a broken one of ours.
#[derive(Clone, Debug, TypeGenerator)]
enum AnyValue {
    Null,
    Flag(bool),
    Number(i64),
    Digits([u8; 6]),
    Text(String),
    Mode(u8),
    Owner(Who),
    Bytes(u8),
    List(u8),
    Map,
}

impl AnyValue {
    fn get(&self) -> AttributeValue {
        let digit = |byte: &u8| char::from(b"0123456789+-.eENa "[usize::from(byte % 18)]);
        match self {
            Self::Null => AttributeValue::Null(true),
            Self::Flag(value) => AttributeValue::Bool(*value),
            Self::Number(value) => number(*value),
            Self::Digits(bytes) => AttributeValue::N(bytes.iter().map(digit).collect()),
            Self::Text(value) => text(value),
            Self::Mode(which) => {
                text(["exclusive", "shared", "permit", "owl"][usize::from(which % 4)])
            }
            Self::Owner(who) => text(who.get().owner.as_str()),
            Self::Bytes(byte) => AttributeValue::B(vec![*byte].into()),
            Self::List(length) => AttributeValue::L(vec![number(1); usize::from(length % 3)]),
            Self::Map => AttributeValue::M(Item::new()),
        }
    }
}

fn item(record: &LockRecord) -> Item {
    let fields = encode(record).into_iter();
    let present = fields.filter_map(|(name, value)| Some((name.to_owned(), value?)));
    present.collect()
}

#[test]
fn any_item_is_a_record_or_refused() {
    bolero::check!()
        .with_type::<(Option<AnyRecord>, [(Place, u8, AnyValue); 3])>()
        .with_iterations(TRIES)
        .for_each(|(record, changes)| {
            let record = record.as_ref().map(AnyRecord::in_maps);
            let mut item = record.as_ref().map(item).unwrap_or_default();
            for (place, which, value) in changes {
                if let Some(spot) = spot(&mut item, *place, *which) {
                    spot.map.insert(spot.name, value.get());
                }
            }
            is_sound_or_refused(&item);
        });
}

/// A well-formed one reads back as it was written; any other names a field.
fn is_sound_or_refused(item: &Item) {
    let _ = lingers(item);
    match decode(item) {
        Ok(record) => {
            // Entries of nobody have no order, and times of the far future none that is written in milliseconds.
            let once = decode(&self::item(&record)).expect("it was written by this crate");
            let again = decode(&self::item(&once)).unwrap();
            assert_eq!(again, once);
            assert_eq!(
                (once.rev, once.token, once.mode),
                (record.rev, record.token, record.mode)
            );
            assert_eq!(once.holders.len(), record.holders.len());
            assert_eq!(once.queue, record.queue);
        }
        Err(error) => names_a_field(&error),
    }
}

fn names_a_field(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::CorruptRecord);
    let named = error.to_string();
    let named = named.split('`').nth(1).expect("a field is named");
    let first = named.split('.').next().unwrap_or_default();
    assert!(RECORD.iter().any(|field| field.name == first), "{error}");
}

#[test]
fn what_is_written_reads_back_the_same() {
    bolero::check!()
        .with_type::<AnyRecord>()
        .with_iterations(TRIES)
        .for_each(|record| {
            // In the order of its holders' grants.
            let record = decode(&item(&record.in_maps())).unwrap();
            let mut written = item(&record);
            assert_eq!(decode(&written).unwrap(), record);
            assert_eq!(item(&record), written);
            written.insert("theirs".to_owned(), AttributeValue::Null(true));
            assert_eq!(decode(&written).unwrap(), record);
        });
}

/// Whatever the rules write in place of a record can be read again.
#[test]
fn what_the_rules_write_is_a_record() {
    bolero::check!()
        .with_type::<(Option<AnyRecord>, AnyRequest, AnyTime)>()
        .with_iterations(TRIES)
        .for_each(|(record, request, time)| {
            let record = record.as_ref().map(AnyRecord::in_maps);
            let Ok(record) = record
                .map(|record| decode_to_raise(&item(&record)))
                .transpose()
            else {
                return;
            };
            for written in for_all_three(record.as_ref(), request, &time.get()) {
                let read = decode(&item(&written)).unwrap();
                assert_eq!(
                    (read.rev, read.token, read.mode),
                    (written.rev, written.token, written.mode)
                );
                assert_eq!(read.holders.len(), written.holders.len());
                assert_eq!(read.queue, written.queue);
            }
        });
}

#[derive(Clone, Copy, Debug, TypeGenerator)]
enum Place {
    Record,
    Holder(u8),
    Waiter(u8),
    Ticket(u8),
}

#[test]
fn one_broken_field_is_named() {
    bolero::check!()
        .with_type::<(AnyRecord, Place, u8, Damage)>()
        .with_iterations(TRIES)
        .for_each(|(record, place, which, damage)| {
            let mut item = item(&record.in_maps());
            let Some(broken) = apply(&mut item, *place, *which, *damage) else {
                return;
            };
            let (decoded, path) = (decode(&item), &broken.path);
            if broken.is_harmless(*damage) {
                assert!(decoded.is_ok(), "{path}: {decoded:?}");
                return;
            }
            let error = decoded.expect_err(path);
            assert_eq!(error.kind(), ErrorKind::CorruptRecord, "{path}");
            // An entry with half a claimant lacks the other half, an entry without a ticket its ticket.
            let shown = error.to_string();
            let half =
                broken.is_claim() && shown.contains(path.trim_end_matches(broken.field.name));
            let orphan = path == "queue" || path == "tickets";
            let named =
                shown.contains(&format!("`{path}")) || half || orphan && shown.contains("`tickets");
            assert!(named, "{path}: {error}");
        });
}

/// A field that is not as it was.
struct Broken {
    field: Field,
    path: String,
    /// It stands in the rest of a minimum hold, which is nobody's.
    lingers: bool,
    /// It was an empty map, and is one.
    same: bool,
}

impl Broken {
    fn is_claim(&self) -> bool {
        ["owner", "id"].contains(&self.field.name)
    }

    /// It is still a record, though another one.
    fn is_harmless(&self, damage: Damage) -> bool {
        let nobodys = self.lingers && self.is_claim();
        match damage {
            Damage::Missing => !self.field.required || nobodys,
            // A payload is not parsed until somebody asks for it.
            Damage::Text => ["state", "data"].contains(&self.field.name),
            Damage::Map => self.same || self.field.name == "holders",
            Damage::Largest => matches!(self.field.kind, Kind::Count | Kind::Time),
            _ => false,
        }
    }
}

fn apply(item: &mut Item, place: Place, which: u8, damage: Damage) -> Option<Broken> {
    let Spot {
        field,
        path,
        map,
        name,
    } = spot(item, place, which)?;
    let lingers = matches!(place, Place::Holder(_)) && !map.contains_key("owner");
    let old = match value(damage) {
        None => map.remove(&name),
        Some(value) => map.insert(name, value),
    };
    let same = matches!(old, Some(AttributeValue::M(old)) if old.is_empty());
    Some(Broken {
        field,
        path,
        lingers,
        same,
    })
}

/// A field, and the map that has it.
struct Spot<'a> {
    field: Field,
    path: String,
    map: &'a mut Item,
    name: String,
}

fn spot(item: &mut Item, place: Place, which: u8) -> Option<Spot<'_>> {
    let (fields, entries): (&[Field], _) = match place {
        Place::Record => (&RECORD, None),
        Place::Holder(index) => (&HOLDER, Some(("holders", index))),
        Place::Waiter(index) => (&WAITER, Some(("queue", index))),
        Place::Ticket(index) => (&[Kind::Count.needed("ticket")], Some(("tickets", index))),
    };
    let field = fields[usize::from(which) % fields.len()];
    let name = field.name.to_owned();
    let Some((entries, index)) = entries else {
        return Some(Spot {
            field,
            path: name.clone(),
            map: item,
            name,
        });
    };
    let Some(AttributeValue::M(map)) = item.get_mut(entries) else {
        return None;
    };
    let mut keys: Vec<_> = map.keys().cloned().collect();
    keys.sort_unstable();
    let key = keys.swap_remove(usize::from(index).checked_rem(keys.len())?);
    let path = format!("{entries}.{key}");
    if entries == "tickets" {
        return Some(Spot {
            field,
            path,
            map,
            name: key,
        });
    }
    let Some(AttributeValue::M(map)) = map.get_mut(&key) else {
        return None;
    };
    let path = format!("{path}.{name}");
    Some(Spot {
        field,
        path,
        map,
        name,
    })
}

fn value(damage: Damage) -> Option<AttributeValue> {
    Some(match damage {
        Damage::Missing => return None,
        Damage::Null => AttributeValue::Null(true),
        Damage::Flag => AttributeValue::Bool(true),
        Damage::Text => text("\u{1}"),
        Damage::List => AttributeValue::L(vec![number(1)]),
        Damage::Map => AttributeValue::M(Item::new()),
        Damage::Negative => number(-1),
        Damage::Fraction => number("1.5"),
        Damage::NotANumber => number("NaN"),
        Damage::Largest => number(i64::MAX),
        Damage::TooLarge => number(1_u128 << 100),
    })
}
