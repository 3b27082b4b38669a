//! A picture of who did what, and when.

use std::time::{Duration, Instant};

/// What one column stands for.
pub(crate) const COLUMN: Duration = Duration::from_millis(50);

/// What somebody did, from when on.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    start: Instant,
    marks: Vec<(Duration, char)>,
}

impl Row {
    pub(crate) fn new(name: &'static str, start: Instant) -> Self {
        let marks = Vec::new();
        Self { name, start, marks }
    }

    pub(crate) fn mark(&mut self, doing: char) {
        self.marks.push((self.start.elapsed(), doing));
    }

    /// What it did at the start of each column.
    pub(crate) fn picture(&self) -> Vec<char> {
        let end = self.marks.last().map_or(Duration::ZERO, |mark| mark.0);
        let columns = (0..).map(|column| COLUMN * column);
        let columns = columns.take_while(|at| *at <= end);
        let doing = |at| self.marks.iter().rev().find(|mark| mark.0 <= at);
        let doing = |at| doing(at).map_or(' ', |mark| mark.1);
        columns.map(doing).collect()
    }
}
