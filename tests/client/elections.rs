use std::cell::Cell;
use std::time::Duration;

use doclock::{ErrorKind, LockClient};

use crate::faulty::{Acquire, Fault, Renew};
use crate::{LOST_AFTER, TTL, World, pass, secs};

#[tokio::test(start_paused = true)]
async fn one_leads_and_the_next_term_is_greater() {
    let world = World::new();
    let ours = world.ours.election("k").ttl(TTL).data(&"ours");
    let theirs = world.theirs.election("k").ttl(TTL).data(&"theirs");
    let first = ours.campaign().await.unwrap();
    assert!(first.is_leader());
    assert!(theirs.try_campaign().await.unwrap().is_none());
    let leader = theirs.leader().await.unwrap().unwrap();
    assert_eq!(
        (leader.term, &leader.owner),
        (first.term(), first.lease().owner())
    );
    assert_eq!(leader.data::<String>().unwrap().unwrap(), "ours");
    assert!(leader.data::<u8>().is_err());

    let candidate = tokio::spawn(async move { theirs.campaign().await });
    pass(secs(3600)).await;
    assert!(!candidate.is_finished(), "it campaigns for ever");
    let term = first.term();
    first.resign().await.unwrap();
    let second = candidate.await.unwrap().unwrap();
    assert!(second.term() > term);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_steps_down_before_the_next_is_elected() {
    let world = World::new();
    let first = world.ours.election("k").ttl(TTL).campaign().await.unwrap();
    let start = tokio::time::Instant::now();
    world.faults.always(Renew, Fault::Hang);
    let theirs = world.theirs.election("k").ttl(TTL);
    let candidate = tokio::spawn(async move { theirs.campaign().await });
    let why = first.lost().await;
    assert_eq!(why.kind(), ErrorKind::LeaseLost);
    assert!(start.elapsed() <= LOST_AFTER + Duration::from_millis(20));
    assert!(!first.is_leader());
    assert!(!candidate.is_finished(), "nobody leads for the margin");
    drop(candidate.await.unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn work_as_the_leader_goes_on_after_a_loss() {
    let world = World::new();
    let election = world.ours.election("k").ttl(TTL);
    let terms = Cell::new(Vec::new());
    let ended = election
        .run_as_leader(async |leadership| {
            let mut seen = terms.take();
            seen.push(leadership.term());
            let times = seen.len();
            terms.set(seen);
            if times == 3 {
                return "done";
            }
            world.theirs.force_release("k").await.unwrap();
            std::future::pending().await
        })
        .await;
    assert_eq!(ended.unwrap(), "done");
    let terms = terms.take();
    assert!(terms.is_sorted() && terms.len() == 3, "{terms:?}");
    assert!(
        world
            .theirs
            .election("k")
            .try_campaign()
            .await
            .unwrap()
            .is_some(),
        "it resigned"
    );
}

#[tokio::test(start_paused = true)]
async fn work_as_the_leader_survives_an_outage_and_not_a_refusal() {
    let world = World::new();
    world
        .faults
        .once(Acquire, Fault::Refused(ErrorKind::Unavailable));
    let election = world.ours.election("k");
    election.run_as_leader(async |_| ()).await.unwrap();
    world
        .faults
        .once(Acquire, Fault::Refused(ErrorKind::PermissionDenied));
    let error = election.run_as_leader(async |_| ()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    world.ours.shutdown().await;
    let error = election.run_as_leader(async |_| ()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_observer_sees_each_leader_come_and_go() {
    let world = World::new();
    let observer = LockClient::new(world.memory.clone()).election("k");
    let mut watch = observer.watch().unwrap();
    assert_eq!(watch.changed().await.unwrap(), None);
    let election = world.ours.election("k").ttl(TTL);
    let first = election.campaign().await.unwrap();
    let seen = watch.changed().await.unwrap().unwrap();
    assert_eq!(seen.term, first.term());
    first.resign().await.unwrap();
    assert_eq!(watch.changed().await.unwrap(), None);

    // It leads for long, and is seen once; then it dies without a word.
    let second = election.campaign().await.unwrap();
    assert!(watch.changed().await.unwrap().is_some());
    let quiet = tokio::time::timeout(secs(600), watch.changed()).await;
    assert!(quiet.is_err(), "its renewals are no news");
    world.faults.always(Renew, Fault::Hang);
    let start = tokio::time::Instant::now();
    assert_eq!(watch.changed().await.unwrap(), None);
    assert!(start.elapsed() > second.lease().remaining());
    assert!(
        start.elapsed() <= TTL * 5 / 4 + secs(3),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn bad_input_is_refused_before_any_request() {
    let world = World::new();
    let long = world.ours.election("k").data(&"x".repeat(5000));
    let error = long.campaign().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("at most 4096"), "{error}");
    assert_eq!(
        world.ours.election("").watch().unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(world.faults.requests(), 0);
}
