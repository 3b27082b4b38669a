//! What a client tells of its locks on real servers: which database it is, and how long it took.

#[path = "client/observing/capture.rs"]
mod capture;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use doclock::{Backend, DynamoBackend, Event, EventKind, LeaseId, LockClient, Loss, MongoBackend};
use metrics_util::debugging::DebuggingRecorder;

use crate::support::servers;
use capture::{Capture, Line};

const TTL: Duration = Duration::from_secs(30);

/// A lease that crashed is taken over, evicted, and so lost.
async fn check(backend: impl Backend, system: &str, place: &[(&str, &str)]) -> Result<()> {
    let (told, capture, recorder) = (Arc::default(), Capture::default(), DebuggingRecorder::new());
    let hook: Arc<Mutex<Vec<Event>>> = Arc::clone(&told);
    let _listening = capture.listen();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let locks = LockClient::builder(backend)
        .on_event(move |event| hook.lock().unwrap().push(event.clone()))
        .build();
    locks.setup().await?;
    let key = format!("observing:{}", LeaseId::random());
    let lock = || locks.lock(&key).ttl(Duration::from_secs(1));
    let crashed = lock().owner("crashed").manual_renewal().acquire().await?;
    let lease = lock().owner("heir").ttl(TTL).acquire().await?;
    assert_eq!(locks.force_release(&key).await?.len(), 1);
    lease.renew().await.unwrap_err();
    drop(crashed);
    locks.shutdown().await;

    let events = told.lock().unwrap();
    let heirs: Vec<_> = events
        .iter()
        .filter(|event| event.owner.as_str() == "heir")
        .collect();
    let [acquired, lost] = heirs[..] else {
        panic!("{events:#?}");
    };
    let EventKind::Acquired {
        token,
        effort,
        took_over,
        ..
    } = &acquired.kind
    else {
        panic!("{acquired:?}");
    };
    assert_eq!(
        took_over.as_ref().map(doclock::Owner::as_str),
        Some("crashed")
    );
    assert_eq!(*token, lease.token());
    assert!(
        effort.refusals > 0 && effort.attempts == effort.refusals + 1,
        "{effort:?}"
    );
    assert!(
        !effort.waited.is_zero() && effort.waited < effort.took,
        "{effort:?}"
    );
    assert!(
        matches!(
            lost.kind,
            EventKind::Lost {
                why: Loss::Evicted,
                ..
            }
        ),
        "{lost:?}"
    );

    let lines = capture.lines();
    let is_it = |line: &&Line| line.what == "lease lost" && line.field("doclock.owner") == "heir";
    let line = lines.iter().find(is_it).expect("the loss is logged");
    for (field, value) in place
        .iter()
        .chain(&[("db.system.name", system), ("doclock.key", &key)])
    {
        assert_eq!(line.field(field), *value, "{field}");
    }
    let mut backends: Vec<_> = recorder.snapshotter().snapshot().into_vec();
    backends.retain(|(key, ..)| {
        let of_it = |label: &metrics::Label| label.key() == "backend" && label.value() == system;
        !key.key().labels().any(of_it)
    });
    assert!(backends.is_empty(), "not of {system}: {backends:?}");
    Ok(())
}

#[tokio::test]
async fn mongodb() -> Result<()> {
    if servers::without("mongodb") {
        return Ok(());
    }
    let client = mongodb::Client::with_uri_str(servers::mongodb_url()).await?;
    let backend =
        MongoBackend::with_collection(client.database("observed").collection::<()>("seen"));
    let place = [("db.namespace", "observed"), ("db.collection.name", "seen")];
    check(backend, "mongodb", &place).await
}

async fn dynamodb(endpoint: &str) -> Result<()> {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("doclock", "tests", None, None, "tests"))
        .endpoint_url(endpoint);
    let client = aws_sdk_dynamodb::Client::from_conf(config.build());
    let backend = DynamoBackend::new(client, "observed");
    check(
        backend,
        "aws.dynamodb",
        &[("db.collection.name", "observed")],
    )
    .await
}

#[tokio::test]
async fn dynamodb_local() -> Result<()> {
    if servers::without("dynamodb-local") {
        return Ok(());
    }
    dynamodb(servers::dynamodb_local_url()).await
}

#[tokio::test]
async fn dynoxide() -> Result<()> {
    if servers::without("dynoxide") {
        return Ok(());
    }
    dynamodb(servers::dynoxide_url()).await
}
