//! A document's id as the text that a [`Key`] is.

use std::fmt::Write;

use serde_json::Value;

use crate::{Key, Result};

/// The key of an id. Characters that a key must not have are written as JSON writes them.
pub(crate) fn key(id: &Value) -> Result<Key> {
    let json = id.to_string();
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
