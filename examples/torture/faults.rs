//! What is wrong just now, and what has been.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::history::What;
use crate::journal::Journal;

/// Longer than requests wait in a proxy or a server that works again.
pub(crate) const SETTLES: Duration = Duration::from_millis(500);

/// Counts all faults by name, and writes down those of servers and network: while there are any, nobody can promise when
/// somebody gets a lock.
pub(crate) struct Faults {
    journal: Journal,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counts: BTreeMap<String, u64>,
    ongoing: u32,
}

impl Faults {
    pub(crate) fn new(journal: Journal) -> Self {
        let state = Mutex::default();
        Self { journal, state }
    }

    /// Something that needs no mending: a client's misfortune.
    pub(crate) fn count(&self, name: &str) {
        *self.state().counts.entry(name.to_owned()).or_default() += 1;
    }

    /// Servers or network are worse from now on, until [`end`](Self::end).
    pub(crate) fn begin(&self, name: &str) -> Result<()> {
        self.count(name);
        let mut state = self.state();
        state.ongoing += 1;
        let name = name.to_owned();
        self.journal.note(What::Fault { name })
    }

    /// It is mended. Once all is, what was under way meanwhile may still arrive; then all is well.
    pub(crate) async fn end(&self) -> Result<()> {
        sleep(SETTLES).await;
        let mut state = self.state();
        state.ongoing -= 1;
        if state.ongoing == 0 {
            self.journal.note(What::Healed)?;
        }
        Ok(())
    }

    /// Something that happened to a client.
    pub(crate) fn note_of(&self, client: u32, what: What) -> Result<()> {
        self.journal.note_of(client, what)
    }

    pub(crate) fn note(&self, what: What) -> Result<()> {
        self.journal.note(what)
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.state().counts.clone()
    }

    pub(crate) fn total(&self) -> u64 {
        self.state().counts.values().sum()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
