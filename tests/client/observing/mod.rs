//! What a client tells of its locks: to its hook, to `tracing`, and as metrics.

mod capture;
mod hook;
mod logs;
#[cfg(feature = "metrics")]
mod metrics;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use doclock::{ErrorKind, Event, EventKind, LockClient, LockClientBuilder};

use crate::faulty::{Acquire, Fault, Release, Renew};
use crate::{LOST_AFTER, TTL, World, pass, secs};

/// What a hook was told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Event>>>);

impl Told {
    /// The events so far, in a few words each.
    fn take(&self) -> Vec<String> {
        let events = std::mem::take(&mut *self.0.lock().unwrap());
        events.iter().map(words).collect()
    }

    fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }
}

fn words(event: &Event) -> String {
    let mode = event.mode.name();
    match &event.kind {
        EventKind::Acquired { .. } => format!("{mode} acquired"),
        EventKind::NotAcquired { why, .. } => format!("{mode} not acquired: {why:?}"),
        EventKind::RenewalFailed { error, .. } => format!("{mode} renewal failed: {error:?}"),
        EventKind::Lost { why, .. } => format!("{mode} lost: {why:?}"),
        EventKind::Released { .. } => format!("{mode} released"),
        EventKind::ReleaseFailed { error, .. } => format!("{mode} release failed: {error:?}"),
        _ => "unknown".to_owned(),
    }
}

/// A world whose clients are set up by the test. Its own one has a hook.
fn world(set: impl Fn(LockClientBuilder) -> LockClientBuilder) -> (World, Told) {
    let (mut world, told) = (World::new(), Told::default());
    world.theirs = set(LockClient::builder(world.memory.clone())).build();
    let hook = told.clone();
    let builder = LockClient::builder(world.faults.clone());
    let builder = builder.on_event(move |event| hook.0.lock().unwrap().push(event.clone()));
    world.ours = set(builder).build();
    (world, told)
}

/// Everything that can be told of, once at least, of a key and an owner that nothing else is like.
async fn everything(world: &World) {
    let lock = || world.ours.lock("secret-key").ttl(TTL).owner("secret-owner");
    let others = || {
        world
            .theirs
            .lock("secret-key")
            .ttl(TTL)
            .owner("secret-other")
    };
    lock().acquire().await.unwrap().release().await.unwrap();

    // Others: one that is alive, one that crashed.
    let other = others().acquire().await.unwrap();
    assert!(lock().try_acquire().await.unwrap().is_none());
    lock().wait(secs(1)).acquire().await.unwrap_err();
    let _ = tokio::time::timeout(secs(1), lock().acquire()).await;
    other.release().await.unwrap();
    let crashed = others().manual_renewal().acquire().await.unwrap();
    let lease = lock().wait(TTL * 2).acquire().await.unwrap();

    let gone = Fault::Refused(ErrorKind::Unavailable);
    world.faults.always(Renew, gone);
    lease.lost().await;
    world.faults.heal();
    drop((lease, crashed));
    pass(secs(1)).await;

    let denied = Fault::Refused(ErrorKind::PermissionDenied);
    world.faults.once(Acquire, denied);
    lock().acquire().await.unwrap_err();
    let lease = lock().acquire().await.unwrap();
    world.faults.once(Release, denied);
    lease.release().await.unwrap_err();
    pass(TTL).await;

    let once = || world.ours.once("secret-once");
    for _ in 0..2 {
        let _ = once().run(async |_| Ok::<_, String>(7)).await.unwrap();
    }
    let _lease = lock().acquire().await.unwrap();
    world.ours.shutdown().await;
}

fn took(kind: &EventKind) -> (Duration, Duration, u32, u32) {
    let (EventKind::Acquired { effort, .. } | EventKind::NotAcquired { effort, .. }) = kind else {
        panic!("no acquisition: {kind:?}");
    };
    let effort = *effort;
    (effort.took, effort.waited, effort.attempts, effort.refusals)
}
