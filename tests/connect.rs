//! Clients from URLs, against the servers that the URLs name.

use std::time::Duration;

use doclock::{ErrorKind, LeaseId, LockClient};

use crate::support::servers;

/// The main job, through whatever the URL leads to.
async fn takes_locks(locks: &LockClient) {
    let key = format!("connect:{}", LeaseId::random());
    let lease = locks.lock(&key).acquire().await.unwrap();
    assert!(locks.lock(&key).try_acquire().await.unwrap().is_none());
    assert_eq!(
        locks.inspect(&key).await.unwrap().unwrap().token,
        lease.token()
    );
    lease.release().await.unwrap();
}

#[tokio::test]
async fn mongodb_by_url() {
    if servers::without("mongodb") {
        return;
    }
    let url = servers::mongodb_url().to_owned();
    let (base, options) = url.split_once("/?").unwrap_or((&url, ""));
    let base = base.trim_end_matches('/');
    let locks = doclock::connect(&format!("{base}/by-url?{options}&collection=some-locks"))
        .await
        .unwrap();
    locks.setup().await.unwrap();
    takes_locks(&locks).await;

    let client = mongodb::Client::with_uri_str(&url).await.unwrap();
    let database = client.database("by-url");
    let collections = database.list_collection_names().await.unwrap();
    assert_eq!(collections, ["some-locks"]);

    let error = doclock::connect(&format!("{base}/?{options}"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("names no database"), "{error}");
}

#[tokio::test]
async fn dynamodb_by_url() {
    for (name, url) in [
        ("dynoxide", servers::dynoxide_url as fn() -> &'static str),
        ("dynamodb-local", servers::dynamodb_local_url),
    ] {
        if servers::without(name) {
            continue;
        }
        let table = format!("by-url-{}", LeaseId::random());
        let endpoint = url();
        let plain = format!("dynamodb://eu-west-1/{table}?endpoint={endpoint}");
        let locks = doclock::connect(&plain).await.unwrap();
        let error = locks.lock("k").try_acquire().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotSetUp, "{name}");
        assert!(error.to_string().contains("setup()"), "{error}");
        locks.setup().await.unwrap();
        takes_locks(&locks).await;

        let composite = format!(
            "dynamodb://eu-west-1/{table}-composite?endpoint={endpoint}&partition_key=key&sort_key=kind&sort_value=lock"
        );
        let locks = doclock::connect(&composite).await.unwrap();
        locks.setup().await.unwrap();
        takes_locks(&locks).await;
    }
}

#[tokio::test]
async fn a_server_that_is_gone_is_told_in_the_callers_time() {
    let port = crate::support::port::free_port().unwrap();
    for url in [
        format!("mongodb://user:hunter2@127.0.0.1:{port}/db"),
        format!("dynamodb://eu-west-1/locks?endpoint=http://127.0.0.1:{port}"),
    ] {
        let locks = doclock::connect(&url).await.unwrap();
        let lock = locks.lock("k").wait(Duration::from_secs(1));
        let error = lock.acquire().await.unwrap_err();
        assert!(
            matches!(
                error.kind(),
                ErrorKind::Unavailable | ErrorKind::OutcomeUnknown
            ),
            "{error:?}"
        );
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}

/// The environment of a process of its own: nobody may change that of a running one.
#[tokio::test]
async fn the_environment_variable_names_the_url() {
    for (url, says) in [
        (Some("memory:"), "connected"),
        (Some("postgres://x"), "mongodb://"),
        (None, "DOCLOCK_URL"),
    ] {
        let mut process = tokio::process::Command::new(std::env::current_exe().unwrap());
        process.args([
            "--exact",
            "connect::from_the_environment",
            "--ignored",
            "--nocapture",
        ]);
        process.env_remove(doclock::URL_VARIABLE);
        process.envs(url.map(|url| (doclock::URL_VARIABLE, url)));
        let output = process.output().await.unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(printed.contains(says), "{url:?}: {printed}");
    }
}

#[tokio::test]
#[ignore = "a part of `the_environment_variable_names_the_url`"]
async fn from_the_environment() {
    match doclock::connect_from_env().await {
        Ok(_) => println!("connected"),
        Err(error) => println!("{error}"),
    }
}
