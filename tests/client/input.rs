use std::time::Duration;

use doclock::{ErrorKind, Lock};

use crate::{World, secs};

/// What can't be is told before any request is sent.
#[tokio::test(start_paused = true)]
async fn bad_input_is_refused_with_what_to_do() {
    let world = World::new();
    let key = |key: &str| world.ours.lock(key);
    let bad: Vec<(Lock, &str)> = vec![
        (key(""), "empty"),
        (key(&"k".repeat(1025)), "at most 1024"),
        (key("a\tb"), "control character"),
        (world.lock().owner(""), "owner is empty"),
        (world.lock().owner("o".repeat(257)), "at most 256"),
        (world.lock().ttl(Duration::ZERO), "between 100 ms and 24 h"),
        (
            world.lock().ttl(Duration::from_millis(99)),
            "between 100 ms",
        ),
        (world.lock().ttl(secs(86_401)), "24 h"),
        (world.lock().ttl(Duration::MAX), "24 h"),
        (world.lock().ttl(secs(2)).margin(secs(1)), "less than half"),
        (world.lock().max_hold(Duration::from_millis(1)), "max_hold"),
        (world.lock().min_hold(Duration::from_millis(1)), "min_hold"),
        (world.lock().min_hold(secs(86_401)), "min_hold"),
        (world.lock().label("l".repeat(257)), "at most 256"),
        (world.lock().data(&"x".repeat(4096)), "at most 4096"),
        (
            world
                .lock()
                .data(&f64::NAN.to_bits().to_le_bytes().map(|_| "x".repeat(999))),
            "at most 4096",
        ),
    ];
    for limit in [0, 257] {
        let error = world.ours.semaphore("k", limit).try_acquire().await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("between 1 and 256"), "{error}");
    }
    for (lock, says) in bad {
        let shown = format!("{lock:?}");
        let error = lock.try_acquire().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{shown}");
        assert!(error.to_string().contains(says), "{error}");
        assert!(!error.is_retryable());
    }
    assert_eq!(world.faults.requests(), 0);
    assert_eq!(
        world.ours.inspect("").await.unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        world.ours.force_release("").await.unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

#[tokio::test(start_paused = true)]
async fn data_that_is_no_json_is_refused() {
    let world = World::new();
    let not_json = std::collections::HashMap::from([((1, 2), 3)]);
    let error = world
        .lock()
        .data(&not_json)
        .try_acquire()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[tokio::test(start_paused = true)]
async fn odd_keys_and_owners_stay_what_they_are() {
    let world = World::new();
    let long = "é".repeat(512);
    for text in ["$$ROOT", "a.b", "$x", "a#b", "\"'`", "🔒", " ", &long] {
        let owner = text.get(..256).unwrap_or(text);
        let lease = world.ours.lock(text).owner(owner).acquire().await.unwrap();
        assert_eq!(lease.key().as_str(), text);
        let record = world.theirs.inspect(text).await.unwrap().unwrap();
        assert_eq!(record.holders[0].owner().unwrap().as_str(), owner);
    }
}

#[tokio::test]
async fn a_url_that_cannot_be_says_what_to_write() {
    for (url, says) in [
        ("", "no scheme"),
        ("postgres://x", "mongodb://"),
        ("memory:x", "write `memory:`"),
        #[cfg(not(feature = "mongodb"))]
        ("mongodb://h/db", "features = [\"mongodb\"]"),
        #[cfg(not(feature = "aws-config"))]
        ("dynamodb://eu-west-1/locks", "features = [\"aws-config\"]"),
        #[cfg(feature = "mongodb")]
        ("mongodb://user:hunter2@h", "names no database"),
        #[cfg(feature = "mongodb")]
        ("mongodb://user:hunter2@h/db?colour=red", "cannot be used"),
        #[cfg(feature = "aws-config")]
        ("dynamodb://eu-west-1", "names no table"),
    ] {
        let error = doclock::connect(url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{url}");
        assert!(error.to_string().contains(says), "{url}: {error}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}

#[tokio::test(start_paused = true)]
async fn bad_sets_and_periods_are_refused_with_what_to_do() {
    let world = World::new();
    let many: Vec<String> = (0..10_000).map(|key| format!("k{key}")).collect();
    for (set, says) in [
        (world.ours.all(Vec::<String>::new()), "name 1 to 100"),
        (world.ours.all(many), "name 1 to 100"),
        (world.ours.all(["a", ""]), "empty"),
        (world.ours.all(["a"]).ttl(secs(86_401)), "24 h"),
    ] {
        let error = set.try_acquire().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(says), "{error}");
    }
    for period in [Duration::ZERO, Duration::from_millis(4999), Duration::MAX] {
        let job = world.lock().once_per(period);
        let error = job.try_run(async |_| Ok::<_, ()>(())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("between 5s"), "{error}");
    }
    assert_eq!(world.faults.requests(), 0);
}
