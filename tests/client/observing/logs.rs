use doclock::ErrorKind;

use super::capture::{Capture, Line};
use super::{TTL, everything, pass, secs, world};
use crate::faulty::{Acquire, Fault, Renew};

fn plain() -> (crate::World, super::Told) {
    world(|builder| builder)
}

/// What each span and event has: which database, and which lock.
fn check_common(line: &Line, operation: &str) {
    for (field, value) in [
        ("db.system.name", "memory"),
        ("db.operation.name", operation),
        ("doclock.key", "k"),
        ("doclock.owner", "o"),
        ("doclock.mode", "exclusive"),
    ] {
        assert_eq!(line.field(field), value, "{field} of {line:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_acquisition_is_a_span_with_its_outcome() {
    let (world, _) = plain();
    let other = world.other().acquire().await.unwrap();
    let capture = Capture::default();
    let listening = capture.listen();
    let waiting = tokio::spawn(world.lock().owner("o").acquire());
    pass(secs(2)).await;
    other.release().await.unwrap();
    let lease = waiting.await.unwrap().unwrap();
    drop(listening);

    let (span, event) = (
        capture.line("doclock.acquire"),
        capture.line("lock acquired"),
    );
    let token = lease.token().to_string();
    for line in [&span, &event] {
        check_common(line, "acquire");
        assert_eq!(line.level, "DEBUG");
        assert_eq!(line.field("doclock.token"), token);
        let wait: u64 = line.field("doclock.wait_ms").parse().unwrap();
        assert!((1900..3500).contains(&wait), "{wait}");
        let attempts: u64 = line.field("doclock.attempts").parse().unwrap();
        assert!(attempts > 1, "{attempts}");
    }
    assert_eq!(span.field("doclock.outcome"), "acquired");
    assert!(!span.fields.contains_key("error.type"));
    assert_eq!(event.within.as_deref(), Some("doclock.acquire"));
}

#[tokio::test(start_paused = true)]
async fn a_failed_acquisition_names_its_error() {
    let (world, _) = plain();
    let capture = Capture::default();
    let listening = capture.listen();
    world
        .faults
        .once(Acquire, Fault::Refused(ErrorKind::PermissionDenied));
    world.lock().owner("o").acquire().await.unwrap_err();
    drop(listening);
    let span = capture.line("doclock.acquire");
    assert_eq!(span.field("doclock.outcome"), "permission_denied");
    assert_eq!(span.field("error.type"), "permission_denied");
    let event = capture.line("lock not acquired");
    check_common(&event, "acquire");
    assert_eq!(event.field("doclock.outcome"), "permission_denied");
}

#[tokio::test(start_paused = true)]
async fn a_takeover_names_whom() {
    let (world, _) = plain();
    let crashed = world.other().manual_renewal().acquire().await.unwrap();
    let capture = Capture::default();
    let listening = capture.listen();
    let lease = world.lock().wait(2 * TTL).acquire().await.unwrap();
    drop(listening);
    let event = capture.line("lock acquired");
    assert_eq!(event.field("doclock.took_over"), crashed.owner().as_str());
    drop(lease);
}

#[tokio::test(start_paused = true)]
async fn the_life_of_a_lease_is_logged() {
    let (world, _) = plain();
    let capture = Capture::default();
    let listening = capture.listen();
    let lock = || world.lock().owner("o");
    let lease = lock().acquire().await.unwrap();
    pass(secs(2)).await;
    lease.release().await.unwrap();
    let released = capture.line("lock released");
    check_common(&released, "release");
    assert_eq!(released.field("doclock.held_ms"), "2000");

    let lease = lock().acquire().await.unwrap();
    world
        .faults
        .once(Renew, Fault::Refused(ErrorKind::Throttled));
    pass(secs(12)).await;
    let failed = capture.line("renewal failed, will try again");
    check_common(&failed, "renew");
    assert_eq!(failed.field("error.type"), "throttled");
    assert_eq!(failed.field("error"), "renew `k`: scripted");
    let remaining: u64 = failed.field("doclock.remaining_ms").parse().unwrap();
    assert!((16_000..18_000).contains(&remaining), "{remaining}");

    assert_eq!(world.theirs.force_release("k").await.unwrap().len(), 1);
    lease.renew().await.unwrap_err();
    drop(listening);
    let lost = capture.line("lease lost");
    check_common(&lost, "renew");
    assert_eq!(
        (&*lost.level, lost.field("doclock.why")),
        ("WARN", "evicted")
    );
    assert_eq!(lost.field("doclock.token"), lease.token().to_string());
    assert_eq!(lost.field("doclock.held_ms"), "12000");
}

/// Everything that is logged, as one text.
async fn log(redact: bool) -> String {
    let (world, told) = world(|builder| {
        if redact {
            builder.redact(|name| format!("[{}]", name.len()))
        } else {
            builder
        }
    });
    let capture = Capture::default();
    let listening = capture.listen();
    everything(&world).await;
    drop(listening);
    let events = told.events();
    let hook = events
        .iter()
        .all(|event| event.key.as_str().starts_with("secret"));
    assert!(hook, "a hook is told the keys as they are");
    format!("{:#?}", capture.lines())
}

#[tokio::test(start_paused = true)]
async fn what_is_redacted_is_not_logged() {
    let (plain, redacted) = (log(false).await, log(true).await);
    for secret in ["secret-key", "secret-owner", "secret-other", "secret-once"] {
        assert!(plain.contains(secret), "{secret} is not logged at all");
        let line = redacted.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is logged");
    }
    for shown in ["[10]", "[12]", "lease lost", "permission_denied"] {
        assert!(redacted.contains(shown), "{shown} is not in {redacted}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_redaction_that_panics_breaks_nothing() {
    let (world, _) = world(|builder| builder.redact(|_| panic!("scripted")));
    let capture = Capture::default();
    let listening = capture.listen();
    world
        .lock()
        .acquire()
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
    drop(listening);
    assert_eq!(capture.line("lock acquired").field("doclock.key"), "?");
}
