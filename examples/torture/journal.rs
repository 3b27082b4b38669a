//! What each process writes down, and all of it together.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use nix::time::{ClockId, clock_gettime};

use crate::history::{Event, What};

/// How the files are named that together are the history.
const EXTENSION: &str = "jsonl";

/// Nanoseconds on the clock that all processes of this machine share.
pub(crate) fn now() -> Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    let seconds = u64::try_from(time.tv_sec())?;
    Ok(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec())?)
}

/// One process's part of the history. Each event is one `write`, so a SIGKILL loses no more than the event that is being
/// written.
pub(crate) struct Journal {
    file: Mutex<File>,
    client: u32,
}

impl Journal {
    pub(crate) fn open(folder: &Path, name: &str, client: u32) -> Result<Self> {
        let path = folder.join(name).with_extension(EXTENSION);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        Ok(Self {
            file: Mutex::new(file.with_context(|| path.display().to_string())?),
            client,
        })
    }

    /// It happens now.
    pub(crate) fn note(&self, what: What) -> Result<()> {
        self.note_of(self.client, what)
    }

    /// The same, of another than the one who writes.
    pub(crate) fn note_of(&self, client: u32, what: What) -> Result<()> {
        let at = now()?;
        self.write(&Event { at, client, what })
    }

    /// It happened at this time.
    pub(crate) fn note_at(&self, at: u64, what: What) -> Result<()> {
        let client = self.client;
        self.write(&Event { at, client, what })
    }

    fn write(&self, event: &Event) -> Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(file.write_all(&line)?)
    }
}

/// All journals of a folder, in the order of time.
pub(crate) fn collect(folder: &Path) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|name| name == EXTENSION) {
            let text = fs::read_to_string(&path)?;
            events.extend(parse(&text).with_context(|| path.display().to_string())?);
        }
    }
    events.sort_by_key(|event| event.at);
    Ok(events)
}

/// The last line may be cut short: its writer was killed.
fn parse(text: &str) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    for line in text.split_inclusive('\n') {
        match serde_json::from_str(line) {
            Ok(event) => events.push(event),
            Err(error) => ensure!(!line.ends_with('\n'), "{error}: {line}"),
        }
    }
    Ok(events)
}

/// The whole history as one file.
pub(crate) fn write(events: &[Event], path: &Path) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for event in events {
        serde_json::to_writer(&mut file, event)?;
        file.write_all(b"\n")?;
    }
    Ok(file.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_line_may_be_cut_short() -> Result<()> {
        let event = Event {
            at: 1,
            client: 2,
            what: What::Crashed,
        };
        let line = serde_json::to_string(&event)?;
        let (half, _) = line.split_at(line.len() / 2);
        assert_eq!(parse(&format!("{line}\n{line}\n{half}"))?.len(), 2);
        assert!(parse(&format!("{half}\n{line}\n")).is_err());
        Ok(())
    }
}
