use mongodb::bson::{Document, from_document};

use super::*;
use crate::CheckStatus::{Fail, Ok, Warn};

fn collection(kind: &str, options: Document) -> Check {
    let found =
        doc! { "name": "locks", "type": kind, "options": options, "info": { "readOnly": false } };
    super::kind(&from_document(found).unwrap())
}

#[test]
fn only_an_ordinary_collection_will_do() {
    let collation = |strength: i32| doc! { "collation": { "locale": "en", "strength": strength } };
    let with_case = doc! { "collation": { "locale": "en", "strength": 1, "caseLevel": true } };
    for (kind, options, status) in [
        ("collection", doc! {}, Ok),
        ("view", doc! { "viewOn": "other", "pipeline": [] }, Fail),
        ("timeseries", doc! {}, Fail),
        ("collection", doc! { "capped": true, "size": 4096 }, Fail),
        ("collection", collation(2), Fail),
        ("collection", collation(3), Ok),
        ("collection", with_case, Ok),
        ("collection", doc! { "validator": { "a": 1 } }, Warn),
    ] {
        let check = collection(kind, options);
        assert_eq!(check.status, status, "{check:?}");
    }
}

#[test]
fn the_index_is_the_one_that_setup_makes() {
    let model = |keys: Document, seconds: Option<i32>| -> IndexModel {
        let mut index = doc! { "key": keys, "name": "n" };
        index.extend(seconds.map(|seconds| ("expireAfterSeconds".to_owned(), seconds.into())));
        from_document(index).unwrap()
    };
    let id = || model(doc! { "_id": 1 }, None);
    let purge = |seconds| vec![id(), model(doc! { "purgeAt": 1 }, seconds)];
    for (indexes, status) in [
        (vec![id()], Warn),
        (vec![model(doc! { "purgeAt": 1, "rev": 1 }, None)], Warn),
        (purge(Some(0)), Ok),
        (purge(Some(60)), Fail),
        (purge(None), Fail),
    ] {
        let check = index(&indexes);
        assert_eq!(check.status, status, "{check:?}");
    }
}
