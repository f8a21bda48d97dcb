//! Reads a request's JSON and reports **every** wrong field, not only the first.
//!
//! A [`Field`] is a JSON value together with its location. Each of its readers returns the typed value, or
//! records the error in [`FieldErrors`] and returns [`Rejected`]. A caller reads all fields first and uses `?`
//! afterwards, so one wrong field hides no other. An error has the shape that the API shows (`loc`, `msg`,
//! `type`); `type` is pydantic's name where pydantic has one.
//!
//! This module knows JSON and locations; it knows no resource of the API. Start at [`Field`].

use std::{
    cell::RefCell,
    fmt::Display,
    ops::{Bound, RangeBounds},
    str::FromStr,
};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use switchboard_model::time::Timestamp;

/// The largest integer that every JSON reader holds exactly (RFC 8259, section 6).
pub const MAX_INTEGER: i64 = (1 << 53) - 1;

/// The range of an integer greater than 0.
pub const POSITIVE: (Bound<i64>, Bound<i64>) = (Bound::Excluded(0), Bound::Included(MAX_INTEGER));

/// Maximum number of errors in one answer: a hostile body of thousands of wrong items must not cause an
/// answer of megabytes.
const MAX_ERRORS: usize = 500;

/// The location of a field, from the outside in: `["body", "agent_config", "webhooks", 0, "url"]`.
pub type Loc = Vec<LocStep>;

/// A field's name, or a place in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Step")]
pub enum LocStep {
    /// The name of a member.
    Field(String),
    /// A place in a list, from 0.
    Index(#[schemars(with = "u64")] usize),
}

/// A wrong field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "WrongField")]
pub struct FieldError {
    /// The location of the field, from the outside in; numbers are places in lists.
    pub loc: Loc,
    /// The reason, for people.
    pub msg: String,
    /// The reason, for programs.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

impl FieldError {
    /// An error at a top-level field: `place` is `body`, `query` or `header`.
    #[must_use]
    pub fn at(place: &str, name: &str, kind: &'static str, msg: impl Into<String>) -> Self {
        Self { loc: [place, name].map(|step| LocStep::Field(step.into())).into(), msg: msg.into(), kind }
    }

    /// The account does not have the item that the field at `loc` names. Unknown, foreign and malformed ids look
    /// the same.
    #[must_use]
    pub fn not_found(loc: Loc) -> Self {
        Self { loc, msg: "Does not exist in this account".into(), kind: "not_found" }
    }
}

/// Collects the errors of one request, in the order in which fields are read.
#[derive(Debug, Default)]
pub struct FieldErrors(RefCell<Vec<FieldError>>);

impl FieldErrors {
    /// Records an error; beyond the first 500 it is dropped.
    pub fn push(&self, error: FieldError) {
        let mut errors = self.0.borrow_mut();
        if errors.len() < MAX_ERRORS {
            errors.push(error);
        }
    }

    /// The recorded errors.
    #[must_use]
    pub fn into_vec(self) -> Vec<FieldError> {
        self.0.into_inner()
    }
}

/// The field was rejected; the reason is recorded in [`FieldErrors`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a field was rejected")]
pub struct Rejected;

/// The result of reading a field.
pub type Read<T> = Result<T, Rejected>;

/// A JSON value and its location.
#[derive(Debug, Clone)]
pub struct Field<'a> {
    value: &'a Value,
    loc: Loc,
    errors: &'a FieldErrors,
}

impl<'a> Field<'a> {
    /// The whole body of a request.
    #[must_use]
    pub fn body(value: &'a Value, errors: &'a FieldErrors) -> Self {
        Self { value, loc: vec![LocStep::Field("body".into())], errors }
    }

    /// The parameters of a request's query, as one JSON object.
    #[must_use]
    pub fn query(value: &'a Value, errors: &'a FieldErrors) -> Self {
        Self { value, loc: vec![LocStep::Field("query".into())], errors }
    }

    /// The unread value.
    #[must_use]
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// The field's location.
    #[must_use]
    pub fn loc(&self) -> &[LocStep] {
        &self.loc
    }

    /// Records that this field is wrong: `kind` for programs, `msg` for people.
    pub fn error(&self, kind: &'static str, msg: impl Into<String>) -> Rejected {
        self.errors.push(FieldError { loc: self.loc.clone(), msg: msg.into(), kind });
        Rejected
    }

    /// [`Field::error`] as the result of a reader.
    pub fn reject<T>(&self, kind: &'static str, msg: impl Into<String>) -> Read<T> {
        Err(self.error(kind, msg))
    }

    /// Records that the account does not have the item that this field names.
    pub fn not_found<T>(&self) -> Read<T> {
        self.errors.push(FieldError::not_found(self.loc.clone()));
        Err(Rejected)
    }

    /// An object whose members are known.
    pub fn object(&self) -> Read<Object<'a>> {
        match self.value {
            Value::Object(members) => Ok(Object { members, field: self.clone() }),
            _ => self.reject("model_attributes_type", "Input should be an object"),
        }
    }

    /// Text.
    pub fn string(&self) -> Read<String> {
        self.str().map(Into::into)
    }

    /// Text, borrowed.
    pub fn str(&self) -> Read<&'a str> {
        self.value.as_str().ok_or_else(|| self.error("string_type", "Input should be a valid string"))
    }

    /// Text of at least one character.
    pub fn non_empty_string(&self) -> Read<String> {
        match self.str()? {
            "" => self.reject("string_too_short", "String should have at least 1 character"),
            text => Ok(text.into()),
        }
    }

    /// True or false.
    pub fn boolean(&self) -> Read<bool> {
        self.value.as_bool().ok_or_else(|| self.error("bool_type", "Input should be a valid boolean"))
    }

    /// A number in `range`.
    pub fn number(&self, range: impl RangeBounds<f64>) -> Read<f64> {
        let number =
            self.value.as_f64().ok_or_else(|| self.error("float_type", "Input should be a valid number"))?;
        self.within(number, &range)
    }

    /// A whole number in `range`; `5.0` is one.
    pub fn integer<T: TryFrom<i64>>(&self, range: impl RangeBounds<i64>) -> Read<T> {
        let Value::Number(number) = self.value else {
            return self.reject("int_type", "Input should be a valid integer");
        };
        let whole = match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole,
            (None, Some(float)) if float.fract() == 0.0 => saturated(float),
            _ => {
                return self.reject(
                    "int_from_float",
                    "Input should be a valid integer, got a number with a fractional part",
                );
            }
        };
        let whole = self.within(whole, &range)?;
        // A range that is wider than the type is a defect of the declaration; it must not wrap silently.
        T::try_from(whole).map_err(|_| self.error("int_parsing_size", "Input should be a smaller integer"))
    }

    fn within<T: PartialOrd + Display>(&self, number: T, range: &impl RangeBounds<T>) -> Read<T> {
        let (kind, rule, bound) = match (range.start_bound(), range.end_bound()) {
            (Bound::Included(min), _) if number < *min => {
                ("greater_than_equal", "greater than or equal to", min)
            }
            (Bound::Excluded(min), _) if number <= *min => ("greater_than", "greater than", min),
            (_, Bound::Included(max)) if number > *max => ("less_than_equal", "less than or equal to", max),
            (_, Bound::Excluded(max)) if number >= *max => ("less_than", "less than", max),
            _ => return Ok(number),
        };
        self.reject(kind, format!("Input should be {rule} {bound}"))
    }

    /// One of the names in `choices`.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Read<T> {
        let chosen = self.value.as_str().and_then(|text| choices.iter().find(|(name, _)| *name == text));
        chosen.map(|(_, choice)| *choice).ok_or_else(|| {
            let names = alternatives(choices.iter().map(|(name, _)| *name));
            self.error("enum", format!("Input should be {names}"))
        })
    }

    /// A list of at least `min` items.
    pub fn list<T>(&self, min: usize, read: impl Fn(&Self) -> Read<T>) -> Read<Vec<T>> {
        let Value::Array(items) = self.value else {
            return self.reject("list_type", "Input should be a valid list");
        };
        if items.len() < min {
            return self
                .reject("too_short", format!("List should have at least {min} item, not {}", items.len()));
        }
        // Every item is read before the first rejected one decides.
        let read: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(index, item)| read(&self.step(item, LocStep::Index(index))))
            .collect();
        read.into_iter().collect()
    }

    /// An object with members of any name.
    pub fn map<M, T>(&self, read: impl Fn(&str, &Self) -> Read<T>) -> Read<M>
    where
        M: FromIterator<(String, T)>,
    {
        let Value::Object(members) = self.value else {
            return self.reject("dict_type", "Input should be an object");
        };
        let read: Vec<_> = members
            .iter()
            .map(|(name, item)| {
                Ok((name.clone(), read(name, &self.step(item, LocStep::Field(name.clone())))?))
            })
            .collect();
        read.into_iter().collect()
    }

    /// Text that parses as a `T`.
    pub fn parsed<T: FromStr<Err: Display>>(&self) -> Read<T> {
        self.str()?.parse().map_err(|error: T::Err| self.error("value_error", error.to_string()))
    }

    /// A point in time, ISO 8601; a time without an offset is UTC.
    pub fn datetime(&self) -> Read<Timestamp> {
        let time = self.value.as_str().and_then(|text| Timestamp::from_iso8601(text).ok());
        time.ok_or_else(|| {
            self.error("datetime_parsing", "Input should be a valid datetime, such as 2026-11-22T09:30:00Z")
        })
    }

    /// The id of an item of the account. A malformed id is reported like an unknown one.
    pub fn id<T: FromStr>(&self) -> Read<T> {
        self.str()?.parse().or_else(|_| self.not_found())
    }

    fn step(&self, value: &'a Value, step: LocStep) -> Self {
        let mut loc = self.loc.clone();
        loc.push(step);
        Self { value, loc, errors: self.errors }
    }
}

/// A JSON object and its location. Unknown members are ignored.
#[derive(Debug, Clone)]
pub struct Object<'a> {
    members: &'a Map<String, Value>,
    field: Field<'a>,
}

impl<'a> Object<'a> {
    /// The member of this name, null included; `None` if it is absent.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<Field<'a>> {
        self.members.get(name).map(|value| self.field.step(value, LocStep::Field(name.into())))
    }

    /// A member that must be present.
    pub fn required<T>(&self, name: &str, read: impl FnOnce(&Field<'a>) -> Read<T>) -> Read<T> {
        match self.member(name) {
            Some(field) => read(&field),
            None => self.missing(name, "Field required"),
        }
    }

    /// A member that may be absent or null.
    pub fn optional<T>(&self, name: &str, read: impl FnOnce(&Field<'a>) -> Read<T>) -> Read<Option<T>> {
        match self.member(name) {
            Some(field) if !field.value.is_null() => read(&field).map(Some),
            _ => Ok(None),
        }
    }

    /// A member that has a default; null means the default too.
    pub fn or<T>(&self, name: &str, default: T, read: impl FnOnce(&Field<'a>) -> Read<T>) -> Read<T> {
        Ok(self.optional(name, read)?.unwrap_or(default))
    }

    /// The member `provider`, which selects one of the `known` alternatives.
    pub fn provider(&self, default: &'static str, known: &[&'static str]) -> Read<&'static str> {
        self.or("provider", default, |field| {
            let text = field.str()?;
            known.iter().find(|name| **name == text).copied().ok_or_else(|| {
                let known = alternatives(known.iter().copied());
                field.error("union_tag_invalid", format!("Unknown provider: should be {known}"))
            })
        })
    }

    /// Records that the member `name` is missing.
    pub fn missing<T>(&self, name: &str, msg: &str) -> Read<T> {
        self.wrong(name, "missing", msg)
    }

    /// Records an error at the member `name`, whether or not it is present.
    pub fn wrong<T>(&self, name: &str, kind: &'static str, msg: impl Into<String>) -> Read<T> {
        self.field.step(&Value::Null, LocStep::Field(name.into())).reject(kind, msg)
    }
}

/// `'a', 'b' or 'c'`.
fn alternatives<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut quoted: Vec<_> = names.map(|name| format!("'{name}'")).collect();
    match (quoted.pop(), quoted.is_empty()) {
        (Some(last), false) => format!("{} or {last}", quoted.join(", ")),
        (last, _) => last.unwrap_or_default(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "`as` saturates; every range ends far below the limits of i64"
)]
fn saturated(whole: f64) -> i64 {
    whole as i64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors_of<T>(value: &Value, read: impl FnOnce(&Field<'_>) -> Read<T>) -> Vec<(&'static str, String)> {
        let errors = FieldErrors::default();
        let is_read = read(&Field::body(value, &errors)).is_ok();
        let errors = errors.into_vec();
        assert_eq!(is_read, errors.is_empty(), "a value or an error, never both or neither");
        errors.into_iter().map(|error| (error.kind, error.msg)).collect()
    }

    fn kind_of<T>(value: &Value, read: impl FnOnce(&Field<'_>) -> Read<T>) -> &'static str {
        errors_of(value, read).first().map_or("ok", |(kind, _)| kind)
    }

    #[test]
    fn an_integer_is_a_whole_number() {
        for (value, kind) in [
            (json!(1), "ok"),
            (json!(5.0), "ok"),
            (json!(MAX_INTEGER), "ok"),
            (json!(MAX_INTEGER + 1), "less_than_equal"),
            (json!(u64::MAX), "less_than_equal"),
            (json!(1e300), "less_than_equal"),
            (json!(0), "greater_than"),
            (json!(-0.0), "greater_than"),
            (json!(-1e300), "greater_than"),
            (json!(5.5), "int_from_float"),
            (json!("5"), "int_type"),
            (json!(true), "int_type"),
            (json!(null), "int_type"),
            (json!([5]), "int_type"),
        ] {
            assert_eq!(kind_of(&value, |field| field.integer::<u64>(POSITIVE)), kind, "{value}");
        }
        assert_eq!(kind_of(&json!(300), |field| field.integer::<u8>(POSITIVE)), "int_parsing_size");
    }

    #[test]
    fn each_kind_of_bound_is_checked() {
        let open = (Bound::Excluded(0.0), Bound::Excluded(1.0));
        for (value, kind) in [
            (json!(0), "greater_than"),
            (json!(1e-9), "ok"),
            (json!(1), "less_than"),
            (json!("0.5"), "float_type"),
            (json!(false), "float_type"),
        ] {
            assert_eq!(kind_of(&value, |field| field.number(open)), kind, "{value}");
        }
        for (value, kind) in [
            (json!(-0.1), "greater_than_equal"),
            (json!(0), "ok"),
            (json!(2.0), "ok"),
            (json!(2.1), "less_than_equal"),
        ] {
            assert_eq!(kind_of(&value, |field| field.number(0.0..=2.0)), kind, "{value}");
        }
    }

    #[test]
    fn every_item_of_a_list_is_read() {
        let errors = errors_of(&json!([1, "a", null]), |field| field.list(0, Field::string));
        assert_eq!(errors.len(), 2);
    }

    #[test]
    fn an_enum_error_lists_the_choices() {
        let message = |names: &[(&str, ())]| errors_of(&json!(0), |field| field.choice(names)).remove(0).1;
        assert_eq!(message(&[("a", ()), ("b", ()), ("c", ())]), "Input should be 'a', 'b' or 'c'");
        assert_eq!(message(&[("a", ())]), "Input should be 'a'");
    }

    #[test]
    fn the_number_of_reported_errors_is_bounded() {
        let items = Value::Array(vec![json!(1); 10_000]);
        assert_eq!(errors_of(&items, |field| field.list(0, Field::string)).len(), MAX_ERRORS);
    }

    #[test]
    fn an_error_has_the_shape_of_fastapi() {
        let errors = FieldErrors::default();
        let body = json!({ "a": [{}] });
        let read = |item: &Field<'_>| item.object()?.required("b", Field::string);
        let _ =
            Field::body(&body, &errors).object().map(|body| body.required("a", |field| field.list(1, read)));
        assert_eq!(
            json!(errors.into_vec()),
            json!([{ "loc": ["body", "a", 0, "b"], "msg": "Field required", "type": "missing" }])
        );
    }
}
