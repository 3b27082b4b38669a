//! The commands of the guide and the README, run as they are written there.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use super::command::{BOUND, ended};
use crate::processes::site::on_every_server;

const PAGES: [(&str, &str); 3] = [
    ("README.md", include_str!("../../README.md")),
    ("start.md", include_str!("../../docs/start.md")),
    ("operations.md", include_str!("../../docs/operations.md")),
];

/// The lines of a page's shell blocks that run the command. What is said of them behind a `#` is a shell's comment too.
fn commands(page: &str) -> impl Iterator<Item = &str> {
    let blocks = page.split("```sh\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split_once("```"));
    let lines = blocks.flat_map(|(block, _)| block.lines());
    lines.filter(|line| line.starts_with("doclock "))
}

/// By a shell, in a folder that has the script of the examples.
fn by_a_shell(line: &str, url: &str, folder: &Path) -> Result<Command> {
    let binary = Path::new(env!("CARGO_BIN_EXE_doclock"));
    let mut paths = vec![binary.parent().context("no folder")?.to_owned()];
    paths.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("exec {line}")])
        .current_dir(folder)
        .env("DOCLOCK_URL", url)
        .env("PATH", std::env::join_paths(paths)?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    Ok(command)
}

async fn runs(line: &str, url: &str, folder: &Path) -> Result<()> {
    let mut command = by_a_shell(line, url, folder)?;
    if !line.starts_with("doclock watch") {
        let end = ended(command).await?;
        ensure!(end.code == Some(0), "{end:?}");
        return Ok(());
    }
    // It would go on for ever.
    let mut child = command.spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    let line = timeout(BOUND, lines.next_line()).await??;
    ensure!(line.is_some(), "it shows nothing");
    Ok(child.kill().await?)
}

on_every_server! {
    async fn the_guides_commands_do_what_they_say(site: Site) {
        let url = site.fresh().await?;
        let folder = TempDir::new()?;
        let script = folder.path().join("report.sh");
        std::fs::write(&script, "#!/bin/sh\n")?;
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755))?;
        let mut seen = 0;
        for (name, page) in PAGES {
            let locks = ::doclock::connect(&url).await?;
            // What is shown, watched, and released by force.
            let _lease = locks.lock("payment:42").acquire().await?;
            for line in commands(page) {
                runs(line, &url, folder.path()).await.with_context(|| format!("{name}: {line}"))?;
                seen += 1;
            }
            locks.shutdown().await;
        }
        ensure!(seen >= 10, "{seen} commands");
    }
}
