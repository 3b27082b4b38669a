use serde_json::json;

use super::*;
use crate::record::MAX_PAYLOAD_BYTES;

#[test]
fn a_result_is_read_as_it_was_written() {
    let (state, error) = state::done(&7);
    assert!(error.is_none());
    assert_eq!(state.as_json(), r#"{"status":"done","result":7}"#);
    for result in [None, Some(7)] {
        let (state, _) = state::done(&result);
        let read = repeated::<Option<u8>, ()>(Some(&state)).unwrap();
        assert_eq!(read, Outcome::Repeated(result));
    }
    let (state, _) = state::done(&());
    let read = repeated::<(), ()>(Some(&state)).unwrap();
    assert_eq!(read, Outcome::Repeated(()));
    let (state, _) = state::done(&u128::MAX);
    let read = repeated::<u128, ()>(Some(&state)).unwrap();
    assert_eq!(read, Outcome::Repeated(u128::MAX));
}

#[test]
fn the_largest_result_fits_and_a_larger_one_is_remembered_without_it() {
    let frame = r#"{"status":"done","result":""}"#.len();
    let fits = "x".repeat(MAX_PAYLOAD_BYTES - frame);
    let (state, error) = state::done(&fits);
    assert!(error.is_none());
    assert_eq!(state.as_json().len(), MAX_PAYLOAD_BYTES);

    let (state, error) = state::done(&format!("{fits}x"));
    assert_eq!(error.unwrap().kind(), ErrorKind::InvalidInput);
    assert!(!state.as_json().contains('x'.to_string().repeat(3).as_str()));
    let error = repeated::<String, ()>(Some(&state)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("4097 bytes"), "{error}");
}

#[test]
fn what_does_not_serialize_is_remembered_without_it() {
    let no_json = std::collections::BTreeMap::from([((1, 2), 3)]);
    let (state, error) = state::done(&no_json);
    assert!(error.is_some());
    let error = repeated::<u8, ()>(Some(&state)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn the_text_of_an_error_is_cut_to_what_fits() {
    let short = state::failed(&"no \"money\"");
    let read: serde_json::Value = short.parse().unwrap();
    assert_eq!(read, json!({ "status": "failed", "error": "no \"money\"" }));
    for long in ["\u{1}", "🦀", "x"] {
        let state = state::failed(&long.repeat(5000));
        assert!(state.as_json().len() <= MAX_PAYLOAD_BYTES);
        let Outcome::FailedBefore(text) = repeated::<(), ()>(Some(&state)).unwrap() else {
            panic!("{state:?}");
        };
        assert_eq!(text, format!("{}…", long.repeat(600)));
    }
}

#[test]
fn whatever_else_lies_there_is_named_and_not_quoted() {
    for json in [
        "",
        "null",
        "7",
        "[]",
        "{}",
        r#"{"status":"secret"}"#,
        r#"{"status":"done"}"#,
        r#"{"status":"done","result":"secret"}"#,
        r#"{"status":"done","unkept":7}"#,
        r#"{"status":"failed"}"#,
        r#"{"status":"failed","error":["secret"]}"#,
        r#"{"result":7}"#,
    ] {
        let error =
            repeated::<Option<u8>, ()>(Some(&Payload::from_record(json.to_owned()))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CorruptRecord, "{json}");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("`state`"), "{json}: {shown}");
        assert!(!shown.contains("secret"), "{json}: {shown}");
    }
    let error = repeated::<u8, ()>(None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CorruptRecord);
}
