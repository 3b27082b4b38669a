//! `--once-per` and `--slot`: a slot that has run is no failure.

use anyhow::Result;

use super::command::{End, Notes, ended};
use crate::processes::site::on_every_server;

/// A slot that does not end while the test runs, but for one that runs over a year's end.
const YEARLY: &str = "--once-per 365days";
const PAST: &str = "--slot 2026-01-31T03:00:00Z";

async fn run(notes: &Notes, url: &str, args: &str, code: i32) -> Result<End> {
    let script = format!("echo ran >> runs; exit {code}");
    ended(notes.doclock(url, &format!("run --no-wait {args}"), &script)).await
}

on_every_server! {
    async fn a_slot_runs_once(site: Site) {
        let (url, notes) = (site.fresh().await?, Notes::new()?);
        for (key, slot) in [("yearly", YEARLY), ("past", PAST)] {
            let first = run(&notes, &url, &format!("{slot} {key}"), 0).await?;
            assert_eq!((first.code, first.stderr.as_str()), (Some(0), ""));
            let again = run(&notes, &url, &format!("{slot} {key}"), 0).await?;
            assert_eq!(again.code, Some(0), "{again:?}");
            assert_eq!(again.stderr, format!("doclock: `{key}`: has run already, nothing to do\n"));
        }
        assert_eq!(notes.read("runs"), "ran\nran\n");
    }

    /// Once is once, unless told otherwise.
    async fn a_run_that_failed_is_repeated_if_asked_for(site: Site) {
        let (url, notes) = (site.fresh().await?, Notes::new()?);
        for code in [5, 0] {
            let end = run(&notes, &url, &format!("{YEARLY} once"), code).await?;
            assert_eq!(end.code, Some(code), "skipped, or failed");
        }
        assert_eq!(notes.read("runs"), "ran\n");
        for code in [5, 0, 0] {
            let end = run(&notes, &url, &format!("{YEARLY} --at-least-once more"), code).await?;
            assert_eq!(end.code, Some(code), "{end:?}");
        }
        assert_eq!(notes.read("runs"), "ran\n".repeat(3));
    }
}
