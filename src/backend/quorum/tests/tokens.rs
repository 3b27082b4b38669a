//! Fencing tokens: greater with every grant, whichever members can be reached.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::Timestamp;

/// Members whose last tokens are these.
async fn scene_at(tokens: &[u64]) -> Scene {
    let scene = Scene::of(tokens.len());
    for (member, token) in scene.members.iter().zip(tokens) {
        for _ in 0..*token {
            let request = exclusive();
            let inner = member.inner();
            inner.acquire(&request).await.unwrap();
            inner.release(&ending(&request)).await.unwrap();
        }
    }
    scene
}

async fn tokens(scene: &Scene) -> Vec<u64> {
    let mut tokens = Vec::new();
    for member in &scene.members {
        let record = member
            .inner()
            .inspect(&Key::new("k").unwrap())
            .await
            .unwrap();
        tokens.push(record.map_or(0, |record| record.token));
    }
    tokens
}

/// Each member's own counter does not grow over majorities that differ: the first two would say 11, the last two 7.
#[tokio::test(start_paused = true)]
async fn the_greatest_token_is_written_back_to_a_majority() {
    let scene = scene_at(&[10, 5, 1]).await;
    assert_eq!(tokens(&scene).await, [10, 5, 1]);
    scene.only(&[2], Fault::Down);
    let request = exclusive();
    let first = granted(&scene.quorum, &request).await;
    assert_eq!(first.token, 11);
    assert_eq!(tokens(&scene).await, [11, 11, 1]);
    released(&scene.quorum, &request).await;
    scene.only(&[0], Fault::Down);
    let second = granted(&scene.quorum, &exclusive()).await;
    assert_eq!(second.token, 12);
}

#[tokio::test(start_paused = true)]
async fn members_that_are_asked_for_the_same_token_need_no_second_request() {
    let scene = scene_at(&[10, 5, 1]).await;
    let sent = |member: &Arc<Faulty>| member.requests();
    let before: Vec<_> = scene.members.iter().map(sent).collect();
    let quorum = scene
        .other()
        .clock(Arc::new(Virtual::at(Timestamp::from_millis(7))));
    let grant = granted(&quorum, &exclusive()).await;
    settle().await;
    assert_eq!(grant.token, 3_007_000, "three seconds ahead");
    assert_eq!(tokens(&scene).await, [grant.token; 3]);
    let after: Vec<_> = scene.members.iter().map(sent).collect();
    let one_more: Vec<_> = before.iter().map(|sent| sent + 1).collect();
    assert_eq!(after, one_more);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_no_majority_takes_is_not_handed_out() {
    for fault in [Fault::RenewsNot, Fault::RenewsSilent] {
        let scene = scene_at(&[10, 5, 1]).await;
        scene.only(&[1, 2], fault);
        let request = exclusive();
        let error = scene.quorum.acquire(&request).await.unwrap_err();
        assert!(error.is_retryable(), "{fault:?}: {error}");
        tokio::time::sleep(TTL / 2).await;
        assert_eq!(scene.standing(&request).await, 0, "{fault:?}");
    }
}

/// A member that granted when the lease was handed out already has a token of its own.
#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_by_the_token_that_each_member_has() {
    let late = Duration::from_millis(300);
    let scene = scene_at(&[10, 5, 5]).await;
    scene.only(&[2], Fault::Late(late));
    let request = exclusive();
    let grant = granted(&scene.quorum, &request).await;
    tokio::time::sleep(late * 2).await;
    assert_eq!(tokens(&scene).await, [11, 11, 6]);
    for (seq, down) in [(2, 0), (3, 1), (4, 2)] {
        scene.only(&[down], Fault::Down);
        let outcome = renewed(&scene.quorum, &request, grant.token, seq).await;
        assert!(matches!(outcome, RenewOutcome::Renewed(_)), "{outcome:?}");
    }
}

/// Whether the member that took the token said so or not.
#[tokio::test(start_paused = true)]
async fn a_member_that_may_have_taken_the_token_is_renewed_by_both() {
    for taken in [false, true] {
        let scene = scene_at(&[10, 5, 5]).await;
        scene.only(&[2], Fault::RenewsSilent);
        let request = exclusive();
        let grant = granted(&scene.quorum, &request).await;
        assert_eq!(tokens(&scene).await, [11, 11, 6]);
        tokio::time::sleep(request.timeout * 2).await;
        if taken {
            let mut raise = RenewRequest::new(&request, 6, 1);
            raise.raise_token = Some(11);
            scene.members[2].inner().renew(&raise).await.unwrap();
        }
        scene.only(&[0], Fault::Down);
        let outcome = renewed(&scene.quorum, &request, grant.token, 2).await;
        assert!(matches!(outcome, RenewOutcome::Renewed(_)), "{outcome:?}");
        assert_eq!(tokens(&scene).await, [11, 11, 11]);
    }
}

/// What its raise was refused for does not keep it from being renewed as it is.
#[tokio::test(start_paused = true)]
async fn a_member_that_certainly_did_not_take_the_token_is_renewed_by_its_own() {
    let scene = scene_at(&[10, 5, 5]).await;
    scene.only(&[2], Fault::RenewsNot);
    let mine = request(Mode::Shared);
    let grant = granted(&scene.quorum, &mine).await;
    settle().await;
    assert_eq!(tokens(&scene).await, [11, 11, 6]);
    while tokens(&scene).await[2] < grant.token {
        let sharer = request(Mode::Shared);
        scene.members[2].inner().acquire(&sharer).await.unwrap();
    }
    scene.only(&[0], Fault::Down);
    let outcome = renewed(&scene.quorum, &mine, grant.token, 2).await;
    assert!(matches!(outcome, RenewOutcome::Renewed(_)), "{outcome:?}");
}

/// One is granted first here and the other there, and the greatest token of each is the same. Nobody gets it twice.
#[tokio::test(start_paused = true)]
async fn two_sharers_never_have_the_same_token() {
    let ms = Duration::from_millis;
    let scene = Scene::of(3);
    scene.members[2].suffer(Some(Fault::Down));
    scene.members[1].suffer(Some(Fault::Late(ms(100))));
    let one = request(Mode::Shared);
    let first = async { scene.quorum.acquire(&one).await.ok() };
    let second = async {
        tokio::time::sleep(ms(1)).await;
        scene.members[0].suffer(Some(Fault::Late(ms(50))));
        scene.members[1].suffer(None);
        let (other, two) = (scene.other(), request(Mode::Shared));
        let acquired = async { other.acquire(&two).await.ok() };
        let later = async {
            tokio::time::sleep(ms(1)).await;
            scene.members[1].suffer(Some(Fault::Late(ms(200))));
        };
        tokio::join!(acquired, later).0
    };
    let (one, two) = tokio::join!(first, second);
    let tokens = [one, two].map(|outcome| match outcome {
        Some(AcquireOutcome::Granted(grant)) => Some(grant.token),
        _ => None,
    });
    assert!(tokens[0].is_none() || tokens[0] != tokens[1], "{tokens:?}");
    assert_eq!(
        scene.members[0]
            .inner()
            .inspect(&Key::new("k").unwrap())
            .await
            .unwrap()
            .unwrap()
            .token,
        2
    );
}

/// What happens in one step.
#[derive(Clone, Debug)]
struct Step {
    mode: Mode,
    faults: Vec<Option<Fault>>,
    /// It is released, or left to expire, or goes on.
    then: u8,
}

fn step(members: usize) -> impl Strategy<Value = Step> {
    let mode = prop_oneof![3 => Just(Mode::Exclusive), 1 => Just(Mode::Shared)];
    let fault = prop_oneof![
        3 => Just(None),
        1 => Just(Some(Fault::Down)),
        1 => Just(Some(Fault::Silent)),
        1 => Just(Some(Fault::Mute)),
        1 => Just(Some(Fault::Late(Duration::from_millis(400)))),
        1 => Just(Some(Fault::Late(Duration::from_millis(1400)))),
        1 => Just(Some(Fault::RenewsNot)),
        1 => Just(Some(Fault::RenewsSilent)),
        1 => Just(Some(Fault::ReleasesNot)),
    ];
    (mode, vec(fault, members), 0_u8..3).prop_map(|(mode, faults, then)| Step {
        mode,
        faults,
        then,
    })
}

fn run() -> impl Strategy<Value = (Vec<u64>, Vec<Step>)> {
    (3_usize..=5).prop_flat_map(|members| (vec(0_u64..12, members), vec(step(members), 1..12)))
}

/// What is believed to be held, and until when.
struct Believed {
    exclusive: bool,
    until: tokio::time::Instant,
}

/// Each step acquires, whatever becomes of it. The clocks stand near zero, so that tokens are what members count.
async fn play(start: &[u64], steps: &[Step]) -> usize {
    let scene = scene_at(start).await;
    let (mut last, mut grants) = (0, 0);
    let mut believed: Vec<Believed> = Vec::new();
    for step in steps {
        for (member, fault) in scene.members.iter().zip(&step.faults) {
            member.suffer(*fault);
        }
        let request = request(step.mode);
        let sent = tokio::time::Instant::now();
        let Ok(AcquireOutcome::Granted(grant)) = scene.quorum.acquire(&request).await else {
            tokio::time::sleep(Duration::from_millis(500)).await;
            continue;
        };
        grants += 1;
        assert!(grant.token > last, "{} after {last}", grant.token);
        last = grant.token;
        let now = tokio::time::Instant::now();
        believed.retain(|other| other.until > now);
        let mine = Believed {
            exclusive: step.mode == Mode::Exclusive,
            until: sent + grant.validity.valid_for,
        };
        let beside = believed
            .iter()
            .any(|other| other.exclusive || mine.exclusive);
        assert!(!beside, "two hold");
        match step.then {
            0 => drop(scene.quorum.release(&ending(&request)).await),
            1 => tokio::time::sleep(TTL).await,
            _ => believed.push(mine),
        }
    }
    grants
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn tokens_grow_and_two_never_hold_whatever_members_do((start, steps) in run()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(play(&start, &steps));
    }
}
