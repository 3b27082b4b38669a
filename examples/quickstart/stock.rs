//! What needs the lock: a number in a file, as in a system that knows no transactions.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

pub(crate) struct Stock {
    file: PathBuf,
}

impl Stock {
    pub(crate) fn at(file: PathBuf) -> Self {
        Self { file }
    }

    pub(crate) fn count(&self) -> Result<usize> {
        let text = fs::read_to_string(&self.file)?;
        text.parse().context("the stock is not a number")
    }

    /// Replaces the file as a whole: nobody reads half a number.
    pub(crate) fn set(&self, count: usize) -> Result<()> {
        let draft = self.file.with_extension(std::process::id().to_string());
        fs::write(&draft, count.to_string())?;
        Ok(fs::rename(draft, &self.file)?)
    }

    /// Reads, thinks, writes. If two do it at once, one update is lost.
    pub(crate) async fn take_one(&self) -> Result<()> {
        let count = self.count()?;
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.set(count.saturating_sub(1))
    }
}
