//! A proxy between a client and one server that knows messages from bytes, so that a test can say
//! "let the server apply the next `UpdateItem`, but lose the reply".
//!
//! Everything may be called while it runs. A MongoDB client goes through [`Proxy::mongodb_url`]: without
//! `directConnection` the driver would find the real addresses and go past the proxy.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::raw;
use super::relay::relay;
use super::traffic::{Fault, Shared};
use super::wire::Wire;

pub use super::traffic::Recorded;

/// A running proxy; dropping it cuts its connections.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    upstream: watch::Sender<SocketAddr>,
    wire: Wire,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(upstream: SocketAddr, wire: Wire) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let (send, upstream) = watch::channel(upstream);
        let task = tokio::spawn(accept(listener, upstream, wire, Arc::clone(&shared)));
        Ok(Self {
            addr,
            upstream: send,
            wire,
            shared,
            task,
        })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn mongodb_url(&self) -> String {
        format!("mongodb://{}/?directConnection=true", self.addr)
    }

    pub fn http_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Where it leads.
    pub fn upstream(&self) -> SocketAddr {
        *self.upstream.borrow()
    }

    /// From now on leads to another server: a new primary, say. Open connections are reset.
    pub fn lead_to(&self, upstream: SocketAddr) {
        self.upstream.send_replace(upstream);
        self.reset_connections();
    }

    /// The next `n` such requests never reach the server; the connection is reset.
    pub fn drop_requests_of(&self, operation: &str, n: usize) {
        self.inject(operation, n, Fault::DropRequest);
    }

    /// The next `n` such requests are applied by the server; the reply is lost and the connection reset.
    pub fn drop_replies_of(&self, operation: &str, n: usize) {
        self.inject(operation, n, Fault::DropReply);
    }

    /// The next `n` such requests are applied by the server; the connection ends in the middle of the reply.
    pub fn cut_replies_of(&self, operation: &str, n: usize) {
        self.inject(operation, n, Fault::CutReply);
    }

    /// The next `n` such requests never reach the server and get this reply: see [`raw::http_reply`] and [`raw::mongo_message`].
    pub fn answer_instead(&self, operation: &str, n: usize, reply: Vec<u8>) {
        self.inject(operation, n, Fault::Answer(reply));
    }

    /// How many of the faults asked for have not happened yet.
    pub fn faults_left(&self) -> usize {
        self.shared.traffic().faults.iter().map(|(_, n, _)| n).sum()
    }

    /// Forgets the faults that have not happened yet.
    pub fn clear_faults(&self) {
        self.shared.traffic().faults.clear();
    }

    /// Every message takes this much longer, each way.
    pub fn delay(&self, delay: Duration) {
        self.shared.link.send_modify(|link| link.delay = delay);
    }

    /// Connections stay open and nothing passes. What was sent meanwhile arrives late, when the hole closes,
    /// as TCP does it.
    pub fn black_hole(&self, open: bool) {
        self.black_hole_requests(open);
        self.black_hole_replies(open);
    }

    pub fn black_hole_requests(&self, open: bool) {
        self.shared
            .link
            .send_modify(|link| link.requests_vanish = open);
    }

    pub fn black_hole_replies(&self, open: bool) {
        self.shared
            .link
            .send_modify(|link| link.replies_vanish = open);
    }

    /// Resets every open connection, whatever is under way.
    pub fn reset_connections(&self) {
        self.shared.link.send_modify(|link| link.resets += 1);
    }

    /// How many such requests came since the start, whatever befell them.
    pub fn requests(&self, operation: &str) -> usize {
        self.shared
            .traffic()
            .counts
            .get(operation)
            .copied()
            .unwrap_or(0)
    }

    /// Whether to keep the requests that come.
    pub fn record(&self, on: bool) {
        self.shared.traffic().recording = on;
    }

    pub fn recorded(&self) -> Vec<Recorded> {
        self.shared.traffic().recorded.clone()
    }

    /// Sends a request again, past the proxy and its faults, as a network that duplicates would. The raw reply comes back.
    pub async fn replay(&self, request: &Recorded) -> io::Result<Vec<u8>> {
        raw::exchange(self.wire, self.upstream(), &request.bytes).await
    }

    fn inject(&self, operation: &str, n: usize, fault: Fault) {
        let mut traffic = self.shared.traffic();
        traffic.faults.push((operation.to_owned(), n, fault));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    upstream: watch::Receiver<SocketAddr>,
    wire: Wire,
    shared: Arc<Shared>,
) {
    // Aborted with this task.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                let upstream = *upstream.borrow();
                connections.spawn(relay(client, upstream, wire, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
