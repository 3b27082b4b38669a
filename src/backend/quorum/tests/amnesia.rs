//! Members that come back without their data: what that may cost, and what not.

use super::*;

/// A lease that stands on all five is safe from two that forget it.
#[tokio::test(start_paused = true)]
async fn two_of_five_that_forget_let_nobody_in_and_leave_the_lease() {
    let scene = Scene::of(5);
    let request = exclusive();
    let grant = granted(&scene.quorum, &request).await;
    settle().await;
    assert_eq!(scene.standing(&request).await, 5);
    for number in [0, 1] {
        scene.members[number].forget();
    }
    let outcome = scene.other().acquire(&exclusive()).await.unwrap();
    assert!(matches!(outcome, AcquireOutcome::Held(_)), "{outcome:?}");
    assert!(matches!(
        renewed(&scene.quorum, &request, grant.token, 2).await,
        RenewOutcome::Renewed(_)
    ));
    released(&scene.quorum, &request).await;
    let next = granted(&scene.other(), &exclusive()).await;
    assert!(next.token > grant.token);
}

/// What is not promised: with three, a second one gets in, and its token need not be greater.
#[tokio::test(start_paused = true)]
async fn three_of_five_that_forget_let_a_second_one_in() {
    let scene = Scene::of(5);
    let request = exclusive();
    granted(&scene.quorum, &request).await;
    settle().await;
    for number in [0, 1, 2] {
        scene.members[number].forget();
    }
    granted(&scene.other(), &exclusive()).await;
}

/// What is not promised either: a lease that only three granted, because two were away, is safe from none.
#[tokio::test(start_paused = true)]
async fn one_that_forgets_is_enough_where_two_never_knew() {
    let scene = Scene::of(5);
    scene.only(&[3, 4], Fault::Down);
    granted(&scene.quorum, &exclusive()).await;
    scene.only(&[], Fault::Down);
    scene.members[0].forget();
    granted(&scene.other(), &exclusive()).await;
}
