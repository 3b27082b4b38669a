//! Renewals and releases.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_lease_lives_on_while_a_majority_of_the_members_that_granted_it_renews() {
    let scene = Scene::of(5);
    let request = exclusive();
    let grant = granted(&scene.quorum, &request).await;
    settle().await;
    for (seq, down) in [(2, [0, 1]), (3, [2, 3]), (4, [4, 0])] {
        scene.only(&down, Fault::Down);
        let RenewOutcome::Renewed(validity) =
            renewed(&scene.quorum, &request, grant.token, seq).await
        else {
            panic!("lost");
        };
        assert_eq!(validity.seq, seq);
        tokio::time::sleep(TTL / 3).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_without_a_majority_is_lost_and_one_that_cannot_be_asked_is_not() {
    let scene = Scene::of(3);
    let request = exclusive();
    let grant = granted(&scene.quorum, &request).await;
    settle().await;
    let ending = ending(&request);
    scene.members[0].inner().release(&ending).await.unwrap();
    scene.only(&[1], Fault::Down);
    let renewal = RenewRequest::new(&request, grant.token, 2);
    let error = scene.quorum.renew(&renewal).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    scene.only(&[], Fault::Down);
    assert!(matches!(
        renewed(&scene.quorum, &request, grant.token, 3).await,
        RenewOutcome::Renewed(_)
    ));
    scene.members[1].inner().release(&ending).await.unwrap();
    let outcome = renewed(&scene.quorum, &request, grant.token, 4).await;
    assert_eq!(outcome, RenewOutcome::Lost);
}

#[tokio::test(start_paused = true)]
async fn another_process_renews_and_releases_by_the_token() {
    let scene = Scene::of(5);
    let request = exclusive();
    let grant = granted(&scene.quorum, &request).await;
    settle().await;
    let other = scene.other();
    assert!(matches!(
        renewed(&other, &request, grant.token, 2).await,
        RenewOutcome::Renewed(_)
    ));
    let wrong = renewed(&scene.quorum, &request, grant.token + 1, 3).await;
    assert_eq!(wrong, RenewOutcome::Lost);
    released(&other, &request).await;
    settle().await;
    assert_eq!(scene.standing(&request).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_release_ends_what_a_slow_member_grants_later() {
    let scene = Scene::of(3);
    scene.only(&[2], Fault::Late(Duration::from_millis(300)));
    let request = exclusive();
    granted(&scene.quorum, &request).await;
    released(&scene.quorum, &request).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(scene.standing(&request).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_comes_to_its_turn_after_the_release_asks_no_more() {
    let scene = Scene::of(3);
    let request = exclusive();
    let now = scene.quorum.clock.now();
    let seats = scene.quorum.acquisitions.enter(&request.id, 3, TTL, now);
    let busy = seats.each[2].lock().await;
    granted(&scene.quorum, &request).await;
    released(&scene.quorum, &request).await;
    drop(busy);
    settle().await;
    assert_eq!(scene.members[2].requests(), 1, "the release");
}

/// Whatever its tasks are at by then: what ends it is the release that the caller sent.
#[tokio::test(start_paused = true)]
async fn a_lease_that_is_released_at_once_leaves_its_minimum_hold() {
    let scene = Scene::of(3);
    let request = exclusive();
    granted(&scene.quorum, &request).await;
    let mut release = ending(&request);
    release.linger = Some(crate::Linger {
        ttl: request.ttl,
        left: TTL,
    });
    scene.quorum.release(&release).await.unwrap();
    settle().await;
    let outcome = scene.quorum.acquire(&exclusive()).await.unwrap();
    assert!(matches!(outcome, AcquireOutcome::Held(_)), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_release_says_what_most_members_say() {
    let scene = Scene::of(5);
    let request = exclusive();
    let nothing = scene.quorum.release(&ending(&request)).await.unwrap();
    assert_eq!(nothing, ReleaseOutcome::NotHeld);
    scene.only(&[3, 4], Fault::Down);
    granted(&scene.quorum, &request).await;
    // One of the three that granted it cannot be asked: two release it, and two never had it.
    scene.only(&[0], Fault::Down);
    released(&scene.quorum, &request).await;
    scene.only(&[], Fault::Down);
    granted(&scene.other(), &exclusive()).await;

    scene.only(&[0, 1, 2], Fault::Down);
    let error = scene.quorum.release(&ending(&request)).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_forced_release_ends_it_at_all_members() {
    let scene = Scene::of(3);
    let request = exclusive();
    granted(&scene.quorum, &request).await;
    settle().await;
    let ended = scene.other().force_release(&request.key).await.unwrap();
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].id(), Some(&request.id));
    assert_eq!(scene.standing(&request).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_look_shows_what_stands_on_a_majority() {
    let scene = Scene::of(5);
    let (mine, theirs) = (request(Mode::Shared), request(Mode::Shared));
    let grant = granted(&scene.quorum, &mine).await;
    settle().await;
    for number in [0, 1] {
        scene.members[number]
            .inner()
            .acquire(&theirs)
            .await
            .unwrap();
    }
    let record = scene.quorum.inspect(&mine.key).await.unwrap().unwrap();
    assert!(record.token > grant.token);
    let ids: Vec<_> = record.holders.iter().map(|holder| holder.id()).collect();
    assert_eq!(ids, [Some(&mine.id)]);
    // As far as is known, they may stand on three.
    scene.only(&[2], Fault::Down);
    let record = scene.quorum.inspect(&mine.key).await.unwrap().unwrap();
    assert_eq!(record.holders.len(), 2);
    scene.only(&[2, 3, 4], Fault::Silent);
    scene.quorum.inspect(&mine.key).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_majority_that_is_set_up_is_enough() {
    let scene = Scene::of(5);
    scene.only(&[0, 1], Fault::Down);
    scene.quorum.setup().await.unwrap();
    scene.only(&[0, 1, 2], Fault::Down);
    let error = scene.quorum.setup().await.unwrap_err();
    assert!(error.to_string().contains("2 of 5"), "{error}");
}
