//! Tasks of one client that want the same lock: one asks, and it is handed from one to the next.

use std::time::Duration;

use doclock::{ErrorKind, Lease, Lock};
use tokio::task::JoinHandle;

use crate::faulty::{Acquire, Fault, Release};
use crate::{LOST_AFTER, TTL, World, pass, secs};

const MOMENT: Duration = Duration::from_millis(1);
/// How many may be served in a row before others are: the first, and those that it is handed on to.
const ROW: usize = 17;

type Waiting = JoinHandle<doclock::Result<Lease>>;

/// It waits, and has its place in the line.
async fn waits(lock: Lock) -> Waiting {
    let waiting = tokio::spawn(lock.wait(secs(600)).acquire());
    pass(MOMENT).await;
    waiting
}

async fn got(waiting: Waiting) -> Lease {
    waiting.await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_handed_on_in_one_request() {
    let world = World::new();
    let mut lease = world.lock().acquire().await.unwrap();
    let mut line = Vec::new();
    for _ in 0..5 {
        line.push(waits(world.lock()).await);
    }
    assert_eq!(world.faults.requests(), 1, "nobody else asks");
    for (served, waiting) in line.into_iter().enumerate() {
        let (token, owner, id) = (lease.token(), lease.owner().clone(), lease.id().clone());
        lease.release().await.unwrap();
        let next = got(waiting).await;
        assert_eq!(world.faults.requests(), served + 2);
        assert!(next.token() > token);
        assert_eq!((next.owner() == &owner, next.id() == &id), (true, false));
        assert!(world.other().try_acquire().await.unwrap().is_none());
        lease = next;
    }
    pass(3 * TTL).await;
    assert!(lease.is_held(), "it is renewed as any other");
    lease.release().await.unwrap();
    assert_eq!(world.faults.sent(Release), 1);
    assert!(world.other().try_acquire().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_dropped_is_handed_on_as_well() {
    let world = World::new();
    let lease = world.lock().try_acquire().await.unwrap().unwrap();
    let waiting = waits(world.lock()).await;
    drop(lease);
    assert!(got(waiting).await.is_held());
    assert_eq!(world.faults.requests(), 2);
}

/// Whether the request or its answer is lost, the one lease has ended and the other one is granted.
#[tokio::test(start_paused = true)]
async fn a_hand_over_without_an_answer_is_none_to_rely_on() {
    let refused = Fault::Refused(ErrorKind::Unavailable);
    for fault in [Fault::RequestLost, Fault::ReplyLost, refused] {
        let world = World::new();
        let lease = world.lock().acquire().await.unwrap();
        let (token, owner) = (lease.token(), lease.owner().clone());
        let [second, third] = [waits(world.lock()).await, waits(world.lock()).await];
        world.faults.once(Acquire, fault);
        lease.release().await.unwrap();
        let second = got(second).await;
        assert!(second.token() > token, "{fault:?}");
        second.release().await.unwrap();
        let third = got(third).await;
        // What may still be on its way in the owner's name would take over what is held in it.
        assert_eq!(third.owner() == &owner, fault == refused, "{fault:?}");
        pass(3 * TTL).await;
        assert!(third.is_held(), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_ended_by_force_hands_nothing_on() {
    for taken in [false, true] {
        let world = World::new();
        let lease = world.lock().acquire().await.unwrap();
        let waiting = waits(world.lock()).await;
        world.theirs.force_release("k").await.unwrap();
        let thief = if taken {
            world.other().try_acquire().await.unwrap()
        } else {
            None
        };
        // It is over, by whomever.
        lease.release().await.unwrap();
        assert_eq!(world.faults.sent(Release), 1);
        if let Some(thief) = thief {
            pass(secs(5)).await;
            assert!(!waiting.is_finished());
            thief.release().await.unwrap();
        }
        assert!(got(waiting).await.is_held());
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_asks_once_a_lease_is_lost() {
    let world = World::new();
    let lease = world.lock().manual_renewal().acquire().await.unwrap();
    let waiting = waits(world.lock()).await;
    pass(LOST_AFTER).await;
    assert!(!lease.is_held());
    assert!(got(waiting).await.is_held());
}

#[tokio::test(start_paused = true)]
async fn others_get_their_turn_after_a_row() {
    let world = World::new();
    let mut lease = world.lock().acquire().await.unwrap();
    let theirs = waits(world.other().fair()).await;
    let mut ours = Vec::new();
    for _ in 0..3 * ROW {
        ours.push(waits(world.lock()).await);
    }
    for (served, waiting) in ours.into_iter().enumerate() {
        lease.release().await.unwrap();
        if served + 1 == ROW {
            break;
        }
        lease = got(waiting).await;
        assert!(!theirs.is_finished(), "after {served}");
    }
    pass(secs(1)).await;
    let theirs = got(theirs).await;
    theirs.release().await.unwrap();
}

/// Its mode, minimum hold, owner or a shorter ttl are its own.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_handed_on_is_released() {
    for (from, to) in [
        (
            world_lock as fn(&World) -> Lock,
            shorter as fn(&World) -> Lock,
        ),
        (world_lock, owned),
        (owned, world_lock),
        (lingering, world_lock),
    ] {
        let world = World::new();
        let lease = from(&world).acquire().await.unwrap();
        let owner = lease.owner().clone();
        let waiting = waits(to(&world)).await;
        lease.release().await.unwrap();
        let next = got(waiting).await;
        assert_ne!(next.owner(), &owner);
        assert_eq!(world.faults.sent(Release), 1);
    }
}

fn world_lock(world: &World) -> Lock {
    world.lock()
}

fn shorter(world: &World) -> Lock {
    world.lock().ttl(TTL / 2)
}

fn owned(world: &World) -> Lock {
    world.lock().owner("o")
}

fn lingering(world: &World) -> Lock {
    world.lock().min_hold(secs(2))
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_in_the_line_costs_nothing() {
    let world = World::new();
    let lease = world.lock().label("nightly").acquire().await.unwrap();
    let late = world.lock().wait(secs(3)).acquire();
    let error = late.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WaitTimeout);
    let who = format!("by `{}` (nightly), which expires in", lease.owner());
    assert!(error.to_string().contains(&who), "{error}");
    let gone = waits(world.lock()).await;
    let waiting = waits(world.lock()).await;
    gone.abort();
    assert_eq!(world.faults.requests(), 1);
    lease.release().await.unwrap();
    assert!(got(waiting).await.is_held());
    assert_eq!(world.faults.requests(), 2);
}

/// It is granted all the same, and given back then.
#[tokio::test(start_paused = true)]
async fn who_gives_up_while_it_is_handed_the_lock_gives_it_back() {
    let world = World::new();
    let lease = world.lock().acquire().await.unwrap();
    let gone = waits(world.lock()).await;
    let waiting = waits(world.lock()).await;
    world.faults.once(Acquire, Fault::LateReply(secs(1)));
    let released = tokio::spawn(lease.release());
    pass(MOMENT).await;
    gone.abort();
    released.await.unwrap().unwrap();
    assert!(got(waiting).await.is_held());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_tells_those_in_the_line() {
    let world = World::new();
    let lease = world.lock().acquire().await.unwrap();
    let waiting = waits(world.lock()).await;
    world.ours.shutdown().await;
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(!lease.is_held());
    assert!(world.other().try_acquire().await.unwrap().is_some());
}
