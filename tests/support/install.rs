//! What a server needs before it starts: its program, and a folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
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
    said(Command::new(script("fetch.sh")).arg(server)).map(PathBuf::from)
}

/// The library that gives a process another time when it is preloaded; fetched on first use.
pub fn faketime() -> Result<String> {
    said(&mut Command::new(script("faketime.sh"))).map_err(|error| {
        anyhow!("{error}\nGet it, or leave it out knowingly with DOCLOCK_TEST_WITHOUT=faketime")
    })
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("localstack")
        .join(name)
}

fn said(command: &mut Command) -> Result<String> {
    let output = command.output();
    let output =
        output.with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
