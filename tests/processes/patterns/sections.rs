//! Critical sections: what each process writes down of them, and what no history may show.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use doclock::{Lock, LockClient, Mode};
use nix::time::{ClockId, clock_gettime};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The monotonic clock, which is the same for all processes of a machine.
pub fn monotonic() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC)?.into())
}

/// What is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Writer,
    Reader,
    Permit(u32),
}

impl Kind {
    pub fn mode(self) -> Mode {
        match self {
            Self::Writer => Mode::Exclusive,
            Self::Reader => Mode::Shared,
            Self::Permit(limit) => Mode::Permit { limit },
        }
    }

    pub fn lock(self, locks: &LockClient, key: &str) -> Lock<Mode> {
        locks.lock_as(key, self.mode())
    }

    /// How many may stand side by side.
    pub fn room(self) -> usize {
        match self {
            Self::Writer => 1,
            Self::Reader => usize::MAX,
            Self::Permit(limit) => limit as usize,
        }
    }

    /// Whether one must end before the other begins.
    pub fn excludes(self, other: Self) -> bool {
        self == Self::Writer || self != other
    }
}

/// One critical section, by the monotonic clock.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Section {
    pub kind: Kind,
    /// Which acquisition.
    pub id: String,
    pub token: u64,
    /// The lock was asked for.
    pub asked: Duration,
    /// It was granted.
    pub begin: Duration,
    /// The last instant that was certainly protected.
    pub end: Duration,
    /// The release was confirmed.
    pub free: Duration,
}

impl Section {
    /// Whether it was asked for so much earlier.
    pub fn came_before(&self, other: &Self, apart: Duration) -> bool {
        other.asked.saturating_sub(self.asked) > apart
    }

    pub fn waited(&self) -> Duration {
        self.begin.saturating_sub(self.asked)
    }
}

/// A file of one process, with one entry a line.
#[derive(Debug)]
pub struct Log(File);

impl Log {
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self(file.with_context(|| path.display().to_string())?))
    }

    pub fn write(&self, entry: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(entry)? + "\n";
        Ok((&self.0).write_all(line.as_bytes())?)
    }
}

/// All entries of these files.
pub fn read<T: DeserializeOwned>(files: &[PathBuf]) -> Result<Vec<T>> {
    let mut entries = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file)?;
        for line in text.lines() {
            entries.push(serde_json::from_str(line)?);
        }
    }
    Ok(entries)
}

/// Fails if the history shows what no lock allows. How many sections of a kind stood side by side at most, as it began.
pub fn check(sections: &[Section]) -> Result<usize> {
    let mut tokens: Vec<u64> = sections.iter().map(|section| section.token).collect();
    tokens.sort_unstable();
    let twice = tokens.windows(2).find(|pair| pair[0] == pair[1]);
    ensure!(twice.is_none(), "two grants with one token: {twice:?}");

    let mut order: Vec<&Section> = sections.iter().collect();
    order.sort_unstable_by_key(|section| section.begin);
    let mut beside: Vec<&Section> = Vec::new();
    let mut peak = 0;
    for (index, new) in order.iter().enumerate() {
        beside.retain(|other| other.end > new.begin);
        let foe = beside.iter().find(|other| new.kind.excludes(other.kind));
        ensure!(foe.is_none(), "side by side: {foe:?} and {new:?}");
        beside.push(new);
        ensure!(beside.len() <= new.kind.room(), "too many: {beside:?}");
        peak = peak.max(beside.len());
        let earlier = order.iter().take(index);
        let later = earlier
            .filter(|other| new.kind.excludes(other.kind))
            .find(|other| other.token > new.token);
        ensure!(later.is_none(), "token of {later:?} before {new:?}");
    }
    Ok(peak)
}

/// Pairs that exclude each other, and were granted the other way round than this says.
pub fn passed(
    sections: &[Section],
    is_before: impl Fn(&Section, &Section) -> bool,
) -> Vec<(&Section, &Section)> {
    let mut passed = Vec::new();
    for first in sections {
        for second in sections {
            let in_order = first.token < second.token || !first.kind.excludes(second.kind);
            if !in_order && is_before(first, second) {
                passed.push((first, second));
            }
        }
    }
    passed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(kind: Kind, token: u64, begin: u64, end: u64) -> Section {
        let ms = Duration::from_millis;
        Section {
            kind,
            id: token.to_string(),
            token,
            asked: ms(begin),
            begin: ms(begin),
            end: ms(end),
            free: ms(end),
        }
    }

    #[test]
    fn a_history_without_fault_passes() {
        let history = [
            section(Kind::Reader, 1, 0, 10),
            section(Kind::Reader, 3, 1, 20),
            section(Kind::Reader, 2, 2, 12),
            section(Kind::Writer, 4, 20, 30),
            section(Kind::Permit(2), 6, 30, 40),
            section(Kind::Permit(2), 5, 31, 50),
            section(Kind::Permit(2), 7, 40, 60),
        ];
        assert_eq!(check(&history).unwrap(), 3);
        let came_before = |a: &Section, b: &Section| a.came_before(b, Duration::ZERO);
        assert!(passed(&history, came_before).is_empty());
    }

    #[test]
    fn each_fault_is_seen() {
        let reader = section(Kind::Reader, 5, 0, 10);
        for (other, fault) in [
            (section(Kind::Writer, 6, 9, 20), "side by side"),
            (section(Kind::Permit(2), 6, 9, 20), "side by side"),
            (section(Kind::Reader, 5, 9, 20), "one token"),
            (section(Kind::Writer, 4, 10, 20), "token of"),
            (section(Kind::Permit(2), 4, 10, 20), "token of"),
        ] {
            let error = check(&[other, reader.clone()]).unwrap_err().to_string();
            assert!(error.contains(fault), "{error}");
        }
        let permits = [1, 2, 3].map(|n| section(Kind::Permit(2), n, n, 10));
        assert!(
            check(&permits)
                .unwrap_err()
                .to_string()
                .contains("too many")
        );
        assert!(check(&permits[1..]).is_ok());
    }

    #[test]
    fn who_passes_is_seen() {
        let first = section(Kind::Writer, 2, 0, 10);
        let second = section(Kind::Reader, 1, 5, 6);
        let history = [first, second];
        for (apart, count) in [(4, 1), (5, 0)] {
            let apart = Duration::from_millis(apart);
            let found = passed(&history, |a, b| a.came_before(b, apart));
            assert_eq!(found.len(), count);
        }
    }
}
