//! Typed reading of attributes, with errors that name the field by its whole path.

use std::fmt::Display;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::time::Timestamp;
use crate::{Error, Mode, Result};

use super::record::Item;

/// A map of attributes, and where it stands in the item.
pub(super) struct Fields<'a> {
    map: &'a Item,
    path: String,
}

impl<'a> Fields<'a> {
    pub(super) fn of(item: &'a Item) -> Self {
        Self {
            map: item,
            path: String::new(),
        }
    }

    pub(super) fn names(&self) -> Vec<&'a str> {
        self.map.keys().map(String::as_str).collect()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    pub(super) fn path(&self, name: &str) -> String {
        if self.path.is_empty() {
            return name.to_owned();
        }
        format!("{}.{name}", self.path)
    }

    pub(super) fn wrong(&self, name: &str, what: impl Display) -> Error {
        Error::corrupt(&self.path(name), what)
    }

    fn value(&self, name: &str) -> Result<&'a AttributeValue> {
        self.map
            .get(name)
            .ok_or_else(|| self.wrong(name, "is missing"))
    }

    pub(super) fn text(&self, name: &str) -> Result<&'a str> {
        let text = self.value(name)?.as_s();
        text.map(String::as_str)
            .map_err(|_| self.wrong(name, "is no string"))
    }

    /// A whole number that is not negative: a record has no others.
    pub(super) fn integer(&self, name: &str) -> Result<i64> {
        let digits = self.value(name)?.as_n();
        let digits = digits.map_err(|_| self.wrong(name, "is no number"))?;
        let parsed = digits.parse::<i64>().ok();
        parsed
            .filter(|number| *number >= 0)
            .ok_or_else(|| self.wrong(name, "is no whole number from 0 to 2^63 - 1"))
    }

    pub(super) fn unsigned(&self, name: &str) -> Result<u64> {
        self.integer(name).map(i64::unsigned_abs)
    }

    pub(super) fn time(&self, name: &str) -> Result<Timestamp> {
        self.integer(name).map(Timestamp::from_millis)
    }

    pub(super) fn whole_seconds(&self, name: &str) -> Result<Timestamp> {
        let seconds = self.integer(name)?;
        Ok(Timestamp::from_millis(seconds.saturating_mul(1000)))
    }

    pub(super) fn mode(&self) -> Result<Mode> {
        let (mode, limit) = (self.text("mode")?, self.integer("limit")?);
        Mode::checked(mode, limit).map_err(|(field, what)| self.wrong(field, what))
    }

    pub(super) fn entries(&self, name: &str) -> Result<Fields<'a>> {
        let map = self.value(name)?.as_m();
        Ok(Fields {
            map: map.map_err(|_| self.wrong(name, "is no map"))?,
            path: self.path(name),
        })
    }

    /// What may be absent, but must not be wrong.
    pub(super) fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Self, &str) -> Result<T>,
    ) -> Result<Option<T>> {
        if self.has(name) {
            return read(self, name).map(Some);
        }
        Ok(None)
    }
}
