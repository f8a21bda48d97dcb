//! The values of an evaluation.

use std::{borrow::Cow, cmp::Ordering, rc::Rc};

use serde_json::{Map, Value as Json};

/// The value of an expression. Values of the event are borrowed from it.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    String(Cow<'a, str>),
    /// A list of the event.
    Array(&'a [Json]),
    /// A list that the filter made.
    List(Rc<Vec<Value<'a>>>),
    Object(&'a Map<String, Json>),
}

impl<'a> From<&'a Json> for Value<'a> {
    fn from(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            // Every number is one of both, without `serde_json`'s feature `arbitrary_precision`.
            Json::Number(number) => number
                .as_i64()
                .map(Self::Int)
                .or_else(|| number.as_f64().map(Self::Double))
                .unwrap_or(Self::Null),
            Json::String(text) => Self::String(Cow::Borrowed(text)),
            Json::Array(items) => Self::Array(items),
            Json::Object(members) => Self::Object(members),
        }
    }
}

impl<'a> Value<'a> {
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Array(_) | Self::List(_) => "list",
            Self::Object(_) => "object",
        }
    }

    /// The effort of looking at all of the value: a list's items, an object's members, a string's bytes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::String(text) => text.len(),
            Self::Array(items) => items.len(),
            Self::List(items) => items.len(),
            Self::Object(members) => members.len(),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Double(_) => 1,
        }
    }

    /// The items of a list; none for a value of another type.
    pub(super) fn items(&self) -> Option<Items<'a>> {
        match self {
            Self::Array(items) => Some(Items::Array(items)),
            Self::List(items) => Some(Items::List(Rc::clone(items))),
            _ => None,
        }
    }

    /// The order of two values; none if their types do not compare. A NaN compares with numbers, but has no
    /// order (`Some(None)`).
    #[expect(clippy::option_option, reason = "no comparison, and a comparison without a result")]
    pub(super) fn order(&self, other: &Self) -> Option<Option<Ordering>> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(Some(a.cmp(b))),
            (Self::Double(a), Self::Double(b)) => Some(a.partial_cmp(b)),
            (Self::Int(a), Self::Double(b)) => Some(order(*a, *b)),
            (Self::Double(a), Self::Int(b)) => Some(order(*b, *a).map(Ordering::reverse)),
            (Self::String(a), Self::String(b)) => Some(Some(a.cmp(b))),
            (Self::Bool(a), Self::Bool(b)) => Some(Some(a.cmp(b))),
            _ => None,
        }
    }
}

/// The items of a list.
pub(super) enum Items<'a> {
    Array(&'a [Json]),
    List(Rc<Vec<Value<'a>>>),
}

impl<'a> Items<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Array(items) => items.len(),
            Self::List(items) => items.len(),
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<Value<'a>> {
        match self {
            Self::Array(items) => items.get(index).map(Value::from),
            Self::List(items) => items.get(index).cloned(),
        }
    }
}

/// The exact order of an integer and a double. Conversion to a double would round large integers.
fn order(int: i64, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    match integer(double.trunc()) {
        Some(whole) => Some(int.cmp(&whole).then(0.0_f64.partial_cmp(&double.fract())?)),
        None if double > 0.0 => Some(Ordering::Less),
        None => Some(Ordering::Greater),
    }
}

/// The integer that equals a whole double; none if it is out of range.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the bounds are checked, and doubles represent them exactly"
)]
pub(super) fn integer(whole: f64) -> Option<i64> {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    (-BOUND..BOUND).contains(&whole).then_some(whole as i64)
}
