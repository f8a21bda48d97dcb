//! The types of fields: text, numbers, choices, lists, maps, ids.

#![expect(
    clippy::redundant_closure_for_method_calls,
    reason = "a method's path is not general over the lifetime of the field"
)]

use std::{fmt::Display, ops::Bound, ops::RangeBounds, str::FromStr};

use schemars::JsonSchema;
use serde_json::{Value, json};

use super::field_type::FieldType;
use crate::validation::{Field, POSITIVE, Read};

/// Any text.
pub(crate) fn text<'c>() -> FieldType<'c, String> {
    FieldType::plain(|field| field.string(), json!({ "type": "string" }))
}

/// Text of at least one character.
pub(crate) fn non_empty_text<'c>() -> FieldType<'c, String> {
    FieldType::plain(|field| field.non_empty_string(), json!({ "type": "string", "minLength": 1 }))
}

/// Text of at least one character, where an empty object stands for `kept`. The official TypeScript client writes `{}` for
/// a member that its types declare as a union of names and text, whatever its caller set. The schema does not show it.
pub(crate) fn name_or<'c>(kept: String) -> FieldType<'c, String> {
    FieldType::plain(
        move |field| match field.value() {
            Value::Object(members) if members.is_empty() => Ok(kept.clone()),
            _ => field.non_empty_string(),
        },
        json!({ "type": "string", "minLength": 1 }),
    )
}

/// True or false.
pub(crate) fn boolean<'c>() -> FieldType<'c, bool> {
    FieldType::plain(|field| field.boolean(), json!({ "type": "boolean" }))
}

/// True or false in a query, where it arrives as text: the words that pydantic reads, in any case.
pub(crate) fn flag<'c>() -> FieldType<'c, bool> {
    FieldType::plain(
        |field| {
            // 0 and 1 arrive as numbers.
            let text =
                field.value().as_str().map_or_else(|| field.value().to_string(), str::to_ascii_lowercase);
            match &*text {
                "true" | "t" | "yes" | "y" | "on" | "1" => Ok(true),
                "false" | "f" | "no" | "n" | "off" | "0" => Ok(false),
                _ => {
                    field.reject("bool_parsing", "Input should be a valid boolean, unable to interpret input")
                }
            }
        },
        json!({ "type": "boolean" }),
    )
}

/// A number in `range`.
pub(crate) fn number<'c>(range: impl RangeBounds<f64> + 'c) -> FieldType<'c, f64> {
    let mut schema = json!({ "type": "number", "format": "double" });
    match range.start_bound() {
        Bound::Included(min) => schema["minimum"] = json!(min),
        Bound::Excluded(min) => schema["exclusiveMinimum"] = json!(min),
        Bound::Unbounded => {}
    }
    match range.end_bound() {
        Bound::Included(max) => schema["maximum"] = json!(max),
        Bound::Excluded(max) => schema["exclusiveMaximum"] = json!(max),
        Bound::Unbounded => {}
    }
    let range = (range.start_bound().cloned(), range.end_bound().cloned());
    FieldType::plain(move |field| field.number(range), schema)
}

/// A whole number in `range`, which must lie within `T`.
pub(crate) fn integer<'c, T: TryFrom<i64> + JsonSchema + 'c>(
    range: impl RangeBounds<i64>,
) -> FieldType<'c, T> {
    let range = (range.start_bound().cloned(), range.end_bound().cloned());
    let reader = move |field: &Field<'_>| field.integer(range);
    FieldType::new(reader, move |generator, _| {
        let mut schema: Value = generator.subschema_for::<T>().into();
        match range.0 {
            Bound::Included(min) => schema["minimum"] = json!(min),
            Bound::Excluded(min) => schema["minimum"] = json!(min + 1),
            Bound::Unbounded => {}
        }
        match range.1 {
            Bound::Included(max) => schema["maximum"] = json!(max),
            Bound::Excluded(max) => schema["maximum"] = json!(max - 1),
            Bound::Unbounded => {}
        }
        schema
    })
}

/// A whole number in `range`, which must lie within `T`, in a query.
pub(crate) fn count<'c, T: TryFrom<i64> + 'c>(range: std::ops::RangeInclusive<i64>) -> FieldType<'c, T> {
    let schema = json!({ "type": "integer", "minimum": range.start(), "maximum": range.end() });
    FieldType::plain(move |field| field.integer(range.clone()), schema)
}

/// A whole number from 1 to [`MAX_INTEGER`](crate::validation::MAX_INTEGER).
pub(crate) fn positive<'c>() -> FieldType<'c, u64> {
    integer(POSITIVE)
}

/// One of these names.
pub(crate) fn choice<'c, T: Copy + JsonSchema + 'c>(choices: &'c [(&'c str, T)]) -> FieldType<'c, T> {
    FieldType::new(|field| field.choice(choices), |generator, _| generator.subschema_for::<T>().into())
}

/// A list of at least `min` items.
pub(crate) fn list<'c, T: 'c>(min: usize, item: impl Into<FieldType<'c, T>>) -> FieldType<'c, Vec<T>> {
    let item = std::rc::Rc::new(item.into());
    let reader = item.clone();
    FieldType::new(
        move |field| field.list(min, |item| reader.read(item)),
        move |generator, form| {
            let mut schema = json!({ "type": "array", "items": item.schema(generator, form) });
            if min > 0 {
                schema["minItems"] = json!(min);
            }
            schema
        },
    )
}

/// An object with members of any name.
pub(crate) fn map<'c, M, T: 'c>(item: impl Into<FieldType<'c, T>>) -> FieldType<'c, M>
where
    M: FromIterator<(String, T)> + 'c,
{
    let item = std::rc::Rc::new(item.into());
    let reader = item.clone();
    FieldType::new(
        move |field| field.map(|_, value| reader.read(value)),
        move |generator, form| json!({ "type": "object", "additionalProperties": item.schema(generator, form) }),
    )
}

/// Text that parses as a `T`.
pub(crate) fn parsed<'c, T: FromStr<Err: Display> + JsonSchema + 'c>() -> FieldType<'c, T> {
    read_as(|field| field.parsed())
}

/// A value that `reader` reads, and that is shown as a `T`.
pub(crate) fn read_as<'c, T: JsonSchema + 'c>(
    reader: impl Fn(&Field<'_>) -> Read<T> + 'c,
) -> FieldType<'c, T> {
    FieldType::new(reader, |generator, _| generator.subschema_for::<T>().into())
}

/// A point in time, ISO 8601; UTC if it names no offset.
pub(crate) fn datetime<'c>() -> FieldType<'c, switchboard_model::time::Timestamp> {
    FieldType::plain(|field| field.datetime(), json!({ "type": "string", "format": "date-time" }))
}
