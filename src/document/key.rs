//! A document's id as the text that a [`Key`] is.

use std::fmt::Write;

use crate::{Key, Result};

/// The key of an id, which is JSON. Characters that a key must not have are written by their numbers.
pub(crate) fn key(json: &str) -> Result<Key> {
    if !json.contains(char::is_control) {
        return Key::new(json);
    }
    let escaped = json.chars().fold(String::new(), |mut text, char| {
        if char.is_control() {
            // Writing to a string does not fail.
            let _ = write!(text, "\\u{:04x}", u32::from(char));
        } else {
            text.push(char);
        }
        text
    });
    Key::new(escaped)
}
