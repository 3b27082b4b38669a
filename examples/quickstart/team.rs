//! Starts the processes, lets them begin at once, and collects what they tell.

use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::stock::Stock;
use crate::support::{self, team::Team};
use crate::{EACH, PROCESSES};

/// What came of one run.
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) left: usize,
    pub(crate) processes: Vec<Vec<Grant>>,
}

/// One time that a process got the lock.
#[derive(Clone)]
pub(crate) struct Grant {
    pub(crate) token: u64,
    pub(crate) waited: Duration,
}

impl Outcome {
    /// Whatever is left of the stock was taken, and forgotten.
    pub(crate) fn lost(&self) -> usize {
        self.left
    }
}

/// Fills the stock and has four processes empty it.
pub(crate) async fn run(url: &str, name: &'static str, locked: bool) -> Result<Outcome> {
    let folder = TempDir::with_prefix("doclock-quickstart-")?;
    let file = folder.path().join("stock");
    let stock = Stock::at(file.clone());
    stock.set(PROCESSES * EACH)?;

    let file = file.to_str().context("the path of the stock is no text")?;
    let mut arguments = vec!["--stock", file];
    arguments.extend(locked.then_some("--locked"));
    let mut team = Team::start(url, PROCESSES, &arguments).await?;
    let progress = support::progress(PROCESSES * EACH, name)?;
    team.begin_all().await?;
    let mut processes = vec![Vec::new(); PROCESSES];
    while let Some((number, line)) = team.line().await {
        let (token, micros) = line.split_once(' ').context("an unexpected line")?;
        processes[number - 1].push(Grant {
            token: token.parse()?,
            waited: Duration::from_micros(micros.parse()?),
        });
        progress.inc(1);
    }
    let seconds = progress.elapsed().as_secs_f64();
    progress.finish_and_clear();
    team.end().await?;
    println!("  {name:14}  done in {seconds:.1} s");
    Ok(Outcome {
        name,
        left: stock.count()?,
        processes,
    })
}
