//! What is not a well-formed record.

use super::list::{can_list, list};
use super::scene::{LONG, Scene, again, ending, renewal, retry};
use super::{Damage, Field, Fixture, Omission, leaves_out};
use crate::{AcquireRequest, Backend, ErrorKind, Grant, Mode, Result};

/// **What is not a well-formed record is left as it is**: a document or item of another program.
pub async fn what_is_no_record_is_left_as_it_is(fixture: &dyn Fixture) {
    const CASE: &str = "what_is_no_record_is_left_as_it_is";
    free_and_held(fixture, CASE, [Damage::Foreign]).await;
}

/// **What is not a well-formed record is left as it is**: one of a later version of this crate.
pub async fn a_later_format_is_left_as_it_is(fixture: &dyn Fixture) {
    const CASE: &str = "a_later_format_is_left_as_it_is";
    free_and_held(fixture, CASE, [Damage::Future]).await;
}

/// **What is not a well-formed record is left as it is**: each field is needed.
pub async fn a_record_without_a_field_is_left_as_it_is(fixture: &dyn Fixture) {
    const CASE: &str = "a_record_without_a_field_is_left_as_it_is";
    free_and_held(fixture, CASE, Field::OF_RECORDS.map(Damage::Missing)).await;
}

/// **What is not a well-formed record is left as it is**: each field has its type.
pub async fn a_field_of_a_wrong_type_is_left_as_it_is(fixture: &dyn Fixture) {
    const CASE: &str = "a_field_of_a_wrong_type_is_left_as_it_is";
    free_and_held(fixture, CASE, Field::OF_RECORDS.map(Damage::WrongType)).await;
}

/// **What is not a well-formed record is left as it is**: each field of a holder is needed, by the one that it is
/// about, too.
pub async fn a_holder_without_a_field_is_left_as_it_is(fixture: &dyn Fixture) {
    const CASE: &str = "a_holder_without_a_field_is_left_as_it_is";
    held(fixture, CASE, Field::OF_HOLDERS.map(Damage::Missing)).await;
}

/// **What is not a well-formed record is left as it is**: each field of a holder has its type. One that would
/// compare as long expired is no reason to evict.
pub async fn a_holders_field_of_a_wrong_type_is_left_as_it_is(fixture: &dyn Fixture) {
    const CASE: &str = "a_holders_field_of_a_wrong_type_is_left_as_it_is";
    held(fixture, CASE, Field::OF_HOLDERS.map(Damage::WrongType)).await;
}

/// Records that are not well-formed are left out of a list, and do not end it.
pub async fn a_damaged_record_is_not_listed(fixture: &dyn Fixture) {
    const CASE: &str = "a_damaged_record_is_not_listed";
    let Some(scene) = can_list(fixture, CASE).await else {
        return;
    };
    if leaves_out(fixture, Omission::Damage, CASE) {
        return;
    }
    let damages = [
        Damage::Foreign,
        Damage::Future,
        Damage::Missing(Field::Holders),
        Damage::WrongType(Field::HolderExpiresAt),
    ];
    let prefix = &scene.key;
    for (place, damage) in damages.into_iter().enumerate() {
        let on = |suffix: &str| {
            let key = crate::Key::new(format!("{prefix}:{place}:{suffix}"));
            scene.on(super::scene::valid(key))
        };
        let (good, bad) = (on("good"), on("bad"));
        good.granted(&good.exclusive(LONG)).await;
        bad.granted(&bad.exclusive(LONG)).await;
        fixture.damage(&bad.key, damage).await;
    }
    let listed = list(&scene, prefix.as_str()).await;
    assert_eq!(listed.len(), damages.len());
    for (key, _) in listed {
        assert!(key.as_str().ends_with(":good"), "{key} is listed");
    }
}

async fn free_and_held<const N: usize>(fixture: &dyn Fixture, case: &str, damages: [Damage; N]) {
    if leaves_out(fixture, Omission::Damage, case) {
        return;
    }
    let scene = Scene::open(fixture, "damage").await;
    for damage in damages {
        for mode in [Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 2 }] {
            let scene = scene.beside("damage");
            let request = scene.request(mode, LONG);
            let grant = scene.granted(&request).await;
            scene.released(&request).await;
            refused(&scene, damage, &request, &grant).await;
        }
    }
    held(fixture, case, damages).await;
}

async fn held<const N: usize>(fixture: &dyn Fixture, case: &str, damages: [Damage; N]) {
    if leaves_out(fixture, Omission::Damage, case) {
        return;
    }
    let scene = Scene::open(fixture, "damage").await;
    for damage in damages {
        let scene = scene.beside("damage");
        let request = scene.exclusive(LONG);
        let grant = scene.granted(&request).await;
        refused(&scene, damage, &request, &grant).await;
    }
}

/// Every operation fails, names the field, and leaves what is there exactly as it is.
async fn refused(scene: &Scene<'_>, damage: Damage, request: &AcquireRequest, grant: &Grant) {
    let field = scene.fixture.damage(&scene.key, damage).await;
    let before = scene.fixture.image(&scene.key).await;
    let attempts = attempts(&*scene.backend, request, grant).await;
    for (attempt, result) in attempts {
        let Err(error) = result else {
            panic!(
                "{attempt} must find the record of `{}` corrupt: {damage:?}",
                scene.key
            );
        };
        let kind = error.kind();
        assert_eq!(
            kind,
            ErrorKind::CorruptRecord,
            "{attempt} on {damage:?}: {error:?}"
        );
        let names_it = error.to_string().contains(&field);
        assert!(names_it, "{attempt} must name `{field}`: {error}");
    }
    let after = scene.fixture.image(&scene.key).await;
    assert_eq!(after, before, "{damage:?} must be left as it is");
}

async fn attempts(
    backend: &dyn Backend,
    request: &AcquireRequest,
    grant: &Grant,
) -> Vec<(&'static str, Result<()>)> {
    let mut waiting = again(request);
    waiting.owner = crate::Owner::random();
    let mut stranger = waiting.clone();
    stranger.waiting = false;
    waiting.waiting = true;
    let renewal = renewal(request, grant, 9);
    let mut many = backend.renew_many(std::slice::from_ref(&renewal)).await;
    let many = many.pop().map_or(Ok(()), |outcome| outcome.map(|_| ()));
    vec![
        (
            "a stranger's acquire",
            backend.acquire(&stranger).await.map(|_| ()),
        ),
        (
            "a waiter's acquire",
            backend.acquire(&waiting).await.map(|_| ()),
        ),
        (
            "a retry",
            backend.acquire(&retry(request, 8)).await.map(|_| ()),
        ),
        (
            "a take-over",
            backend.acquire(&again(request)).await.map(|_| ()),
        ),
        ("a renewal", backend.renew(&renewal).await.map(|_| ())),
        ("many renewals", many),
        (
            "a release",
            backend.release(&ending(request)).await.map(|_| ()),
        ),
        ("inspect", backend.inspect(&request.key).await.map(|_| ())),
        (
            "force_release",
            backend.force_release(&request.key).await.map(|_| ()),
        ),
    ]
}
