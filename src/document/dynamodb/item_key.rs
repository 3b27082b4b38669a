//! What names an item.

use aws_sdk_dynamodb::types::AttributeValue;

/// The key of an item: its partition key's value, and its sort key's if the table has one.
///
/// ```
/// use doclock::document::dynamodb::ItemKey;
///
/// let one: ItemKey = "alice".into();
/// let number: ItemKey = 42.into();
/// let both: ItemKey = ("alice", 2026).into();
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ItemKey {
    pub(super) partition: AttributeValue,
    pub(super) sort: Option<AttributeValue>,
}

/// One value of a key: a string or a number.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyValue(AttributeValue);

impl From<&str> for KeyValue {
    fn from(text: &str) -> Self {
        Self(AttributeValue::S(text.to_owned()))
    }
}

impl From<String> for KeyValue {
    fn from(text: String) -> Self {
        Self(AttributeValue::S(text))
    }
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl From<$number> for KeyValue {
            fn from(number: $number) -> Self {
                Self(AttributeValue::N(number.to_string()))
            }
        }
    )*};
}
numbers!(i32 i64 u32 u64);

/// Any attribute; one that is neither a string nor a number is reported when the item is locked.
impl From<AttributeValue> for KeyValue {
    fn from(value: AttributeValue) -> Self {
        Self(value)
    }
}

impl<P: Into<KeyValue>> From<P> for ItemKey {
    fn from(partition: P) -> Self {
        Self {
            partition: partition.into().0,
            sort: None,
        }
    }
}

impl<P: Into<KeyValue>, S: Into<KeyValue>> From<(P, S)> for ItemKey {
    fn from((partition, sort): (P, S)) -> Self {
        Self {
            partition: partition.into().0,
            sort: Some(sort.into().0),
        }
    }
}
