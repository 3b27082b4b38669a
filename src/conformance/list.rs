//! Listing.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use super::scene::{LONG, Scene, fresh_key, persist, succeeded, valid};
use super::{Fixture, Omission, leaves_out};
use crate::{AcquireOutcome, ErrorKind, Key, Label, LockRecord};

/// More than any test database has pages.
const PAGES: usize = 100_000;

/// More keys than a page has, and keys of others that are alike to a prefix, a pattern or a range.
pub async fn a_list_has_exactly_the_keys_with_the_prefix(fixture: &dyn Fixture) {
    const CASE: &str = "a_list_has_exactly_the_keys_with_the_prefix";
    let Some(scene) = can_list(fixture, CASE).await else {
        return;
    };
    let base = fresh_key("list");
    let prefix = format!("{base}:a.*b%_");
    let wanted: BTreeSet<Key> = (0..120)
        .map(|n| valid(Key::new(format!("{prefix}{n}"))))
        .collect();
    let alike = [
        "a",
        "a.*b%",
        "a.*b%-",
        "axxb%_1",
        "A.*b%_1",
        "b",
        "\u{10ffff}",
    ];
    let mut alike = alike.map(|ending| format!("{base}:{ending}")).to_vec();
    alike.push(format!("conformance:x:{prefix}1"));
    let alike = alike.into_iter().map(Key::new).map(valid);
    let keys: Vec<Key> = wanted.iter().cloned().chain(alike).collect();
    for some in keys.chunks(16) {
        join_all(some.iter().map(|key| lock(&scene, key))).await;
    }
    let listed = list(&scene, &prefix).await;
    let found: BTreeSet<Key> = listed.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(found.len(), listed.len(), "a key is listed twice");
    let all = wanted == found;
    assert!(
        all,
        "missing: {:?}, too many: {:?}",
        wanted.difference(&found),
        found.difference(&wanted)
    );
    assert!(list(&scene, &format!("{prefix}x")).await.is_empty());
}

async fn lock(scene: &Scene<'_>, key: &Key) {
    let request = scene.on(key.clone()).exclusive(LONG);
    match persist(&scene.backend, &request).await {
        AcquireOutcome::Granted(_) => {}
        other => panic!("must be granted: {other:?}"),
    }
}

/// The empty prefix is every key's.
pub async fn a_list_without_a_prefix_has_every_key(fixture: &dyn Fixture) {
    const CASE: &str = "a_list_without_a_prefix_has_every_key";
    let Some(scene) = can_list(fixture, CASE).await else {
        return;
    };
    lock(&scene, &scene.key).await;
    let listed = list(&scene, "").await;
    assert!(
        listed.iter().any(|(key, _)| *key == scene.key),
        "{}",
        scene.key
    );
}

/// A listed record is the same that [`inspect`](crate::Backend::inspect) shows, held or free.
pub async fn a_list_shows_the_records_as_they_are(fixture: &dyn Fixture) {
    const CASE: &str = "a_list_shows_the_records_as_they_are";
    let Some(scene) = can_list(fixture, CASE).await else {
        return;
    };
    let mut request = scene.shared(LONG);
    request.label = Some(valid(Label::new("🔒 $$ROOT")));
    scene.granted(&request).await;
    scene.granted(&scene.shared(LONG)).await;
    let held = (scene.key.clone(), scene.record().await);
    assert_eq!(list(&scene, scene.key.as_str()).await, [held]);
    scene.released(&request).await;
    let free = (scene.key.clone(), scene.record().await);
    assert_eq!(list(&scene, scene.key.as_str()).await, [free]);
}

/// `None`: the fixture leaves lists out, and rightly so.
pub(super) async fn can_list<'a>(fixture: &'a dyn Fixture, case: &str) -> Option<Scene<'a>> {
    let scene = Scene::open(fixture, "list").await;
    if !leaves_out(fixture, Omission::List, case) {
        return Some(scene);
    }
    let error = scene.backend.list("conformance:", None).await.err();
    assert_eq!(
        error.map(|error| error.kind()),
        Some(ErrorKind::Unsupported),
        "a backend whose fixture is without lists must say that they are unsupported"
    );
    None
}

/// All pages.
pub(super) async fn list(scene: &Scene<'_>, prefix: &str) -> Vec<(Key, LockRecord)> {
    let mut found = Vec::new();
    let mut page: Option<String> = None;
    for _ in 0..PAGES {
        let listed = scene.backend.list(prefix, page.as_deref()).await;
        let listed = succeeded("list", listed);
        found.extend(listed.records);
        if listed.next.is_none() {
            return found;
        }
        assert_ne!(listed.next, page, "a page must not lead to itself");
        page = listed.next;
    }
    panic!("{prefix}: the list does not end");
}
