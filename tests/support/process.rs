//! A child server: signals, restarts, and an end together with the tests (see [`wrapper`](super::wrapper)).

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::poll;
use super::port::loopback;
use super::wrapper::Wrapper;

/// The JVM on two busy cores is the slowest.
const START: Duration = Duration::from_mins(1);
const EXIT: Duration = Duration::from_secs(30);

/// Whether the server at this address answers.
pub type Probe = fn(SocketAddr) -> Pin<Box<dyn Future<Output = bool> + Send>>;

/// What to run. It stays the same over restarts, the port included.
#[derive(Debug)]
pub struct Spec {
    pub name: String,
    pub port: u16,
    pub command: Vec<OsString>,
    /// For `LD_PRELOAD=libfaketime…`, say.
    pub env: Vec<(String, String)>,
    pub answers: Probe,
}

/// One server process, with a folder of its own for data and log.
#[derive(Debug)]
pub struct Server {
    spec: Spec,
    home: PathBuf,
    running: Mutex<Option<Wrapper>>,
}

impl Server {
    /// Starts the server and waits until it answers. `home` is deleted after it.
    pub async fn start(home: TempDir, spec: Spec) -> Result<Self> {
        let server = Self {
            spec,
            home: home.keep(),
            running: Mutex::default(),
        };
        server.restart().await?;
        Ok(server)
    }

    pub fn addr(&self) -> SocketAddr {
        loopback(self.spec.port)
    }

    pub fn log(&self) -> PathBuf {
        self.home.join("log")
    }

    /// The server's own pid, not the wrapper's.
    pub fn pid(&self) -> Result<Pid> {
        let running = self.lock();
        let running = running.as_ref();
        Ok(running
            .with_context(|| format!("{} is down", self.spec.name))?
            .pid)
    }

    /// False once it has ended, by itself or by a signal; a paused server still runs.
    pub fn is_running(&self) -> bool {
        let mut running = self.lock();
        running.as_mut().is_some_and(Wrapper::is_alive)
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(self.pid()?, signal)?)
    }

    /// SIGSTOP: it keeps its connections and answers nothing.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// SIGCONT: it answers everything that came meanwhile.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// SIGKILL. It is gone when this returns; its data is not.
    pub async fn kill(&self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.exit().await
    }

    /// SIGTERM, a clean shutdown. It is gone when this returns; its data is not.
    pub async fn terminate(&self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        self.exit().await
    }

    /// Starts it again on the same port and data, after killing it if it still runs, and waits until it answers.
    pub async fn restart(&self) -> Result<()> {
        if self.is_running() {
            self.kill().await?;
        }
        let running = Wrapper::spawn(&self.home, &self.spec.command, &self.spec.env)?;
        *self.lock() = Some(running);
        let what = format!("{} answers", self.spec.name);
        let started = poll::until_some(&what, START, || async {
            if (self.spec.answers)(self.addr()).await {
                return Some(true);
            }
            (!self.is_running()).then_some(false)
        });
        match started.await {
            Ok(true) => Ok(()),
            Ok(false) => bail!("{} ended at once:\n{}", self.spec.name, self.tail()),
            Err(error) => bail!("{error}:\n{}", self.tail()),
        }
    }

    async fn exit(&self) -> Result<()> {
        let what = format!("{} exits", self.spec.name);
        poll::until(&what, EXIT, || async { !self.is_running() }).await?;
        *self.lock() = None;
        Ok(())
    }

    fn tail(&self) -> String {
        let log = std::fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn lock(&self) -> MutexGuard<'_, Option<Wrapper>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = self.lock().take() {
            running.end();
        }
        // There is no wrapper to do it when the server was down.
        let _ = std::fs::remove_dir_all(&self.home);
    }
}
