//! Two ways to do the same, measured in turn.

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
        doclock: impl AsyncFn() -> Result<()>,
        driver: impl AsyncFn() -> Result<()>,
    ) -> Result<()> {
        // Connections, the server's caches, its compiler.
        for _ in 0..self.rounds / 4 {
            doclock().await?;
            driver().await?;
        }
        let style = ProgressStyle::with_template("{prefix:20} {bar:40} {pos}/{len}")?;
        let progress = ProgressBar::new(self.rounds.into())
            .with_style(style)
            .with_prefix(server.to_owned());
        let (mut ours, mut theirs) = (Histogram::<u64>::new(3)?, Histogram::<u64>::new(3)?);
        for round in 0..self.rounds {
            // Whoever comes second may find something warm.
            if round % 2 == 0 {
                time(&doclock, &mut ours).await?;
                time(&driver, &mut theirs).await?;
            } else {
                time(&driver, &mut theirs).await?;
                time(&doclock, &mut ours).await?;
            }
            progress.inc(1);
        }
        progress.finish_and_clear();
        print_line(server, &ours, &theirs);
        Ok(())
    }
}

/// Adds the nanoseconds that it took.
pub(crate) async fn time(
    action: impl AsyncFn() -> Result<()>,
    histogram: &mut Histogram<u64>,
) -> Result<()> {
    let begin = Instant::now();
    action().await?;
    histogram.record(u64::try_from(begin.elapsed().as_nanos())?)?;
    Ok(())
}

pub(crate) fn print_head() {
    println!(
        "{:20}  {:^16}  {:^16}  {:^14}",
        "", "doclock", "driver alone", "ratio"
    );
    println!(
        "{:20}  {:>7}  {:>7}  {:>7}  {:>7}  {:>6}  {:>6}",
        "", "p50", "p99", "p50", "p99", "p50", "p99"
    );
}

fn print_line(server: &str, ours: &Histogram<u64>, theirs: &Histogram<u64>) {
    let [p50, p99] = [0.5, 0.99].map(|quantile| {
        [ours, theirs].map(|histogram| millis(histogram.value_at_quantile(quantile)))
    });
    println!(
        "{server:20}  {:>7.3}  {:>7.3}  {:>7.3}  {:>7.3}  {:>6.2}  {:>6.2}",
        p50[0],
        p99[0],
        p50[1],
        p99[1],
        p50[0] / p50[1],
        p99[0] / p99[1],
    );
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a time of less than a hundred days"
)]
pub(crate) fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}
