//! What was measured, as Markdown, JSON and plots.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::meter::Usage;
use crate::plot::{self, Plot};

/// One measured quantity on one server.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) benchmark: &'static str,
    pub(crate) server: String,
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// To the raw calls, in the same run.
    pub(crate) ratio: Option<f64>,
    /// What the ratio should be, at most.
    pub(crate) goal: Option<f64>,
    /// Of one operation.
    pub(crate) usage: Option<Usage>,
}

impl Figure {
    pub(crate) fn new(
        benchmark: &'static str,
        server: &impl ToString,
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
    ) -> Self {
        Self {
            benchmark,
            server: server.to_string(),
            what: what.into(),
            value,
            unit,
            ratio: None,
            goal: None,
            usage: None,
        }
    }

    pub(crate) fn ratio(self, ratio: f64) -> Self {
        Self {
            ratio: Some(ratio),
            ..self
        }
    }

    pub(crate) fn goal(self, goal: f64) -> Self {
        Self {
            goal: Some(goal),
            ..self
        }
    }

    pub(crate) fn usage(self, usage: Usage) -> Self {
        Self {
            usage: Some(usage),
            ..self
        }
    }

    fn cells(&self) -> [String; COLUMNS] {
        let goal = self.goal.zip(self.ratio).map(|(goal, ratio)| {
            let verdict = if ratio <= goal { "ok" } else { "above goal" };
            format!("≤ {goal}: {verdict}")
        });
        let units = |of: fn(Usage) -> f64| {
            let is_charged = self.server.starts_with("dyn");
            self.usage.filter(|_| is_charged).map(of)
        };
        let cell = |value: Option<f64>| value.map(number).unwrap_or_default();
        [
            self.what.clone(),
            self.server.clone(),
            format!("{} {}", number(self.value), self.unit),
            cell(self.ratio),
            goal.unwrap_or_default(),
            cell(self.usage.map(|usage| usage.requests)),
            cell(self.usage.map(|usage| usage.writes)),
            cell(units(|usage| usage.write_units)),
            cell(units(|usage| usage.read_units)),
        ]
    }
}

const COLUMNS: usize = 9;
const HEAD: [&str; COLUMNS] = [
    "", "server", "figure", "ratio", "goal", "requests", "writes", "WCU", "RCU",
];

/// All figures of a run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) command: String,
    pub(crate) figures: Vec<Figure>,
    plots: BTreeMap<&'static str, Plot>,
}

impl Report {
    pub(crate) fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// A point of a curve in one of the [plots](plot::PLOTS).
    pub(crate) fn point(&mut self, plot: &'static str, curve: impl Into<String>, at: (f64, f64)) {
        // Nothing has no place on a logarithmic axis.
        if at.1 <= 0.0 {
            return;
        }
        let curves = &mut self.plots.entry(plot).or_default().curves;
        curves.entry(curve.into()).or_default().push(at);
    }

    /// `report.md`, `report.json`, and a file for each plot.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("report.md"), self.markdown())?;
        fs::write(folder.join("report.json"), serde_json::to_vec_pretty(self)?)?;
        for (name, plot) in &self.plots {
            plot::draw(name, plot, &folder.join(format!("{name}.svg")))?;
        }
        Ok(())
    }

    /// A table for each benchmark.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("# Benchmarks\n\n    {}\n", self.command);
        let mut names = Vec::new();
        for figure in &self.figures {
            // Another server's come later.
            if !names.contains(&figure.benchmark) {
                names.push(figure.benchmark);
            }
        }
        for name in names {
            let of_it = self.figures.iter().filter(|of| of.benchmark == name);
            let rows: Vec<_> = of_it.map(Figure::cells).collect();
            let _ = write!(text, "\n## {name}\n\n{}", table(&rows));
        }
        text
    }
}

/// Aligned. Columns without a word are left out.
fn table(rows: &[[String; COLUMNS]]) -> String {
    let head = HEAD.map(str::to_owned);
    let used: Vec<usize> = (0..HEAD.len())
        .filter(|column| rows.iter().any(|row| !row[*column].is_empty()))
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().chain([&head]).map(|row| &row[column]);
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let line = |row: &[String; COLUMNS]| {
        let cells = used.iter().map(|column| {
            let (cell, width) = (&row[*column], width(*column));
            if *column < 2 {
                format!(" {cell:<width$} |")
            } else {
                format!(" {cell:>width$} |")
            }
        });
        format!("|{}\n", cells.collect::<String>())
    };
    let rule = used.iter().map(|column| {
        let dashes = "-".repeat(width(*column) + 1);
        let end = if *column < 2 { "-" } else { ":" };
        format!("{dashes}{end}|")
    });
    let mut text = line(&head) + &format!("|{}\n", rule.collect::<String>());
    text.extend(rows.iter().map(line));
    text
}

/// Three digits that count, or all before the point.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        ..1e-9 => 0,
        ..0.1 => 4,
        ..1.0 => 3,
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}
