use std::time::Duration;

use doclock::{ErrorKind, Lease, Lock, LockClient, MemoryBackend};
use tokio::task::JoinHandle;

use crate::faulty::{Acquire, Fault, Release};
use crate::{World, pass, secs};

/// One client per process.
fn process(world: &World) -> LockClient {
    LockClient::new(world.memory.clone())
}

/// Waits in a task of its own, and lets it get where it waits.
async fn waits<M: Send + 'static>(lock: Lock<M>) -> JoinHandle<doclock::Result<Lease<M>>> {
    let waiting = tokio::spawn(lock.acquire());
    pass(Duration::from_millis(300)).await;
    waiting
}

async fn queue(memory: &MemoryBackend) -> usize {
    let locks = LockClient::new(memory.clone());
    locks.inspect("k").await.unwrap().unwrap().queue.len()
}

#[tokio::test(start_paused = true)]
async fn fair_waiters_are_granted_in_the_order_of_arrival() {
    let world = World::new();
    let mut held = world.other().acquire().await.unwrap();
    let mut line = Vec::new();
    for _ in 0..5 {
        let lock = process(&world).lock("k").wait(secs(600)).fair();
        line.push(waits(lock).await);
    }
    for waiting in line {
        assert!(!waiting.is_finished(), "it is not its turn");
        held.release().await.unwrap();
        pass(Duration::from_millis(600)).await;
        assert!(waiting.is_finished(), "the head takes soon");
        held = waiting.await.unwrap().unwrap();
    }
    assert_eq!(queue(&world.memory).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_try_does_not_pass_the_queue_and_a_wait_joins_it() {
    let world = World::new();
    let held = world.other().acquire().await.unwrap();
    let first = waits(process(&world).lock("k").wait(secs(600)).fair()).await;
    let second = waits(world.lock().wait(secs(600))).await;
    assert_eq!(queue(&world.memory).await, 2, "it joined");
    drop(held);
    // Before the head has looked again.
    assert!(world.other().try_acquire().await.unwrap().is_none());
    let first = first.await.unwrap().unwrap();
    assert!(!second.is_finished());
    first.release().await.unwrap();
    drop(second.await.unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_gives_up_leaves_the_queue() {
    let world = World::new();
    let _held = world.other().acquire().await.unwrap();
    let error = world
        .lock()
        .fair()
        .wait(secs(10))
        .acquire()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WaitTimeout);
    pass(Duration::from_millis(1)).await;
    assert_eq!(queue(&world.memory).await, 0);

    let waiting = waits(world.lock().fair()).await;
    assert_eq!(queue(&world.memory).await, 1);
    waiting.abort();
    pass(Duration::from_millis(1)).await;
    assert_eq!(queue(&world.memory).await, 0, "it was dropped");
}

#[tokio::test(start_paused = true)]
async fn a_waiter_whose_enqueuing_answer_was_lost_leaves_as_well() {
    let world = World::new();
    let _held = world.other().acquire().await.unwrap();
    world.faults.always(Acquire, Fault::ReplyLost);
    let waiting = tokio::spawn(world.lock().fair().wait(secs(3)).acquire());
    pass(secs(1)).await;
    assert_eq!(queue(&world.memory).await, 1, "its request was applied");
    waiting.await.unwrap().unwrap_err();
    world.faults.heal();
    pass(secs(10)).await;
    assert_eq!(queue(&world.memory).await, 0);
    assert_eq!(world.faults.sent(Release), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_waiter_is_passed() {
    let world = World::new();
    let held = world.other().acquire().await.unwrap();
    world.faults.once(Acquire, Fault::ReplyLost);
    // It joins the queue, and never comes back.
    world.faults.always(Acquire, Fault::Hang);
    world.faults.always(Release, Fault::Hang);
    let dead = waits(world.lock().fair().wait(secs(600))).await;
    let next = waits(process(&world).lock("k").fair().wait(secs(600))).await;
    assert_eq!(queue(&world.memory).await, 2);
    held.release().await.unwrap();
    // One claim: two seconds, as the in-memory server's time is exact.
    pass(Duration::from_millis(2300)).await;
    assert!(next.is_finished(), "the dead head is passed");
    drop(next.await.unwrap().unwrap());
    dead.abort();
}

#[tokio::test(start_paused = true)]
async fn a_writer_is_not_starved_by_a_stream_of_readers() {
    let world = World::new();
    let hold = Duration::from_millis(200);
    let readers = tokio::spawn({
        let locks = world.theirs.clone();
        async move {
            loop {
                let lock = locks.shared("k").wait(secs(60));
                tokio::spawn(async move {
                    let lease = lock.acquire().await.unwrap();
                    pass(hold).await;
                    lease.release().await.unwrap();
                });
                pass(Duration::from_millis(10)).await;
            }
        }
    });
    pass(secs(1)).await;
    let start = tokio::time::Instant::now();
    let _writer = world.lock().wait(secs(60)).acquire().await.unwrap();
    assert!(start.elapsed() <= 3 * hold, "{:?}", start.elapsed());
    readers.abort();
}

#[tokio::test(start_paused = true)]
async fn permits_and_readers_do_not_starve_each_other() {
    let world = World::new();
    let reader = world.theirs.shared("k").acquire().await.unwrap();
    let permit = waits(world.ours.semaphore("k", 3).wait(secs(60))).await;
    // It queues, so that later readers stand behind it.
    let later = waits(process(&world).shared("k").wait(secs(60))).await;
    assert!(!later.is_finished());
    reader.release().await.unwrap();
    let permit = permit.await.unwrap().unwrap();
    assert!(!later.is_finished());
    permit.release().await.unwrap();
    drop(later.await.unwrap().unwrap());
}

/// Two live processes with one owner: the older one is told, and does not throw the newer one out again.
#[tokio::test(start_paused = true)]
async fn a_waiter_whose_place_its_owner_took_is_told() {
    let world = World::new();
    let held = world.other().acquire().await.unwrap();
    let older = waits(world.lock().owner("o").fair().wait(secs(600))).await;
    let newer = waits(process(&world).lock("k").owner("o").fair().wait(secs(600))).await;
    assert_eq!(queue(&world.memory).await, 1, "one waiter per owner");
    let error = older.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    assert!(error.to_string().contains("same owner"), "{error}");
    held.release().await.unwrap();
    drop(newer.await.unwrap().unwrap());
}
