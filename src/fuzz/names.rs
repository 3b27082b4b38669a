//! What a caller names things by: accepted exactly if it is within its documented limits, and then kept as it is.

use std::time::{Duration, SystemTime};

use super::TRIES;
use crate::record::{Label, Payload};
use crate::{
    Error, ErrorKind, Key, LeaseId, MAX_KEY_BYTES, MAX_OWNER_BYTES, MAX_PARTIES, MAX_PAYLOAD_BYTES,
    MAX_TTL, MIN_TTL, Mode, Owner, Result, Timestamp, Ttl,
};

#[test]
fn names_are_within_their_limits_or_refused() {
    bolero::check!()
        .with_type::<(Vec<u8>, u16)>()
        .with_iterations(TRIES)
        .for_each(|(bytes, times)| {
            let piece = String::from_utf8_lossy(bytes);
            // Every other one within the limits; the borders are in `key.rs`.
            let times = usize::from(times % 300).min(4096 / piece.len().max(1));
            for text in [piece.repeat(times), piece.into_owned()] {
                let fits =
                    |max| (1..=max).contains(&text.len()) && !text.chars().any(char::is_control);
                let key = Key::new(&text);
                judged(key.as_ref().map(Key::as_str), &text, fits(MAX_KEY_BYTES));
                let owner = Owner::new(&text);
                judged(
                    owner.as_ref().map(Owner::as_str),
                    &text,
                    fits(MAX_OWNER_BYTES),
                );
                let id = LeaseId::new(&text);
                judged(
                    id.as_ref().map(LeaseId::as_str),
                    &text,
                    fits(MAX_OWNER_BYTES),
                );
                let label = Label::new(&text);
                judged(
                    label.as_ref().map(Label::as_str),
                    &text,
                    fits(MAX_OWNER_BYTES),
                );
                let json = serde_json::to_string(&text).unwrap();
                let payload = Payload::new(&text);
                let fits = json.len() <= MAX_PAYLOAD_BYTES;
                judged(payload.as_ref().map(Payload::as_json), &json, fits);
            }
        });
}

#[track_caller]
fn judged(result: Result<&str, &Error>, wanted: &str, fits: bool) {
    match result {
        Ok(text) => assert!(fits && text == wanted, "{wanted:?} was accepted"),
        Err(error) => {
            assert!(!fits, "{wanted:?}: {error}");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    }
}

/// Whatever text lies where a payload should be: it is read or refused, and the error does not show it.
#[test]
fn payloads_are_read_or_refused_unseen() {
    bolero::check!()
        .with_type::<(u8, Vec<u8>)>()
        .with_iterations(TRIES)
        .for_each(|(shape, bytes)| {
            let secret = "hunter2";
            let text = match shape % 4 {
                0 => format!("\"{secret}\""),
                1 => format!("{{\"{secret}\": \"{secret}\"}}"),
                2 => format!("[\"{secret}"),
                _ => String::from_utf8_lossy(bytes).into_owned(),
            };
            let payload = Payload::from_record(text);
            let errors = [
                payload.parse::<u8>().err(),
                payload.parse::<Vec<u8>>().err(),
                payload.parse::<(bool, String)>().err(),
                payload.parse::<Kind>().err(),
            ];
            for error in errors.into_iter().flatten() {
                assert_eq!(error.kind(), ErrorKind::CorruptRecord);
                assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
            }
        });
}

/// Whose reader names the variants that it does not know.
#[derive(Debug, serde::Deserialize)]
enum Kind {
    Known,
}

#[test]
fn numbers_are_within_their_limits_or_refused() {
    bolero::check!()
        .with_type::<(u64, u32, u32, i64, u8)>()
        .with_iterations(TRIES)
        .for_each(|(secs, nanos, ms, number, name)| {
            for duration in [
                Duration::from_millis((*ms).into()),
                Duration::new(*secs, nanos % 1_000_000_000),
            ] {
                let fits = (MIN_TTL..=MAX_TTL).contains(&duration);
                let ttl = Ttl::new(duration);
                assert_eq!(ttl.is_ok(), fits, "{duration:?}");
                assert!(ttl.is_ok_and(|ttl| ttl.as_duration() <= duration) || !fits);
            }
            let fits = (1..=86_400_000).contains(number);
            assert_eq!(Ttl::from_record("ttl", *number).is_ok(), fits);
            for limit in [*number, number % 300] {
                let name = ["exclusive", "shared", "permit", "owl"][usize::from(name % 4)];
                let fits = match name {
                    "permit" => (1..=MAX_PARTIES).contains(&usize::try_from(limit).unwrap_or(0)),
                    "owl" => false,
                    _ => limit == 0,
                };
                assert_eq!(
                    Mode::from_record(name, limit).is_ok(),
                    fits,
                    "{name} {limit}"
                );
            }
            for ms in [*number, i64::MIN, i64::MAX] {
                let time = Timestamp::from_millis(ms);
                assert_eq!(Timestamp::from(SystemTime::from(time)), time);
            }
        });
}
