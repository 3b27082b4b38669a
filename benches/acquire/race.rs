//! Three ways to the same end, measured in turn.

use std::time::Instant;

use anyhow::Result;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};

#[derive(Clone, Copy)]
pub(crate) struct Race {
    pub(crate) rounds: u32,
}

impl Race {
    /// Prints a line of the table.
    pub(crate) async fn run(
        self,
        server: &str,
        mut doclock: impl AsyncFnMut() -> Result<()>,
        mut resent: impl AsyncFnMut() -> Result<()>,
        mut by_hand: impl AsyncFnMut() -> Result<()>,
    ) -> Result<()> {
        let style = ProgressStyle::with_template("{prefix:20} {bar:40} {pos}/{len}")?;
        let warm_up = self.rounds / 4;
        let progress = ProgressBar::new((warm_up + self.rounds).into())
            .with_style(style)
            .with_prefix(server.to_owned());
        let mut times = Times::new()?;
        for round in 0..warm_up + self.rounds {
            if round == warm_up {
                times = Times::new()?;
            }
            // Whoever comes later may find something warm: everyone begins as often.
            for turn in round..round + 3 {
                match turn % 3 {
                    0 => time(&mut doclock, &mut times.doclock).await?,
                    1 => time(&mut resent, &mut times.resent).await?,
                    _ => time(&mut by_hand, &mut times.by_hand).await?,
                }
            }
            progress.inc(1);
        }
        progress.finish_and_clear();
        times.print(server);
        Ok(())
    }
}

/// Adds the nanoseconds that it took.
pub(crate) async fn time(
    action: &mut impl AsyncFnMut() -> Result<()>,
    histogram: &mut Histogram<u64>,
) -> Result<()> {
    let begin = Instant::now();
    action().await?;
    histogram.record(u64::try_from(begin.elapsed().as_nanos())?)?;
    Ok(())
}

/// Milliseconds.
#[allow(
    clippy::cast_precision_loss,
    reason = "a time of less than a hundred days"
)]
pub(crate) fn quantile(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1e6
}

struct Times {
    doclock: Histogram<u64>,
    resent: Histogram<u64>,
    by_hand: Histogram<u64>,
}

impl Times {
    fn new() -> Result<Self> {
        Ok(Self {
            doclock: Histogram::new(3)?,
            resent: Histogram::new(3)?,
            by_hand: Histogram::new(3)?,
        })
    }

    fn print(&self, server: &str) {
        let [p50, p99] = [0.5, 0.99].map(|at| {
            [&self.doclock, &self.resent, &self.by_hand].map(|times| quantile(times, at))
        });
        print!("{server:20}");
        for way in 0..3 {
            print!("  {:>7.3}  {:>8.3}", p50[way], p99[way]);
        }
        println!("  {:>6.2}  {:>6.2}", p50[0] / p50[1], p50[0] / p50[2]);
    }
}

pub(crate) fn print_head() {
    println!(
        "{:20}  {:>17}  {:>17}  {:>17}  {:>14}",
        "", "doclock, A", "same requests, B", "by hand, C", "ratio at p50"
    );
    print!("{:20}", "");
    for _ in 0..3 {
        print!("  {:>7}  {:>8}", "p50", "p99");
    }
    println!("  {:>6}  {:>6}", "A / B", "A / C");
}
