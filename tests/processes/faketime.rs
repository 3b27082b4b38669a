//! Whole processes that believe in another time: `libfaketime` lies to every call of theirs, the driver's and the
//! SDK's included.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;

use super::clocks::{Wrong, does_no_harm};
use super::site::on_every_server;
use crate::support::servers;

/// Where the library is; fetched on first use.
fn library() -> Result<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("localstack/faketime.sh");
    let output = Command::new(&script)
        .output()
        .with_context(|| format!("cannot run {}", script.display()))?;
    if !output.status.success() {
        bail!(
            "{}\nGet it, or leave it out knowingly with DOCLOCK_TEST_WITHOUT=faketime",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

on_every_server! {
    async fn a_process_in_another_hour_does_no_harm(site: Site) {
        if servers::without("faketime") {
            return Ok(());
        }
        let library = library()?;
        let url = site.fresh().await?;
        let case = |name, offset, keeps_monotonic| {
            let (library, url) = (&library, &url);
            async move {
                let env = [
                    ("LD_PRELOAD", library.as_str()),
                    ("FAKETIME", offset),
                    ("FAKETIME_DONT_FAKE_MONOTONIC", keeps_monotonic),
                ];
                let result = does_no_harm(site, url, Wrong { name, env: &env, steps: &[] }).await;
                result.map_err(|error| error.context(name))
            }
        };
        try_join_all([
            case("ahead", "+1h", "0"),
            case("behind", "-1h", "0"),
            case("ahead-by-the-wall-only", "+1h", "1"),
            case("behind-by-the-wall-only", "-1h", "1"),
        ])
        .await?;
    }
}
