//! Typed reading of a document's fields, with errors that name the field by its whole path.

use std::fmt::Display;

use mongodb::bson::{Bson, Document};

use crate::record::Ttl;
use crate::time::Timestamp;
use crate::{Error, Mode, Result};

/// A document, and where it stands in the record.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    document: &'a Document,
    /// The array and the index in it. A path is only written out for an error.
    element: Option<(&'static str, usize)>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(document: &'a Document) -> Self {
        Self {
            document,
            element: None,
        }
    }

    /// The documents of an array.
    pub(super) fn elements<T>(
        &self,
        array: &'static str,
        read: impl Fn(&Fields<'a>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let Bson::Array(values) = self.value(array)? else {
            return Err(self.wrong_type(array, "an array"));
        };
        let element = |(index, value): (usize, &'a Bson)| match value {
            Bson::Document(document) => read(&Self {
                document,
                element: Some((array, index)),
            }),
            _ => Err(Error::corrupt(
                &format!("{array}.{index}"),
                "is not a document",
            )),
        };
        values.iter().enumerate().map(element).collect()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.document.contains_key(name)
    }

    pub(super) fn wrong(&self, name: &str, what: impl Display) -> Error {
        match self.element {
            Some((array, index)) => Error::corrupt(&format!("{array}.{index}.{name}"), what),
            None => Error::corrupt(name, what),
        }
    }

    fn wrong_type(&self, name: &str, wanted: &str) -> Error {
        let found = self.document.get(name).map(Bson::element_type);
        let found = found.map(|found| format!("{found:?}")).unwrap_or_default();
        self.wrong(name, format_args!("is not {wanted} but of type {found}"))
    }

    fn value(&self, name: &str) -> Result<&'a Bson> {
        self.document
            .get(name)
            .ok_or_else(|| self.wrong(name, "is missing"))
    }

    pub(super) fn text(&self, name: &str) -> Result<&'a str> {
        match self.value(name)? {
            Bson::String(text) => Ok(text),
            _ => Err(self.wrong_type(name, "a string")),
        }
    }

    /// A string that one of this crate's types accepts.
    pub(super) fn name<T>(&self, name: &str, parse: impl Fn(&'a str) -> Result<T>) -> Result<T> {
        parse(self.text(name)?).map_err(|_| {
            self.wrong(
                name,
                "is empty, longer than 256 bytes or has control characters",
            )
        })
    }

    /// Never a double: it would round a token.
    pub(super) fn integer(&self, name: &str) -> Result<i64> {
        match self.value(name)? {
            Bson::Int32(number) => Ok(i64::from(*number)),
            Bson::Int64(number) => Ok(*number),
            _ => Err(self.wrong_type(name, "an integer")),
        }
    }

    pub(super) fn unsigned(&self, name: &str) -> Result<u64> {
        let number = self.integer(name)?;
        u64::try_from(number).map_err(|_| self.wrong(name, format_args!("is {number}")))
    }

    pub(super) fn time(&self, name: &str) -> Result<Timestamp> {
        match self.value(name)? {
            Bson::DateTime(time) => Ok(Timestamp::from_millis(time.timestamp_millis())),
            _ => Err(self.wrong_type(name, "a date")),
        }
    }

    pub(super) fn ttl(&self, name: &str) -> Result<Ttl> {
        let ms = self.integer(name)?;
        Ttl::from_record(name, ms).map_err(|_| self.wrong(name, format_args!("is {ms}")))
    }

    pub(super) fn mode(&self) -> Result<Mode> {
        let (mode, limit) = (self.text("mode")?, self.integer("limit")?);
        Mode::checked(mode, limit).map_err(|(field, what)| self.wrong(field, what))
    }

    /// `read`, where there is such a field; null is not the same as none.
    pub(super) fn optional<T>(
        &self,
        name: &'static str,
        read: impl Fn(&Self, &'static str) -> Result<T>,
    ) -> Result<Option<T>> {
        self.has(name).then(|| read(self, name)).transpose()
    }
}
