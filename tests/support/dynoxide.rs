//! The embedded DynamoDB emulator, over real HTTP.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use dynoxide::Database;
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::sync::oneshot;

/// An empty DynamoDB on a thread and runtime of its own: a `#[tokio::test]` ends its runtime, and every task with it.
#[derive(Debug)]
pub struct Dynoxide {
    addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Dynoxide {
    pub fn start() -> Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let database = Database::memory().context("dynoxide")?;
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                tokio::select! {
                    () = dynoxide::server::serve_on(TcpListener::from_std(listener)?, database) => {}
                    _ = stopped => {}
                }
                Ok(())
            })
        };
        let thread = thread::Builder::new()
            .name("dynoxide".to_owned())
            .spawn(serve)?;
        Ok(Self {
            addr,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

impl Drop for Dynoxide {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
