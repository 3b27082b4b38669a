//! The job that one instance does.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use doclock::{Election, Leader, LockClient, Result};
use tokio::time::interval;

/// How long nobody does the job if its instance dies.
const TTL: Duration = Duration::from_secs(3);

pub(crate) struct Job {
    election: Election,
    /// This instance's term while it leads, or 0.
    term: AtomicU64,
}

impl Job {
    pub(crate) fn new(locks: &LockClient, address: SocketAddr) -> Self {
        let election = locks.election("example:service").ttl(TTL).data(&address);
        Self {
            election,
            term: AtomicU64::new(0),
        }
    }

    /// Ends only with an error that no waiting helps against.
    pub(crate) async fn work_whenever_elected(&self) -> Result<()> {
        let work = self.election.run_as_leader(async |leadership| {
            let _term = Term::begin(&self.term, leadership.term());
            let mut ticks = interval(Duration::from_millis(200));
            loop {
                ticks.tick().await;
                // Stands for the work. What it writes elsewhere carries the term: it is a fencing token.
                tracing::debug!(term = leadership.term(), "worked");
            }
        });
        work.await
    }

    /// This instance's term, while it leads.
    pub(crate) fn term(&self) -> Option<u64> {
        Some(self.term.load(Ordering::Relaxed)).filter(|term| *term > 0)
    }

    /// Who leads, as far as the database knows.
    pub(crate) async fn leader(&self) -> Result<Option<Leader>> {
        self.election.leader().await
    }
}

/// Shows the term until it is dropped, as the work is when it is lost.
struct Term<'a>(&'a AtomicU64);

impl<'a> Term<'a> {
    fn begin(shown: &'a AtomicU64, term: u64) -> Self {
        shown.store(term, Ordering::Relaxed);
        tracing::info!(term, "this instance leads");
        Self(shown)
    }
}

impl Drop for Term<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
        tracing::info!("this instance leads no more");
    }
}
