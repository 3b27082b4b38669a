//! The guard, the client's task and its renewals, in every order that a scheduler comes up with.
//!
//! Sleeping is no more than giving way here: a timer may fire at any moment. What time it is says a clock that a task of
//! the test moves on.

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doclock::{ErrorKind, Lease, LockClient};
use shuttle::future::{block_on, spawn};
use tokio::task::yield_now;

use world::{World, explore};

/// Whoever sees that it is not held never sees it held again.
async fn watch(lease: Arc<Lease>) {
    let mut held = true;
    for _ in 0..30 {
        let now = lease.is_held();
        assert!(held || !now, "a lost lease came back");
        held = now;
        yield_now().await;
    }
}

#[test]
fn a_lost_lease_never_comes_back() {
    explore(|| {
        block_on(async {
            let world = World::new();
            let client = world.client();
            let lease = Arc::new(world.lock(&client).acquire().await.unwrap());
            let tasks = [
                spawn(watch(Arc::clone(&lease))),
                spawn(watch(Arc::clone(&lease))),
                spawn(world.clock.clone().pass(2, 3)),
            ];
            let lost = spawn(lease.lost());
            for _ in 0..3 {
                let _ = lease.renew().await;
            }
            for task in tasks {
                task.await.unwrap();
            }
            if lease.is_held() {
                lost.abort();
            } else {
                assert_eq!(lost.await.unwrap().kind(), ErrorKind::LeaseLost);
            }
        });
    });
}

#[test]
fn two_clients_never_believe_at_once() {
    explore(|| {
        block_on(async {
            let world = World::new();
            let one = Arc::new(world.lock(&world.client()).acquire().await.unwrap());
            let other = spawn(take_and_compare(world.clone(), Arc::clone(&one)));
            let clock = spawn(world.clock.clone().pass(16, 1));
            watch(Arc::clone(&one)).await;
            clock.await.unwrap();
            other.await.unwrap();
        });
    });
}

async fn take_and_compare(world: World, first: Arc<Lease>) {
    let client = world.client();
    for _ in 0..6 {
        if let Ok(Some(second)) = world.lock(&client).try_acquire().await {
            // Who holds when asked second has held since before the first was asked.
            let (one, other) = (first.is_held(), second.is_held());
            assert!(!(one && other), "two hold");
            assert!(second.token() > first.token());
            return;
        }
        yield_now().await;
    }
}

#[test]
fn what_is_released_is_free() {
    explore(|| {
        block_on(async {
            let world = World::new();
            let client = world.client();
            let lease = world.lock(&client).acquire().await.unwrap();
            let releasing = spawn(async move {
                let _ = lease.renew().await;
                lease.release().await
            });
            let clock = spawn(world.clock.clone().pass(1, 1));
            releasing.await.unwrap().unwrap();
            clock.await.unwrap();
            let next = world.lock(&world.client()).try_acquire().await.unwrap();
            assert!(next.is_some(), "released, and not free");
        });
    });
}

#[test]
fn an_acquisition_that_was_given_up_holds_nothing() {
    explore(|| {
        block_on(async {
            let world = World::new();
            let client = world.client();
            let asking = spawn({
                let lock = world.lock(&client);
                async move { lock.acquire().await.map(drop) }
            });
            yield_now().await;
            asking.abort();
            let _ = asking.await;
            client.shutdown().await;
            let record = world.record().await;
            let holders = record.map_or(0, |record| record.holders.len());
            assert_eq!(holders, 0, "nobody wanted it");
        });
    });
}

#[test]
fn shutting_down_ends_every_lease_and_every_wait() {
    explore(|| {
        block_on(async {
            let world = World::new();
            let client = world.client();
            let takes = |client: LockClient| {
                let lock = world.lock(&client);
                spawn(async move { lock.acquire().await })
            };
            let tasks = [takes(client.clone()), takes(client.clone())];
            client.shutdown().await;
            for task in tasks {
                match task.await.unwrap() {
                    Ok(lease) => assert!(!lease.is_held(), "it outlived its client"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Closed),
                }
            }
            let holders = world
                .record()
                .await
                .map_or(0, |record| record.holders.len());
            assert_eq!(holders, 0, "the database still shows a holder");
        });
    });
}

#[test]
fn an_owner_that_tasks_share_holds_once() {
    explore(|| {
        block_on(async {
            let world = World::new();
            let client = world.client();
            let inside = Arc::new(AtomicBool::new(false));
            let tasks: Vec<_> = (0..2)
                .map(|_| {
                    let lock = world.lock(&client).owner("worker-1").wait(Duration::MAX);
                    let inside = Arc::clone(&inside);
                    spawn(async move {
                        let lease = lock.acquire().await.unwrap();
                        assert!(!inside.swap(true, Ordering::SeqCst), "both are in");
                        yield_now().await;
                        inside.store(false, Ordering::SeqCst);
                        lease.release().await.unwrap();
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
}
