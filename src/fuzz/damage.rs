//! What can be wrong with one field of a record, the same for every database.

use bolero::TypeGenerator;

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TypeGenerator)]
pub(crate) enum Damage {
    Missing,
    Null,
    Flag,
    Text,
    List,
    Map,
    Negative,
    Fraction,
    NotANumber,
    /// The largest number that a database of 64 bits has.
    Largest,
    /// One that it has not, where it can be written.
    TooLarge,
}

/// A field that this crate writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
}

/// What stands in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As large as can be.
    Count,
    /// Up to some limit far below that.
    Bounded,
    Text,
    Time,
    List,
    Map,
}

impl Kind {
    /// A field that must be there.
    pub(crate) const fn needed(self, name: &'static str) -> Field {
        let kind = self;
        Field {
            name,
            kind,
            required: true,
        }
    }

    /// A field that may be missing.
    pub(crate) const fn optional(self, name: &'static str) -> Field {
        let kind = self;
        Field {
            name,
            kind,
            required: false,
        }
    }
}
