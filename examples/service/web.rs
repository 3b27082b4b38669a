//! What the service answers.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use doclock::Leader;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::job::Job;

/// A probe gives up after a second or so.
const PROBE: Duration = Duration::from_millis(800);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Health {
    /// `ok`, or what is wrong with the locks' database.
    pub(crate) locks: String,
    /// This instance's term, if it leads.
    pub(crate) term: Option<u64>,
    /// The leader's address.
    pub(crate) leader: Option<String>,
}

pub(crate) fn service(job: Arc<Job>, metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .with_state(job)
        .route("/metrics", get(async move || metrics.render()))
}

/// One read for each probe. 503 takes an instance out of the load balancer: use it for readiness. To restart one because
/// the database is away would help nobody.
async fn health(State(job): State<Arc<Job>>) -> (StatusCode, Json<Health>) {
    let (status, locks, leader) = match timeout(PROBE, job.leader()).await {
        Ok(Ok(leader)) => (StatusCode::OK, "ok".to_owned(), leader),
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string(), None),
        Err(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "no answer".to_owned(),
            None,
        ),
    };
    let address = |leader: Leader| leader.data().ok().flatten();
    let health = Health {
        locks,
        term: job.term(),
        leader: leader.and_then(address),
    };
    (status, Json(health))
}
