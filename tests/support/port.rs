//! Free loopback ports.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

/// Below the ephemeral range of Linux, or an outgoing connection could take the port of a server that is being restarted.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// A loopback port that nobody listens on, never the same twice in one process.
pub fn free_port() -> Result<u16> {
    static USED: AtomicU32 = AtomicU32::new(0);
    // Two test runs at once start far from each other.
    let start = std::process::id().wrapping_mul(97);
    (0..COUNT)
        .map(|_| start.wrapping_add(USED.fetch_add(1, Ordering::Relaxed)) % COUNT + FIRST)
        .filter_map(|port| u16::try_from(port).ok())
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .context("no free loopback port")
}

/// `127.0.0.1` with this port.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
