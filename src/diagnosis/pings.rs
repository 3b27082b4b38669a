//! How long the server takes to answer.

use std::time::Duration;

use super::{CONNECTION, Check};

/// How often it is asked.
const ENOUGH: usize = 5;

/// How long each request took.
#[derive(Debug, Default)]
pub(crate) struct Pings(Vec<Duration>);

impl Pings {
    pub(crate) fn are_enough(&self) -> bool {
        self.0.len() >= ENOUGH
    }

    /// Notes one. Whether it was the fastest, which tells most of the server's time.
    pub(crate) fn took(&mut self, took: Duration) -> bool {
        let fastest = self.0.iter().all(|other| took < *other);
        self.0.push(took);
        fastest
    }

    pub(crate) fn check(mut self) -> Check {
        self.0.sort_unstable();
        let median = self.0.get(self.0.len() / 2).copied().unwrap_or_default();
        let ms = median.as_secs_f64() * 1000.0;
        let found = format!("answers in {ms:.1} ms, the median of {}", self.0.len());
        Check::ok(CONNECTION, found)
    }
}
