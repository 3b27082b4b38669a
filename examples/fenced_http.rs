//! A service that stores what others write under a lock. Each request has the token in a header, and the service refuses
//! one that is older than the newest it has seen.
//!
//! ```sh
//! cargo run --example fenced_http
//! ```
//!
//! Everything is in this process: the locks in memory, the requests without a network between.
//!
//! What to copy is `put_report`, and that its service keeps the newest token where it keeps the data.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::put;
use doclock::{LockClient, MemoryBackend};
use tower::ServiceExt;

const HEADER: &str = "fencing-token";
const TTL: Duration = Duration::from_millis(500);

/// In a real service a row, changed by one statement: see the example `fenced_sql`.
#[derive(Default)]
struct Report {
    text: String,
    newest: u64,
}

type Store = Arc<Mutex<Report>>;

/// `409 Conflict`, with the newest token, for one that is older.
async fn put_report(State(store): State<Store>, headers: HeaderMap, text: String) -> Response {
    let token = headers
        .get(HEADER)
        .and_then(|token| token.to_str().ok()?.parse().ok());
    let Some(token) = token else {
        return (StatusCode::BAD_REQUEST, "a fencing token is missing").into_response();
    };
    // The test and the write are one step.
    let mut report = store.lock().unwrap_or_else(PoisonError::into_inner);
    if token < report.newest {
        let newest = [(HEADER, report.newest.to_string())];
        return (StatusCode::CONFLICT, newest).into_response();
    }
    *report = Report {
        text,
        newest: token,
    };
    StatusCode::NO_CONTENT.into_response()
}

fn service(store: &Store) -> Router {
    Router::new()
        .route("/report", put(put_report))
        .with_state(Arc::clone(store))
}

async fn send(service: &Router, token: Option<u64>, text: &'static str) -> Result<Response> {
    let mut request = Request::put("/report");
    if let Some(token) = token {
        request = request.header(HEADER, token);
    }
    Ok(service
        .clone()
        .oneshot(request.body(Body::from(text))?)
        .await?)
}

/// Prints what happens; what the service has in the end, and what it answered to the late request.
async fn story() -> Result<(String, StatusCode)> {
    let locks = LockClient::new(MemoryBackend::new());
    let store = Store::default();
    let service = service(&store);
    println!("{:8}  {:18}  {:14}  answer", "holder", "token", "puts");

    let first = locks
        .lock("report")
        .ttl(TTL)
        .manual_renewal()
        .acquire()
        .await?;
    // It looks, and stands still: its lease runs out.
    assert!(first.is_held());
    let second = locks.lock("report").wait(4 * TTL).acquire().await?;
    let mut last = StatusCode::OK;
    for (holder, lease, text) in [
        ("second", &second, "new figures"),
        ("first", &first, "old figures"),
    ] {
        let answer = send(&service, Some(lease.token()), text).await?;
        last = answer.status();
        let newest = answer
            .headers()
            .get(HEADER)
            .and_then(|token| token.to_str().ok());
        let newest = newest
            .map(|token| format!(", {token} was here"))
            .unwrap_or_default();
        println!(
            "{holder:8}  {:<18}  {text:14}  {last}{newest}",
            lease.token()
        );
    }
    second.release().await?;
    let text = store
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .text
        .clone();
    println!();
    println!("the service has: {text}");
    Ok((text, last))
}

#[tokio::main]
async fn main() -> Result<()> {
    let (text, late) = story().await?;
    anyhow::ensure!(
        text == "new figures" && late == StatusCode::CONFLICT,
        "the late request was accepted: please report this bug"
    );
    println!("Next: read docs/patterns/fencing.md");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_late_request_is_refused() -> Result<()> {
        assert_eq!(
            story().await?,
            ("new figures".to_owned(), StatusCode::CONFLICT)
        );
        Ok(())
    }

    #[tokio::test]
    async fn a_token_is_good_until_a_newer_one_was_seen() -> Result<()> {
        let service = service(&Store::default());
        for (token, expected) in [
            (None, StatusCode::BAD_REQUEST),
            (Some(2), StatusCode::NO_CONTENT),
            (Some(2), StatusCode::NO_CONTENT),
            (Some(1), StatusCode::CONFLICT),
            (Some(3), StatusCode::NO_CONTENT),
        ] {
            let answer = send(&service, token, "text").await?;
            assert_eq!(answer.status(), expected, "{token:?}");
            if expected == StatusCode::CONFLICT {
                assert_eq!(answer.headers()[HEADER], "2");
            }
        }
        Ok(())
    }
}
