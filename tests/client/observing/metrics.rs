use std::collections::{BTreeMap, BTreeSet};

use doclock::ErrorKind;
use metrics_util::MetricKind;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};

use super::{TTL, World, everything, pass, secs, world};
use crate::faulty::{Fault, Release, Renew};

const DASHBOARD: &str = include_str!("../../../docs/observability/grafana.json");
const PAGE: &str = include_str!("../../../docs/observability.md");

#[derive(Debug)]
struct Metric {
    kind: MetricKind,
    /// Counters and gauges by their sum, histograms by their samples.
    values: BTreeMap<String, Vec<f64>>,
    description: Option<String>,
}

type Metrics = BTreeMap<String, Metric>;

/// What a world's own client emits meanwhile.
async fn emitted(act: impl AsyncFnOnce(&World)) -> Metrics {
    let recorder = DebuggingRecorder::new();
    let listening = metrics::set_default_local_recorder(&recorder);
    let (world, _) = world(|builder| builder);
    act(&world).await;
    drop(listening);
    let mut found = Metrics::new();
    for (key, _, description, value) in recorder.snapshotter().snapshot().into_vec() {
        let (kind, key) = key.into_parts();
        let labels = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()));
        let mut labels: Vec<_> = labels.collect();
        labels.sort_unstable();
        #[expect(clippy::cast_precision_loss, reason = "counts of a test are small")]
        let values = match value {
            DebugValue::Counter(count) => vec![count as f64],
            DebugValue::Gauge(value) => vec![value.into_inner()],
            DebugValue::Histogram(samples) => {
                samples.iter().map(|sample| sample.into_inner()).collect()
            }
        };
        let metric = found
            .entry(key.name().to_owned())
            .or_insert_with(|| Metric {
                kind,
                values: BTreeMap::new(),
                description: description.map(|text| text.to_string()),
            });
        metric.values.insert(labels.join(","), values);
    }
    found
}

/// The values of one set of labels, and that there is no other.
#[track_caller]
fn only(metrics: &Metrics, name: &str, labels: &str, values: &[f64]) {
    let metric = &metrics[name];
    let expected = BTreeMap::from([(labels.to_owned(), values.to_vec())]);
    assert_eq!(metric.values, expected, "{name}");
}

const LABELS: &str = "backend=memory,mode=exclusive";

#[tokio::test(start_paused = true)]
async fn a_lease_is_counted_while_it_is_held() {
    let held = emitted(async |world| {
        let lease = world.lock().acquire().await.unwrap();
        std::mem::forget(lease);
        world.ours.shared("s").acquire().await.unwrap().let_expire();
    });
    let leases = &held.await["doclock_leases_held"].values;
    let expected = [(LABELS, 1.0), ("backend=memory,mode=shared", 0.0)];
    for (labels, count) in expected {
        assert_eq!(leases[labels], [count], "{labels}");
    }
}

#[tokio::test(start_paused = true)]
async fn durations_are_in_seconds() {
    let metrics = emitted(async |world| {
        let lease = world.lock().acquire().await.unwrap();
        world.lock().wait(secs(2)).acquire().await.unwrap_err();
        pass(secs(3)).await;
        lease.release().await.unwrap();
    });
    let metrics = metrics.await;
    only(&metrics, "doclock_hold_duration_seconds", LABELS, &[5.0]);
    for name in [
        "doclock_acquire_duration_seconds",
        "doclock_wait_duration_seconds",
    ] {
        let values = &metrics[name].values;
        assert_eq!(values[&format!("{LABELS},outcome=acquired")], [0.0]);
        assert_eq!(values[&format!("{LABELS},outcome=timed_out")], [2.0]);
    }
    only(&metrics, "doclock_refusals_total", LABELS, &[0.0]);
    only(&metrics, "doclock_takeovers_total", LABELS, &[0.0]);
}

#[tokio::test(start_paused = true)]
async fn contention_and_takeovers_are_counted() {
    let metrics = emitted(async |world| {
        let _crashed = world.other().manual_renewal().acquire().await.unwrap();
        assert!(world.lock().try_acquire().await.unwrap().is_none());
        let lease = world.lock().wait(2 * TTL).acquire().await.unwrap();
        lease.release().await.unwrap();
    });
    let metrics = metrics.await;
    only(&metrics, "doclock_takeovers_total", LABELS, &[1.0]);
    let refusals = &metrics["doclock_refusals_total"].values[LABELS];
    assert!(refusals[0] > 2.0, "{refusals:?}");
    let outcomes = &metrics["doclock_acquire_duration_seconds"].values;
    assert!(outcomes.contains_key(&format!("{LABELS},outcome=busy")));
}

#[tokio::test(start_paused = true)]
async fn failures_are_counted_by_their_kind() {
    let metrics = emitted(async |world| {
        let lease = world.lock().acquire().await.unwrap();
        world
            .faults
            .once(Renew, Fault::Refused(ErrorKind::Throttled));
        world
            .faults
            .once(Renew, Fault::Refused(ErrorKind::Throttled));
        pass(TTL).await;
        world
            .faults
            .once(Release, Fault::Refused(ErrorKind::PermissionDenied));
        lease.release().await.unwrap_err();
        pass(TTL).await;
        let lease = world.lock().manual_renewal().acquire().await.unwrap();
        lease.lost().await;
    });
    let metrics = metrics.await;
    let of = |label: &str, value: &str| match label {
        "error_type" => format!("backend=memory,error_type={value},mode=exclusive"),
        _ => format!("{LABELS},{label}={value}"),
    };
    let (renewals, releases) = (
        "doclock_renewal_failures_total",
        "doclock_release_failures_total",
    );
    only(&metrics, renewals, &of("error_type", "throttled"), &[2.0]);
    only(
        &metrics,
        releases,
        &of("error_type", "permission_denied"),
        &[1.0],
    );
    let lost = &metrics["doclock_leases_lost_total"].values;
    assert_eq!(lost[&of("why", "expired")], [1.0]);
    assert_eq!(lost[&of("why", "evicted")], [0.0]);
}

/// So that the first one is an increase.
#[tokio::test(start_paused = true)]
async fn losses_are_counted_from_zero() {
    let metrics = emitted(async |_| {}).await;
    let lost = &metrics["doclock_leases_lost_total"].values;
    assert_eq!(lost.len(), 12, "each mode, each reason: {lost:?}");
    assert!(lost.values().all(|count| *count == [0.0]));
}

#[tokio::test(start_paused = true)]
async fn no_metric_has_a_key_and_each_is_described() {
    let metrics = emitted(everything).await;
    for (name, metric) in &metrics {
        assert!(metric.description.is_some(), "{name}");
        let labels: BTreeSet<_> = metric
            .values
            .keys()
            .flat_map(|labels| labels.split(','))
            .collect();
        for label in labels {
            assert!(!label.contains("secret"), "{name} has the label {label}");
            let known = ["backend", "mode", "outcome", "error_type", "why"];
            let of = label.split_once('=').unwrap().0;
            assert!(known.contains(&of), "{name} has the label {label}");
        }
    }
}

/// The words in a text that look like a metric's name.
fn names(text: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    let words = text.split(|letter| !is_part(letter));
    let names = words.filter(|word| word.starts_with("doclock_"));
    names.map(str::to_owned).collect()
}

/// As a Prometheus server has it.
fn series(name: &str, kind: MetricKind) -> Vec<String> {
    match kind {
        MetricKind::Histogram => ["bucket", "sum", "count"]
            .map(|part| format!("{name}_{part}"))
            .into(),
        MetricKind::Counter | MetricKind::Gauge => vec![name.to_owned()],
    }
}

#[tokio::test(start_paused = true)]
async fn the_dashboard_shows_what_is_emitted_and_the_page_explains_it() {
    let metrics = emitted(everything).await;
    serde_json::from_str::<serde_json::Value>(DASHBOARD).unwrap();
    let shown = names(DASHBOARD);
    for name in &shown {
        let is_emitted =
            |(emitted, metric): (&String, &Metric)| series(emitted, metric.kind).contains(name);
        assert!(
            metrics.iter().any(is_emitted),
            "{name} is on the dashboard only"
        );
    }
    let explained = names(PAGE);
    for (name, metric) in &metrics {
        let all = series(name, metric.kind);
        assert!(
            all.iter().any(|name| shown.contains(name)),
            "{name} is not on the dashboard"
        );
        assert!(explained.contains(name), "{name} is not on the page");
    }
    let known: BTreeSet<_> = metrics
        .iter()
        .flat_map(|(name, metric)| [series(name, metric.kind), vec![name.clone()]].concat())
        .collect();
    let unknown: Vec<_> = explained.difference(&known).collect();
    assert!(unknown.is_empty(), "on the page only: {unknown:?}");
}
