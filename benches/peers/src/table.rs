//! The figures as Markdown.

use crate::measure::{COLUMNS, Figures};

/// Aligned, a row for each lock. No figure is wider than its column's head.
pub(crate) fn table(rows: &[(&str, Figures)]) -> String {
    let head = COLUMNS.map(|column| format!(" {column} |")).concat();
    let rule = COLUMNS.map(|column| format!("{:->1$}|", ":", column.len() + 2));
    let head = format!("| {:22} |{head}\n|{:-<24}|{}\n", "lock", "", rule.concat());
    let lines = rows.iter().map(|(name, figures)| {
        let cells = figures.iter().zip(COLUMNS);
        let cells =
            cells.map(|(figure, column)| format!(" {:>1$} |", number(*figure), column.len()));
        format!("| {name:22} |{}\n", cells.collect::<String>())
    });
    head + &lines.collect::<String>()
}

/// Three digits that count, or all before the point.
fn number(value: f64) -> String {
    let digits = match value {
        ..0.1 => 3,
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}
