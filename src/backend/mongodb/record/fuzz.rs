//! Documents of every kind: none makes the decoder panic, none that is broken passes, none that passes changes in writing.

use bolero::TypeGenerator;
use mongodb::bson::{Bson, Document};

use super::{decode, encode};
use crate::ErrorKind;
use crate::fuzz::TRIES;
use crate::fuzz::damage::{Damage, Field, Kind};
use crate::fuzz::record::AnyRecord;
use crate::fuzz::request::{AnyRequest, AnyTime};
use crate::fuzz::rules::for_all_three;

const RECORD: [Field; 14] = [
    Kind::Bounded.needed("v"),
    Kind::Count.needed("rev"),
    Kind::Count.needed("token"),
    Kind::Text.needed("mode"),
    Kind::Bounded.needed("limit"),
    Kind::List.needed("holders"),
    Kind::List.needed("queue"),
    Kind::Time.optional("freeAt"),
    Kind::Text.optional("closed"),
    Kind::Time.optional("slotStarted"),
    Kind::Time.optional("slotDone"),
    Kind::Time.optional("pinned"),
    Kind::Text.optional("state"),
    Kind::Time.optional("purgeAt"),
];
const HOLDER: [Field; 9] = [
    Kind::Text.needed("owner"),
    Kind::Text.needed("id"),
    Kind::Count.needed("token"),
    Kind::Time.needed("acquiredAt"),
    Kind::Time.needed("expiresAt"),
    Kind::Bounded.needed("ttlMs"),
    Kind::Count.needed("seq"),
    Kind::Text.optional("label"),
    Kind::Text.optional("data"),
];
const WAITER: [Field; 8] = [
    Kind::Text.needed("owner"),
    Kind::Text.needed("id"),
    Kind::Text.needed("mode"),
    Kind::Bounded.needed("limit"),
    Kind::Time.needed("enqueuedAt"),
    Kind::Time.needed("expiresAt"),
    Kind::Bounded.needed("ttlMs"),
    Kind::Count.needed("seq"),
];

#[test]
fn any_bytes_are_a_record_or_refused() {
    bolero::check!()
        .with_iterations(TRIES)
        .for_each(|bytes: &[u8]| {
            let Ok(document) = Document::from_reader(bytes) else {
                return;
            };
            is_sound_or_refused(&document);
        });
}

/// The bytes of a record, a few of which are others.
#[test]
fn a_record_with_flipped_bytes_is_a_record_or_refused() {
    bolero::check!()
        .with_type::<(AnyRecord, [(u16, u8); 3])>()
        .with_iterations(TRIES)
        .for_each(|(record, flips)| {
            let mut bytes = Vec::new();
            encode(&record.get())
                .unwrap()
                .to_writer(&mut bytes)
                .unwrap();
            for (at, flip) in flips {
                let at = usize::from(*at) % bytes.len();
                bytes[at] ^= flip;
            }
            if let Ok(document) = Document::from_reader(&*bytes) {
                is_sound_or_refused(&document);
            }
        });
}

/// A well-formed one reads back as it was written; any other names a field.
fn is_sound_or_refused(document: &Document) {
    match decode(document) {
        Ok(None) => assert!(document.keys().all(|field| field == "_id")),
        Ok(Some(record)) => {
            let written = encode(&record).expect("it fits, as it was read");
            assert_eq!(decode(&written).unwrap(), Some(record));
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::CorruptRecord);
            let named = error.to_string();
            let named = named.split('`').nth(1).expect("a field is named");
            let last = named.rsplit('.').next().unwrap_or_default();
            let known = RECORD.iter().chain(&HOLDER).chain(&WAITER);
            let is_known = known.into_iter().any(|field| field.name == last);
            assert!(is_known || last.parse::<usize>().is_ok(), "{error}");
        }
    }
}

#[test]
fn what_is_written_reads_back_the_same() {
    bolero::check!()
        .with_type::<AnyRecord>()
        .with_iterations(TRIES)
        .for_each(|record| {
            let record = record.get();
            let document = encode(&record).unwrap();
            assert_eq!(decode(&document).unwrap().as_ref(), Some(&record));
            assert_eq!(encode(&record).unwrap(), document);
            // What this crate does not write is the user's, and no business of the decoder.
            let mut document = document;
            document.extend([("theirs".into(), Bson::Null), ("Token".into(), "1".into())]);
            assert_eq!(decode(&document).unwrap(), Some(record));
        });
}

/// Whatever the rules write in place of a record can be written, and read again.
#[test]
fn what_the_rules_write_is_a_record() {
    bolero::check!()
        .with_type::<(Option<AnyRecord>, AnyRequest, AnyTime)>()
        .with_iterations(TRIES)
        .for_each(|(record, request, time)| {
            let record = record.as_ref().map(|record| {
                let document = encode(&record.get()).unwrap();
                decode(&document).unwrap().unwrap()
            });
            for written in for_all_three(record.as_ref(), request, &time.get()) {
                match encode(&written) {
                    Ok(document) => assert_eq!(decode(&document).unwrap(), Some(written)),
                    // At the end of a number's range nothing is written at all.
                    Err(error) => assert!(written.rev.max(written.token) > 1 << 62, "{error}"),
                }
            }
        });
}

#[derive(Clone, Copy, Debug, TypeGenerator)]
enum Place {
    Record,
    Holder(u8),
    Waiter(u8),
}

#[test]
fn one_broken_field_is_named() {
    bolero::check!()
        .with_type::<(AnyRecord, Place, u8, Damage)>()
        .with_iterations(TRIES)
        .for_each(|(record, place, which, damage)| {
            let mut document = encode(&record.get()).unwrap();
            let Some(broken) = apply(&mut document, *place, *which, *damage) else {
                return;
            };
            let (decoded, path) = (decode(&document), &broken.path);
            if broken.is_harmless(*damage) {
                assert!(decoded.is_ok(), "{path}: {decoded:?}");
                return;
            }
            let error = decoded.expect_err(path);
            assert_eq!(error.kind(), ErrorKind::CorruptRecord, "{path}");
            // An entry with half a claimant lacks the other half.
            let named = if broken.is_claim() {
                path.trim_end_matches(broken.field.name)
            } else {
                path
            };
            assert!(
                error.to_string().contains(&format!("`{named}")),
                "{path}: {error}"
            );
        });
}

/// A field that is not as it was.
struct Broken {
    field: Field,
    path: String,
    /// It stands in the rest of a minimum hold, which is nobody's.
    lingers: bool,
}

impl Broken {
    fn is_claim(&self) -> bool {
        ["owner", "id", "token"].contains(&self.field.name)
    }

    /// It is still a record, though another one.
    fn is_harmless(&self, damage: Damage) -> bool {
        let nobodys = self.lingers && self.is_claim();
        match damage {
            Damage::Missing => !self.field.required || nobodys,
            // A payload is not parsed until somebody asks for it.
            Damage::Text => ["state", "data"].contains(&self.field.name),
            Damage::Largest => self.field.kind == Kind::Count && !nobodys,
            _ => false,
        }
    }
}

fn apply(document: &mut Document, place: Place, which: u8, damage: Damage) -> Option<Broken> {
    let (fields, element): (&[Field], _) = match place {
        Place::Record => (&RECORD, None),
        Place::Holder(index) => (&HOLDER, Some(("holders", index))),
        Place::Waiter(index) => (&WAITER, Some(("queue", index))),
    };
    let field = fields[usize::from(which) % fields.len()];
    let (path, inner) = match element {
        None => (field.name.to_owned(), document),
        Some((array, index)) => {
            let elements = document.get_array_mut(array).unwrap();
            let index = usize::from(index).checked_rem(elements.len())?;
            let path = format!("{array}.{index}.{}", field.name);
            (path, elements[index].as_document_mut().unwrap())
        }
    };
    let lingers = matches!(place, Place::Holder(_)) && !inner.contains_key("owner");
    match value(damage) {
        None => drop(inner.remove(field.name)),
        Some(value) => drop(inner.insert(field.name, value)),
    }
    Some(Broken {
        field,
        path,
        lingers,
    })
}

fn value(damage: Damage) -> Option<Bson> {
    Some(match damage {
        Damage::Missing => return None,
        Damage::Null => Bson::Null,
        Damage::Flag => true.into(),
        Damage::Text => "\u{1}".into(),
        Damage::List => vec![Bson::from(1)].into(),
        Damage::Map => Document::new().into(),
        Damage::Negative => (-1_i64).into(),
        Damage::Fraction => 1.5.into(),
        Damage::NotANumber => f64::NAN.into(),
        Damage::Largest => i64::MAX.into(),
        Damage::TooLarge => 1e300.into(),
    })
}
