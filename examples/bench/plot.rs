//! Curves, as SVG.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use plotters::prelude::*;
use serde::Serialize;

/// Each with its title and axes, both logarithmic.
pub(crate) const PLOTS: &[(&str, &str, &str, &str)] = &[
    (
        "waiters-writes",
        "Writes for each section, by waiters (4 processes)",
        "waiters",
        "writes",
    ),
    (
        "waiters-sections",
        "Sections a second, by waiters (4 processes)",
        "waiters",
        "sections/s",
    ),
    (
        "processes-writes",
        "Writes for each section, by processes (16 waiters)",
        "processes",
        "writes",
    ),
    (
        "processes-sections",
        "Sections a second, by processes (16 waiters)",
        "processes",
        "sections/s",
    ),
    (
        "holders-time",
        "A shared lock beside others: acquire and release",
        "holders",
        "ms",
    ),
    (
        "holders-units",
        "A shared lock beside others: write units of acquire and release",
        "holders",
        "WCU",
    ),
    (
        "keys-time",
        "One more key: acquire and release",
        "keys held by the client",
        "ms",
    ),
];

/// What one of them shows: points by curve.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Plot {
    pub(crate) curves: BTreeMap<String, Vec<(f64, f64)>>,
}

pub(crate) fn draw(name: &str, plot: &Plot, file: &Path) -> Result<()> {
    let known = PLOTS.iter().find(|known| known.0 == name);
    let (_, title, x, y) = known.context("a plot without a title")?;
    let points = || plot.curves.values().flatten().copied();
    let range = |of: fn((f64, f64)) -> f64| {
        let least = points().map(of).fold(f64::INFINITY, f64::min);
        let most = points().map(of).fold(0.0, f64::max);
        least / 1.3..most * 1.3
    };
    let area = SVGBackend::new(file, (760, 420)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(64)
        .build_cartesian_2d(range(|at| at.0).log_scale(), range(|at| at.1).log_scale())?;
    chart.configure_mesh().x_desc(*x).y_desc(*y).draw()?;
    for (nth, (curve, points)) in plot.curves.iter().enumerate() {
        let color = Palette99::pick(nth).to_rgba();
        let line = LineSeries::new(points.iter().copied(), color.stroke_width(2)).point_size(3);
        chart
            .draw_series(line)?
            .label(curve)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .position(SeriesLabelPosition::UpperLeft)
        .draw()?;
    area.present()?;
    Ok(())
}
