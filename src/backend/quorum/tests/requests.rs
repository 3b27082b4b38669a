//! What each operation costs: the table in the docs of [`QuorumBackend`].

use super::*;

/// How many requests each member got.
pub(super) fn sent(scene: &Scene) -> Vec<usize> {
    let members = scene.members.iter();
    members.map(|member| member.requests()).collect()
}

/// How many requests each member got meanwhile, from stragglers too.
async fn cost(scene: &Scene, done: impl Future) -> Vec<usize> {
    let before = sent(scene);
    done.await;
    settle().await;
    let after = sent(scene).into_iter().zip(before);
    after.map(|(after, before)| after - before).collect()
}

/// Has this member's token be one greater than the others'.
async fn ahead(scene: &Scene, member: usize) {
    let request = exclusive();
    let inner = scene.members[member].inner();
    inner.acquire(&request).await.unwrap();
    inner.release(&ending(&request)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn free_one_each_and_one_more_where_the_token_is_behind() {
    let scene = Scene::of(3);
    let request = exclusive();
    let first = cost(&scene, granted(&scene.quorum, &request)).await;
    assert_eq!(first, [1, 1, 1]);
    let release = cost(&scene, released(&scene.quorum, &request)).await;
    assert_eq!(release, [1, 1, 1]);

    ahead(&scene, 0).await;
    let behind = cost(&scene, granted(&scene.quorum, &exclusive())).await;
    assert_eq!(behind, [1, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn held_one_each_and_one_more_where_it_was_granted() {
    let scene = Scene::of(3);
    for member in &scene.members[1..] {
        member.inner().acquire(&exclusive()).await.unwrap();
    }
    let held = cost(&scene, scene.quorum.acquire(&exclusive())).await;
    assert_eq!(held, [2, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn kept_one_for_each_that_granted_and_ended_one_each() {
    let scene = Scene::of(3);
    scene.only(&[2], Fault::Down);
    let request = exclusive();
    let grant = granted(&scene.quorum, &request).await;
    settle().await;
    scene.only(&[], Fault::Down);
    let renewal = cost(&scene, renewed(&scene.quorum, &request, grant.token, 2)).await;
    assert_eq!(renewal, [1, 1, 0]);
    let release = cost(&scene, released(&scene.quorum, &request)).await;
    assert_eq!(release, [1, 1, 1]);
}
