//! The payment service: what the lock protects. It knows who is inside, and lets a test keep somebody there.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::support::poll;

/// A payment takes this long: without a lock the others come in between.
const PAUSE: Duration = Duration::from_millis(100);

pub struct Payments {
    pub url: String,
    service: Arc<Service>,
}

#[derive(Default)]
struct Service {
    log: Mutex<Log>,
    /// The orders whose payments are not answered for now.
    held: watch::Sender<BTreeSet<String>>,
}

#[derive(Default)]
pub struct Log {
    /// Who came, with its fencing token and the time.
    pub entries: Vec<(String, u64, SystemTime)>,
    inside: usize,
    pub most_inside: usize,
    pub charged: BTreeSet<String>,
}

impl Payments {
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}/payments", listener.local_addr()?);
        let service = Arc::new(Service::default());
        let api = Router::new().route("/payments", post(charge));
        let api = api.with_state(Arc::clone(&service));
        tokio::spawn(async move { axum::serve(listener, api).await });
        Ok(Self { url, service })
    }

    pub fn log(&self) -> MutexGuard<'_, Log> {
        self.service.log.lock().unwrap()
    }

    /// Payments of this order wait.
    pub fn hold(&self, order: &str) {
        self.service.held.send_modify(|held| {
            held.insert(order.to_owned());
        });
    }

    pub fn go_on(&self, order: &str) {
        self.service.held.send_modify(|held| {
            held.remove(order);
        });
    }

    /// Waits until so many have come.
    pub async fn entered(&self, count: usize) -> Result<()> {
        let what = format!("payment {count}");
        poll::until(&what, Duration::from_mins(1), || async {
            self.log().entries.len() >= count
        })
        .await
    }
}

async fn charge(State(service): State<Arc<Service>>, headers: HeaderMap) -> StatusCode {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(order), Some(token)) = (header("idempotency-key"), header("fencing-token")) else {
        return StatusCode::BAD_REQUEST;
    };
    let Ok(token) = token.parse() else {
        return StatusCode::BAD_REQUEST;
    };
    // Who is refused for its token was inside beside another all the same.
    let _inside = Inside::of(&service);
    {
        let mut log = service.log.lock().unwrap();
        if log.entries.iter().any(|(_, seen, _)| *seen > token) {
            return StatusCode::CONFLICT;
        }
        let entry = (order.to_owned(), token, SystemTime::now());
        log.entries.push(entry);
    }
    tokio::time::sleep(PAUSE).await;
    let mut held = service.held.subscribe();
    let _ = held.wait_for(|held| !held.contains(order)).await;
    service.log.lock().unwrap().charged.insert(order.to_owned());
    StatusCode::OK
}

/// Who hangs up is no longer inside.
struct Inside<'a>(&'a Service);

impl<'a> Inside<'a> {
    fn of(service: &'a Service) -> Self {
        let mut log = service.log.lock().unwrap();
        log.inside += 1;
        log.most_inside = log.most_inside.max(log.inside);
        Self(service)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.log.lock().unwrap().inside -= 1;
    }
}
