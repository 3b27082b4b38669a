//! Grants, refusals, and what becomes of the rest.

use super::*;
use crate::Reason;

#[tokio::test(start_paused = true)]
async fn one_of_two_gets_it_until_it_is_released() {
    for members in [3, 4, 5] {
        let scene = Scene::of(members);
        let (first, second) = (exclusive(), exclusive());
        let grant = granted(&scene.quorum, &first).await;
        let other = scene.other();
        let AcquireOutcome::Held(refusal) = other.acquire(&second).await.unwrap() else {
            panic!("two hold");
        };
        assert_eq!(refusal.reason, Reason::Busy);
        assert_eq!(refusal.occupants[0].claimant.as_ref().unwrap().id, first.id);
        assert_eq!(refusal.free_in, TTL);
        released(&scene.quorum, &first).await;
        let next = granted(&other, &next_attempt(&second)).await;
        assert!(next.token > grant.token);
    }
}

#[tokio::test(start_paused = true)]
async fn sharers_stand_beside_each_other_and_no_writer_beside_them() {
    let scene = Scene::of(3);
    let (first, second) = (request(Mode::Shared), request(Mode::Shared));
    let one = granted(&scene.quorum, &first).await;
    let two = granted(&scene.other(), &second).await;
    assert!(two.token > one.token);
    let outcome = scene.quorum.acquire(&exclusive()).await.unwrap();
    assert!(matches!(outcome, AcquireOutcome::Held(_)), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_minority_that_fails_costs_nothing() {
    let faults = [Fault::Down, Fault::Silent, Fault::Mute, Fault::Late(TTL)];
    for fault in faults {
        let scene = Scene::of(5);
        scene.only(&[1, 3], fault);
        let start = tokio::time::Instant::now();
        let request = exclusive();
        let grant = granted(&scene.quorum, &request).await;
        let renewed = renewed(&scene.quorum, &request, grant.token, 2).await;
        assert!(matches!(renewed, RenewOutcome::Renewed(_)), "{renewed:?}");
        released(&scene.quorum, &request).await;
        assert!(
            start.elapsed().is_zero(),
            "{fault:?}: {:?}",
            start.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_majority_that_fails_is_an_error_that_says_how_many_and_nothing_is_left() {
    for (fault, kind) in [
        (Fault::Down, ErrorKind::Unavailable),
        (Fault::Silent, ErrorKind::OutcomeUnknown),
    ] {
        let scene = Scene::of(5);
        scene.only(&[0, 2, 4], fault);
        let request = exclusive();
        let start = tokio::time::Instant::now();
        let error = scene.quorum.acquire(&request).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains("2 of 5 members"), "{error}");
        assert!(start.elapsed() <= request.timeout, "{:?}", start.elapsed());
        settle().await;
        assert_eq!(scene.standing(&request).await, 0);
    }
}

/// Released for good, the acquisition could never be granted there again.
#[tokio::test(start_paused = true)]
async fn an_acquisition_that_was_refused_is_granted_at_its_next_attempt() {
    let scene = Scene::of(3);
    let (mine, theirs) = (exclusive(), exclusive());
    for number in [1, 2] {
        scene.members[number]
            .inner()
            .acquire(&theirs)
            .await
            .unwrap();
    }
    let outcome = scene.quorum.acquire(&mine).await.unwrap();
    assert!(matches!(outcome, AcquireOutcome::Held(_)), "{outcome:?}");
    assert_eq!(
        scene.standing(&mine).await,
        0,
        "what was granted is given back"
    );
    for number in [1, 2] {
        let ending = ending(&theirs);
        scene.members[number]
            .inner()
            .release(&ending)
            .await
            .unwrap();
    }
    granted(&scene.quorum, &next_attempt(&mine)).await;
    settle().await;
    assert_eq!(scene.standing(&mine).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_straggler_that_grants_after_the_refusal_gives_it_back_itself() {
    let scene = Scene::of(5);
    let theirs = exclusive();
    for number in [0, 1, 2] {
        scene.members[number]
            .inner()
            .acquire(&theirs)
            .await
            .unwrap();
    }
    let late = Duration::from_millis(300);
    scene.only(&[3, 4], Fault::Late(late));
    let (mine, start) = (exclusive(), tokio::time::Instant::now());
    let outcome = scene.quorum.acquire(&mine).await.unwrap();
    assert!(matches!(outcome, AcquireOutcome::Held(_)), "{outcome:?}");
    assert!(start.elapsed().is_zero(), "it waited for the straggler");
    tokio::time::sleep(late * 3).await;
    assert_eq!(scene.standing(&mine).await, 0);
    assert_eq!(scene.members[4].requests(), 2, "an acquire and a release");
}

/// Holding a minority while it waits, it would keep others from a majority.
#[tokio::test(start_paused = true)]
async fn a_silent_member_is_not_waited_for_where_others_are_in_the_way() {
    let scene = Scene::of(3);
    scene.members[0]
        .inner()
        .acquire(&exclusive())
        .await
        .unwrap();
    scene.only(&[1], Fault::Silent);
    let (mine, start) = (exclusive(), tokio::time::Instant::now());
    let outcome = scene.quorum.acquire(&mine).await.unwrap();
    assert!(matches!(outcome, AcquireOutcome::Held(_)), "{outcome:?}");
    assert_eq!(start.elapsed(), Duration::from_millis(20));
    assert_eq!(scene.standing(&mine).await, 0);
}

/// The next attempt waits at that member for what the straggler does there: its release must not end the newer grant.
#[tokio::test(start_paused = true)]
async fn a_stragglers_release_does_not_end_what_the_next_attempt_was_granted() {
    let scene = Scene::of(3);
    let theirs = exclusive();
    for number in [0, 1] {
        scene.members[number]
            .inner()
            .acquire(&theirs)
            .await
            .unwrap();
    }
    scene.only(&[2], Fault::Late(Duration::from_millis(300)));
    let mine = exclusive();
    let outcome = scene.quorum.acquire(&mine).await.unwrap();
    assert!(matches!(outcome, AcquireOutcome::Held(_)), "{outcome:?}");
    let given = ending(&theirs);
    scene.members[0].inner().release(&given).await.unwrap();
    // Only with the straggler there is a majority.
    scene.members[1].suffer(Some(Fault::Down));
    let grant = granted(&scene.quorum, &next_attempt(&mine)).await;
    assert_eq!(grant.validity.seq, 2);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(scene.standing(&mine).await, 2);
}

/// A release that may still be under way could end it at any time.
#[tokio::test(start_paused = true)]
async fn what_may_yet_be_given_back_does_not_count() {
    let scene = Scene::of(3);
    let theirs = exclusive();
    for number in [0, 1] {
        scene.members[number]
            .inner()
            .acquire(&theirs)
            .await
            .unwrap();
    }
    scene.only(&[2], Fault::ReleasesNot);
    let mine = exclusive();
    let outcome = scene.quorum.acquire(&mine).await.unwrap();
    assert!(matches!(outcome, AcquireOutcome::Held(_)), "{outcome:?}");
    settle().await;
    assert_eq!(scene.standing(&mine).await, 1);
    scene.members[0]
        .inner()
        .release(&ending(&theirs))
        .await
        .unwrap();
    scene.only(&[], Fault::Down);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let second = next_attempt(&mine);
    let outcome = scene.quorum.acquire(&second).await.unwrap();
    assert!(matches!(outcome, AcquireOutcome::Held(_)), "{outcome:?}");
    settle().await;
    assert_eq!(scene.standing(&mine).await, 0);
    granted(&scene.quorum, &next_attempt(&second)).await;
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_came_too_late_is_given_back() {
    let scene = Scene::of(3);
    scene.only(&[0, 1], Fault::Late(TTL));
    let mut slow = exclusive();
    slow.timeout = TTL * 2;
    let error = scene.quorum.acquire(&slow).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    scene.only(&[], Fault::Down);
    tokio::time::sleep(TTL).await;
    assert_eq!(scene.standing(&slow).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_acquire_is_given_back() {
    let scene = Scene::of(3);
    scene.only(&[1, 2], Fault::Late(Duration::from_millis(300)));
    let request = exclusive();
    let dropped = tokio::time::timeout(Duration::from_millis(100), scene.quorum.acquire(&request));
    dropped.await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(scene.standing(&request).await, 0);
}

#[tokio::test(start_paused = true)]
async fn the_validity_is_the_least_of_a_majority_less_the_drift() {
    let scene = Scene::of(3);
    let Validity {
        seq,
        valid_for,
        refresh,
    } = granted(&scene.quorum, &exclusive()).await.validity;
    assert_eq!((seq, refresh), (1, false));
    assert_eq!(valid_for, Duration::from_millis(9898));
}

#[tokio::test(start_paused = true)]
async fn a_retry_of_what_stands_is_granted_again_and_a_failed_one_ends_nothing() {
    let scene = Scene::of(3);
    let request = exclusive();
    let first = granted(&scene.quorum, &request).await;
    let second = next_attempt(&request);
    let again = granted(&scene.quorum, &second).await;
    assert_eq!((again.token, again.validity.seq), (first.token, 1));
    scene.only(&[0, 1], Fault::Down);
    let error = scene
        .quorum
        .acquire(&next_attempt(&second))
        .await
        .unwrap_err();
    assert!(error.is_retryable(), "{error}");
    settle().await;
    assert_eq!(scene.standing(&request).await, 3);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_asks_about_is_forgotten() {
    let scene = Scene::of(3);
    for _ in 0..500 {
        let mut request = exclusive();
        request.key = Key::new(request.id.as_str()).unwrap();
        granted(&scene.quorum, &request).await;
        tokio::time::sleep(TTL).await;
    }
    let known = scene.quorum.acquisitions.len();
    assert!(known <= 64, "{known} are remembered");
}
