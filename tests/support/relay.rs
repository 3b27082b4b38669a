//! One connection through the [`Proxy`](super::proxy::Proxy).

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::Mutex;

use super::traffic::{Fault, Link, Shared};
use super::wire::Wire;

/// How a connection ends for the client.
enum End {
    Closed,
    Reset,
}

struct Relay<'a> {
    wire: Wire,
    shared: &'a Shared,
    /// Replies to requests that went to the server, by tag, or by number where the wire has no tags.
    doomed: Mutex<HashMap<u32, Fault>>,
    /// Both ways write here: a canned answer does not come from the server.
    client: Mutex<WriteHalf<'a>>,
}

pub(super) async fn relay(
    mut client: TcpStream,
    upstream: SocketAddr,
    wire: Wire,
    shared: Arc<Shared>,
) {
    let end = match TcpStream::connect(upstream).await {
        Ok(server) => carry(&mut client, server, wire, &shared).await,
        Err(error) => Err(error),
    };
    if !matches!(end, Ok(End::Closed)) {
        // The kernel now answers with RST when the stream is dropped.
        let _ = client.set_zero_linger();
    }
}

async fn carry(
    client: &mut TcpStream,
    mut server: TcpStream,
    wire: Wire,
    shared: &Shared,
) -> io::Result<End> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let relay = Relay {
        wire,
        shared,
        doomed: Mutex::default(),
        client: Mutex::new(to_client),
    };
    let mut link = shared.link.subscribe();
    let resets = link.borrow().resets;
    tokio::select! {
        end = relay.requests(from_client, to_server) => end,
        end = relay.replies(from_server) => end,
        _ = link.wait_for(|link| link.resets != resets) => Ok(End::Reset),
    }
}

impl Relay<'_> {
    async fn requests(&self, from: ReadHalf<'_>, mut server: WriteHalf<'_>) -> io::Result<End> {
        let mut from = BufReader::new(from);
        let mut forwarded = 0;
        while let Some(request) = self.wire.read_request(&mut from).await? {
            let fault = self.shared.note(&request);
            self.travel(|link| link.requests_vanish).await;
            match fault {
                Some(Fault::DropRequest) => return Ok(End::Reset),
                Some(Fault::Answer(reply)) => {
                    let reply = self.wire.addressed(reply, request.tag);
                    self.client.lock().await.write_all(&reply).await?;
                    continue;
                }
                Some(fault) => {
                    let tag = request.tag.unwrap_or(forwarded);
                    self.doomed.lock().await.insert(tag, fault);
                }
                None => {}
            }
            server.write_all(&request.bytes).await?;
            forwarded += 1;
        }
        Ok(End::Closed)
    }

    async fn replies(&self, from: ReadHalf<'_>) -> io::Result<End> {
        let mut from = BufReader::new(from);
        let mut count = 0;
        while let Some(reply) = self.wire.read_reply(&mut from).await? {
            let doom = self.doomed.lock().await.remove(&reply.tag.unwrap_or(count));
            count += 1;
            self.travel(|link| link.replies_vanish).await;
            let mut client = self.client.lock().await;
            match doom {
                None => client.write_all(&reply.bytes).await?,
                Some(Fault::CutReply) => {
                    client
                        .write_all(&reply.bytes[..reply.bytes.len() / 2])
                        .await?;
                    // No reset: it would take back the half that was sent.
                    return Ok(End::Closed);
                }
                Some(_) => return Ok(End::Reset),
            }
        }
        Ok(End::Closed)
    }

    /// The time that one message takes: the link's delay, and as long as it vanishes.
    async fn travel(&self, vanishes: impl Fn(&Link) -> bool) {
        let mut link = self.shared.link.subscribe();
        let delay = link.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        // The sender lives in `shared`, so this cannot fail.
        let _ = link.wait_for(|link| !vanishes(link)).await;
    }
}
