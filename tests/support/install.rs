//! What a server needs before it starts: its program, and a folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// A folder for one server's data and log.
pub fn home(name: &str) -> Result<TempDir> {
    let home = tempfile::Builder::new()
        .prefix(&format!("doclock-{name}-"))
        .tempdir()?;
    std::fs::create_dir(home.path().join("data"))?;
    // Before the shell makes it: who reads the log need not wait for it.
    std::fs::write(home.path().join("log"), "")?;
    Ok(home)
}

/// Where `localstack/fetch.sh` keeps this server; it downloads on first use.
pub fn fetch(server: &str) -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("localstack/fetch.sh");
    let output = Command::new(&script).arg(server).output();
    let output = output.with_context(|| format!("cannot run {}", script.display()))?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}
