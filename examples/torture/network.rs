//! What happens between a client and its server.

use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;
use tokio::time::{Instant, sleep};

use crate::clients::Clients;
use crate::faults::Faults;
use crate::support::proxy::Proxy;

/// How many requests or replies in a row get lost.
const LOSSES: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Fault {
    Latency,
    RequestsVanish,
    RepliesVanish,
    BlackHole,
    Reset,
    RequestsLost,
    /// Applied, and nobody knows.
    RepliesLost,
    RepliesCut,
}

const FAULTS: [Fault; 8] = [
    Fault::Latency,
    Fault::RequestsVanish,
    Fault::RepliesVanish,
    Fault::BlackHole,
    Fault::Reset,
    Fault::RequestsLost,
    Fault::RepliesLost,
    Fault::RepliesCut,
];

/// Disturbs one link after another until `end`, and leaves all of them well.
pub(crate) async fn disturb(
    clients: &Clients,
    faults: &Faults,
    mut rng: Rng,
    end: Instant,
) -> Result<()> {
    let proxies: Vec<&Proxy> = clients.proxies().collect();
    while Instant::now() < end {
        sleep(Duration::from_millis(rng.u64(200..2000))).await;
        let proxy = proxies[rng.usize(..proxies.len())];
        let fault = FAULTS[rng.usize(..FAULTS.len())];
        let long = Duration::from_millis(rng.u64(500..6000));
        let _alone = clients.network.lock().await;
        faults.begin(fault.name())?;
        fault.begin(proxy, clients.writes(), &mut rng);
        sleep(long).await;
        mend(proxy);
        faults.end().await?;
    }
    Ok(())
}

fn mend(proxy: &Proxy) {
    proxy.delay(Duration::ZERO);
    proxy.black_hole(false);
    proxy.clear_faults();
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::RequestsVanish => "requests vanish",
            Self::RepliesVanish => "replies vanish",
            Self::BlackHole => "nothing passes",
            Self::Reset => "connections reset",
            Self::RequestsLost => "requests lost",
            Self::RepliesLost => "applied, replies lost",
            Self::RepliesCut => "applied, replies cut in the middle",
        }
    }

    fn begin(self, proxy: &Proxy, writes: &[&str], rng: &mut Rng) {
        let write = writes[rng.usize(..writes.len())];
        match self {
            Self::Latency => proxy.delay(Duration::from_millis(rng.u64(20..400))),
            Self::RequestsVanish => proxy.black_hole_requests(true),
            Self::RepliesVanish => proxy.black_hole_replies(true),
            Self::BlackHole => proxy.black_hole(true),
            Self::Reset => proxy.reset_connections(),
            Self::RequestsLost => proxy.drop_requests_of(write, LOSSES),
            Self::RepliesLost => proxy.drop_replies_of(write, LOSSES),
            Self::RepliesCut => proxy.cut_replies_of(write, LOSSES),
        }
    }
}
