//! The shortest of the benchmarks, once: it counts what the documentation says, and its report can be read.

use std::fs;

use anyhow::Result;
use indicatif::ProgressBar;
use tempfile::TempDir;

use crate::report::Report;
use crate::server::{Kind, Site};
use crate::support::servers;
use crate::{Bench, acquire};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_counted_is_told() -> Result<()> {
    if servers::without("dynoxide") {
        return Ok(());
    }
    let site = Site {
        kind: Kind::Dynoxide,
        url: servers::dynoxide_url().to_owned(),
    };
    site.driver(None).await?.locks().setup().await?;
    let bench = Bench {
        site,
        quick: true,
        seed: 1,
        bar: ProgressBar::hidden(),
    };
    let mut report = Report::default();
    acquire::run(&bench, &mut report).await?;
    report.point("keys-time", "dynoxide", (1.0, 1.0));
    report.point("keys-time", "dynoxide", (10.0, 2.0));

    let used = |nth: usize| {
        let usage = report.figures[nth].usage;
        usage.map(|it| (it.requests, it.write_units))
    };
    assert_eq!(used(0), Some((2.0, 2.0)), "acquire and release by doclock");
    assert_eq!(used(7), Some((2.0, 2.0)), "and by hand");

    let folder = TempDir::new()?;
    report.write(folder.path())?;
    let markdown = fs::read_to_string(folder.path().join("report.md"))?;
    let rows = markdown.lines().filter(|line| line.contains(" dynoxide "));
    assert_eq!(rows.count(), report.figures.len());
    for figure in &report.figures {
        assert!(figure.value > 0.0, "{figure:?}");
    }
    assert!(fs::read_to_string(folder.path().join("keys-time.svg"))?.contains("<svg"));
    Ok(())
}
