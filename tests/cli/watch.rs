//! `doclock watch`: changes as lines, and a table on a terminal.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use super::command::plain;
use super::operator::run_on_terminal;
use crate::processes::site::on_every_server;

/// A `watch` that is under way, and what it prints.
struct Watch {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watch {
    fn start(url: &str, args: &str) -> Result<Self> {
        let mut child = plain(url, &format!("watch --interval 100ms {args}")).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        Ok(Self {
            _child: child,
            lines,
        })
    }

    /// The next line, without its time.
    async fn next(&mut self) -> Result<String> {
        let line = tokio::time::timeout(Duration::from_mins(1), self.lines.next_line()).await??;
        let line = line.context("it ended")?;
        ensure!(!line.contains('\x1b'), "an escape code: {line:?}");
        let (time, change) = line.split_once(' ').context("no time")?;
        ensure!(time.ends_with('Z'), "{line}");
        Ok(change.to_owned())
    }
}

on_every_server! {
    async fn each_change_is_a_line(site: Site) {
        let url = site.fresh().await?;
        let locks = ::doclock::connect(&url).await?;
        let first = locks.lock("k").owner("ann").label("nightly").acquire().await?;
        let mut one = Watch::start(&url, "k")?;
        let mut all = Watch::start(&url, "")?;
        let held = format!("k: held by ann (nightly), token {}", first.token());
        assert_eq!(one.next().await?, held);
        assert_eq!(all.next().await?, held);
        let other = locks.lock("other").owner("bea").acquire().await?;
        assert_eq!(all.next().await?, format!("other: held by bea, token {}", other.token()));
        first.release().await?;
        let left = format!("k: no longer {}", held.trim_start_matches("k: "));
        assert_eq!(one.next().await?, left);
        assert_eq!(all.next().await?, left);
    }

    async fn a_terminal_shows_a_table(site: Site) {
        let url = site.fresh().await?;
        let locks = ::doclock::connect(&url).await?;
        let _lease = locks.lock("k").owner("ann").acquire().await?;
        let (_, screen) = run_on_terminal(plain(&url, "watch"), "ann", || None).await?;
        assert!(screen.starts_with("\x1b[H\x1b[J"), "{screen:?}");
        assert!(screen.contains("\x1b[1mKEY"), "{screen:?}");
    }
}
