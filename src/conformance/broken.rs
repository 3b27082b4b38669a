//! What is not a well-formed place in the queue.

use super::line::Asker;
use super::scene::{LONG, Scene};
use super::{Damage, Field, Fixture, Omission, leaves_out};
use crate::{ErrorKind, Mode};

/// **What is not a well-formed record is left as it is**: each field of a waiter is needed.
pub async fn a_waiter_without_a_field_is_left_as_it_is(fixture: &dyn Fixture) {
    const CASE: &str = "a_waiter_without_a_field_is_left_as_it_is";
    in_the_way(fixture, CASE, Field::OF_WAITERS.map(Damage::Missing)).await;
}

/// **What is not a well-formed record is left as it is**: each field of a waiter has its type. One that would compare as
/// long expired is no reason to pass.
pub async fn a_waiters_field_of_a_wrong_type_is_left_as_it_is(fixture: &dyn Fixture) {
    const CASE: &str = "a_waiters_field_of_a_wrong_type_is_left_as_it_is";
    in_the_way(fixture, CASE, Field::OF_WAITERS.map(Damage::WrongType)).await;
}

/// Whoever would have to go behind it finds the record corrupt, held or free.
async fn in_the_way<const N: usize>(fixture: &dyn Fixture, case: &str, damages: [Damage; N]) {
    if leaves_out(fixture, Omission::Damage, case) {
        return;
    }
    let scene = Scene::open(fixture, "damage-queue").await;
    let damages = damages.into_iter();
    for (damage, free) in damages.flat_map(|damage| [(damage, false), (damage, true)]) {
        let scene = scene.beside("damage-queue");
        let holder = scene.exclusive(LONG);
        scene.granted(&holder).await;
        let mut waiter = Asker::fair(&scene, Mode::Exclusive);
        waiter.queues(&scene).await;
        if free {
            scene.released(&holder).await;
        }
        let field = fixture.damage(&scene.key, damage).await;
        let before = fixture.image(&scene.key).await;
        let fair = Asker::fair(&scene, Mode::Exclusive);
        for mode in [Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 2 }] {
            let mut attempts = [scene.request(mode, LONG), fair.request.clone()];
            attempts[1].mode = mode;
            for attempt in attempts {
                let outcome = scene.backend.acquire(&attempt).await;
                let Err(error) = outcome else {
                    panic!("{mode:?} must find {damage:?}: {outcome:?}");
                };
                assert_eq!(error.kind(), ErrorKind::CorruptRecord, "{error:?}");
                let names_it = error.to_string().contains(&field);
                assert!(names_it, "must name `{field}`: {error}");
            }
        }
        let after = fixture.image(&scene.key).await;
        assert_eq!(after, before, "{damage:?} must be left as it is");
    }
}
