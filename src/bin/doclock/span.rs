//! Durations and instants as people write them.

use std::time::{Duration, SystemTime};

/// `30s`, `5m`, `1h30m`.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}: write 500ms, 30s, 5m or 1h30m"))
}

/// The same, or `forever`.
pub(crate) fn span_or_forever(text: &str) -> Result<Duration, String> {
    match text {
        "forever" => Ok(Duration::MAX),
        _ => span(text),
    }
}

/// `2030-01-31T03:00:00Z`.
pub(crate) fn instant(text: &str) -> Result<SystemTime, String> {
    humantime::parse_rfc3339(text)
        .map_err(|error| format!("{error}: write 2030-01-31T03:00:00Z, which is UTC"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("1h30m", 5400), ("1h 30m", 5400)] {
            assert_eq!(span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(span_or_forever("forever"), Ok(Duration::MAX));
    }

    #[test]
    fn what_is_no_span_says_what_to_write() {
        for text in ["", "30", "soon", "-1s", "forever"] {
            assert!(span(text).unwrap_err().contains("write 500ms"), "{text}");
        }
    }
}
