//! What is printed: with colour on a terminal only, and without complaint if nobody reads on.

use std::io::{self, ErrorKind, Write};

use clap::builder::styling::{AnsiColor, Style};
use comfy_table::{Table, presets};

use crate::exit::{Exit, Failure};

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const ODD: Style = AnsiColor::Yellow.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// Prints to stdout. Whether anybody reads on.
pub(crate) fn print(text: &str) -> Result<bool, Failure> {
    let mut out = anstream::stdout().lock();
    is_read(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// The same for what is no text, and for what moves a terminal's cursor, with colours or without.
pub(crate) fn print_raw(bytes: &[u8]) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    is_read(out.write_all(bytes).and_then(|()| out.flush()))
}

fn is_read(written: io::Result<()>) -> Result<bool, Failure> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A value as one line of JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    let line = serde_json::to_string(value);
    let line = line.map_err(|error| Failure::new(Exit::SOFTWARE, format!("no JSON: {error}")))?;
    Ok(line + "\n")
}

/// Columns below each other, with a line at the end of each row.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(head)
        .add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text = table.trim_fmt();
    let (head, rows) = text.split_once('\n').unwrap_or((&text, ""));
    format!("{BOLD}{head}{BOLD:#}\n{rows}\n")
}
