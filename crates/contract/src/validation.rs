//! Reading a request's JSON so that **every** wrong field is reported, not only the first.
//!
//! A [`Field`] is a JSON value that knows where it stands. Its readers return the typed value, or
//! [`Noted`] after they have noted in [`Checks`] what is wrong: whoever reads collects all the fields
//! first and puts them together last, so one bad field hides no other. Errors have the shape the
//! API shows (`loc`, `msg`, `type`), with pydantic's names of the types where it has one.

use std::{
    cell::RefCell,
    fmt::Display,
    ops::{Bound, RangeBounds},
    str::FromStr,
};

use serde::Serialize;
use serde_json::{Map, Value};

use switchboard_model::{
    ids::{AgentId, CredentialId},
    phone_numbers::E164,
    time::Timestamp,
};

pub use switchboard_model::limits::MAX_INTEGER;

/// An integer greater than 0.
pub const POSITIVE: (Bound<i64>, Bound<i64>) = (Bound::Excluded(0), Bound::Included(MAX_INTEGER));

/// No more errors than this are listed, so that a hostile body of thousands of wrong items is not
/// answered with megabytes.
const MAX_ERRORS: usize = 500;

/// Where a field stands, from the outside in: `["body", "agent_config", "webhooks", 0, "url"]`.
pub type Loc = Vec<Step>;

/// One step into a JSON document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Step {
    /// Into an object.
    Field(String),
    /// Into a list, from 0.
    Index(usize),
}

/// One wrong field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Where it stands.
    pub loc: Loc,
    /// What is wrong, for people.
    pub msg: String,
    /// What is wrong, for programs.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

impl FieldError {
    /// What `loc` names is not the account's. Unknown, foreign and malformed look the same.
    #[must_use]
    pub fn not_found(loc: Loc) -> Self {
        Self { loc, msg: "Does not exist in this account".into(), kind: "not_found" }
    }

    /// The credential at `loc` is of a provider that the block around it is not of.
    #[must_use]
    pub fn other_provider(loc: Loc, wanted: &str) -> Self {
        Self { loc, msg: format!("Should be a credential of '{wanted}'"), kind: "value_error" }
    }

    /// The account may not call the country of the number at `loc`.
    #[must_use]
    pub fn country_not_allowed(loc: Loc) -> Self {
        let msg = "This account may not call numbers of this country".into();
        Self { loc, msg, kind: "country_not_allowed" }
    }
}

/// Something of the account's that a request names. Only the table knows whether it exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// One of its phone numbers.
    PhoneNumber(E164),
    /// A number it wants to call: in a country where it has a number itself.
    Destination(E164),
    /// One of its agents.
    Agent(AgentId),
    /// One of its credentials.
    Credential {
        /// Which.
        id: CredentialId,
        /// The provider that it is to serve; none if that is wrong itself.
        provider: Option<&'static str>,
    },
}

/// What reading a request found out.
#[derive(Debug, Default)]
pub struct Checks {
    errors: RefCell<Vec<FieldError>>,
    references: RefCell<Vec<(Loc, Reference)>>,
}

impl Checks {
    /// What the request names and whether it exists is still to be looked up; each one that does not
    /// is a [`FieldError::not_found`] at its place.
    #[must_use]
    pub fn references(&self) -> Vec<(Loc, Reference)> {
        self.references.borrow().clone()
    }

    /// Notes a wrong field.
    pub fn push(&self, error: FieldError) {
        let mut errors = self.errors.borrow_mut();
        if errors.len() < MAX_ERRORS {
            errors.push(error);
        }
    }

    /// Every wrong field (the first 500), in the order they were read.
    #[must_use]
    pub fn into_errors(self) -> Vec<FieldError> {
        self.errors.into_inner()
    }
}

/// The field is wrong, and what is wrong is noted in [`Checks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a field is wrong")]
pub struct Noted;

/// What reading a field gives.
pub type Read<T> = Result<T, Noted>;

/// A JSON value and where it stands.
#[derive(Debug, Clone)]
pub struct Field<'a> {
    value: &'a Value,
    loc: Loc,
    checks: &'a Checks,
}

impl<'a> Field<'a> {
    /// The whole body of a request.
    #[must_use]
    pub fn body(value: &'a Value, checks: &'a Checks) -> Self {
        Self { value, loc: vec![Step::Field("body".into())], checks }
    }

    /// The parameters of a request's query, put together as one JSON object.
    #[must_use]
    pub fn query(value: &'a Value, checks: &'a Checks) -> Self {
        Self { value, loc: vec![Step::Field("query".into())], checks }
    }

    /// The value as it came.
    #[must_use]
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// Notes that this field is wrong: `kind` for programs, `msg` for people.
    pub fn note(&self, kind: &'static str, msg: impl Into<String>) -> Noted {
        self.checks.push(FieldError { loc: self.loc.clone(), msg: msg.into(), kind });
        Noted
    }

    /// [`Field::note`] as the result of a reader.
    pub fn fail<T>(&self, kind: &'static str, msg: impl Into<String>) -> Read<T> {
        Err(self.note(kind, msg))
    }

    /// Notes that what this field names does not exist in the account.
    pub fn not_found<T>(&self) -> Read<T> {
        self.checks.push(FieldError::not_found(self.loc.clone()));
        Err(Noted)
    }

    /// Notes that it is to be looked up whether what this field names exists.
    pub fn refer(&self, reference: Reference) {
        self.checks.references.borrow_mut().push((self.loc.clone(), reference));
    }

    /// An object with known members.
    pub fn object(&self) -> Read<Object<'a>> {
        match self.value {
            Value::Object(members) => Ok(Object { members, field: self.clone() }),
            _ => self.fail("model_attributes_type", "Input should be an object"),
        }
    }

    /// Text.
    pub fn string(&self) -> Read<String> {
        self.str().map(Into::into)
    }

    /// Text, borrowed.
    pub fn str(&self) -> Read<&'a str> {
        self.value.as_str().ok_or_else(|| self.note("string_type", "Input should be a valid string"))
    }

    /// Text that is not empty.
    pub fn name(&self) -> Read<String> {
        match self.str()? {
            "" => self.fail("string_too_short", "String should have at least 1 character"),
            text => Ok(text.into()),
        }
    }

    /// True or false.
    pub fn boolean(&self) -> Read<bool> {
        self.value.as_bool().ok_or_else(|| self.note("bool_type", "Input should be a valid boolean"))
    }

    /// A number in `range`.
    pub fn number(&self, range: impl RangeBounds<f64>) -> Read<f64> {
        let number =
            self.value.as_f64().ok_or_else(|| self.note("float_type", "Input should be a valid number"))?;
        self.within(number, &range)
    }

    /// A whole number in `range`; `5.0` is one.
    pub fn integer<T: TryFrom<i64>>(&self, range: impl RangeBounds<i64>) -> Read<T> {
        let Value::Number(number) = self.value else {
            return self.fail("int_type", "Input should be a valid integer");
        };
        let whole = match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole,
            (None, Some(float)) if float.fract() == 0.0 => saturated(float),
            _ => {
                return self.fail(
                    "int_from_float",
                    "Input should be a valid integer, got a number with a fractional part",
                );
            }
        };
        let whole = self.within(whole, &range)?;
        // A range wider than the type is the caller's mistake, but never a silent one.
        T::try_from(whole).map_err(|_| self.note("int_parsing_size", "Input should be a smaller integer"))
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
        self.fail(kind, format!("Input should be {rule} {bound}"))
    }

    /// One of the names in `choices`.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Read<T> {
        let chosen = self.value.as_str().and_then(|text| choices.iter().find(|(name, _)| *name == text));
        chosen.map(|(_, choice)| *choice).ok_or_else(|| {
            let names = alternatives(choices.iter().map(|(name, _)| *name));
            self.note("enum", format!("Input should be {names}"))
        })
    }

    /// A list of at least `min` items, each as `read` has it.
    pub fn list<T>(&self, min: usize, read: impl Fn(&Self) -> Read<T>) -> Read<Vec<T>> {
        let Value::Array(items) = self.value else {
            return self.fail("list_type", "Input should be a valid list");
        };
        if items.len() < min {
            return self
                .fail("too_short", format!("List should have at least {min} item, not {}", items.len()));
        }
        // Every item is read before the first bad one decides.
        let read: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(index, item)| read(&self.step(item, Step::Index(index))))
            .collect();
        read.into_iter().collect()
    }

    /// An object with members of any name, each as `read` has it.
    pub fn map<M, T>(&self, read: impl Fn(&str, &Self) -> Read<T>) -> Read<M>
    where
        M: FromIterator<(String, T)>,
    {
        let Value::Object(members) = self.value else {
            return self.fail("dict_type", "Input should be an object");
        };
        let read: Vec<_> = members
            .iter()
            .map(|(name, item)| Ok((name.clone(), read(name, &self.step(item, Step::Field(name.clone())))?)))
            .collect();
        read.into_iter().collect()
    }

    /// Text that reads as a `T`.
    pub fn parsed<T: FromStr<Err: Display>>(&self) -> Read<T> {
        self.str()?.parse().map_err(|error: T::Err| self.note("value_error", error.to_string()))
    }

    /// A point in time, ISO 8601; without an offset it is UTC.
    pub fn datetime(&self) -> Read<Timestamp> {
        let time = self.value.as_str().and_then(|text| Timestamp::from_iso8601(text).ok());
        time.ok_or_else(|| {
            self.note("datetime_parsing", "Input should be a valid datetime, such as 2026-11-22T09:30:00Z")
        })
    }

    /// The id of something of the account's. A malformed one is one that does not exist.
    pub fn id<T: FromStr>(&self) -> Read<T> {
        self.str()?.parse().or_else(|_| self.not_found())
    }

    fn step(&self, value: &'a Value, step: Step) -> Self {
        let mut loc = self.loc.clone();
        loc.push(step);
        Self { value, loc, checks: self.checks }
    }
}

/// A JSON object and where it stands. Members nobody asks for are ignored.
#[derive(Debug, Clone)]
pub struct Object<'a> {
    members: &'a Map<String, Value>,
    field: Field<'a>,
}

impl<'a> Object<'a> {
    /// The member of this name, null included; none if there is no such member.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<Field<'a>> {
        self.members.get(name).map(|value| self.field.step(value, Step::Field(name.into())))
    }

    /// A member that must be there.
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

    /// The name in the member `provider` that says which of the `known` alternatives this object is.
    pub fn provider(&self, default: &'static str, known: &[&'static str]) -> Read<&'static str> {
        self.or("provider", default, |field| {
            let text = field.str()?;
            known.iter().find(|name| **name == text).copied().ok_or_else(|| {
                let known = alternatives(known.iter().copied());
                field.note("union_tag_invalid", format!("Unknown provider: should be {known}"))
            })
        })
    }

    /// Notes that the member `name` is not there but should be.
    pub fn missing<T>(&self, name: &str, msg: &str) -> Read<T> {
        self.wrong(name, "missing", msg)
    }

    /// Notes what is wrong with the member `name`, beyond what it is by itself.
    pub fn wrong<T>(&self, name: &str, kind: &'static str, msg: impl Into<String>) -> Read<T> {
        self.field.step(&Value::Null, Step::Field(name.into())).fail(kind, msg)
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

#[expect(clippy::cast_possible_truncation, reason = "`as` saturates; callers' ranges end far before i64's")]
fn saturated(whole: f64) -> i64 {
    whole as i64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors_of<T>(value: &Value, read: impl FnOnce(&Field<'_>) -> Read<T>) -> Vec<(&'static str, String)> {
        let checks = Checks::default();
        let read_something = read(&Field::body(value, &checks)).is_ok();
        let errors = checks.into_errors();
        assert_eq!(read_something, errors.is_empty(), "a value or an error, never both or neither");
        errors.into_iter().map(|error| (error.kind, error.msg)).collect()
    }

    fn kind_of<T>(value: &Value, read: impl FnOnce(&Field<'_>) -> Read<T>) -> &'static str {
        errors_of(value, read).first().map_or("ok", |(kind, _)| kind)
    }

    #[test]
    fn an_integer_is_a_whole_number_and_nothing_else() {
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
    fn a_number_is_checked_against_each_kind_of_bound() {
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
    fn every_item_of_a_list_is_read_even_after_a_bad_one() {
        let errors = errors_of(&json!([1, "a", null]), |field| field.list(0, Field::string));
        assert_eq!(errors.len(), 2);
    }

    #[test]
    fn messages_name_the_choices() {
        let message = |names: &[(&str, ())]| errors_of(&json!(0), |field| field.choice(names)).remove(0).1;
        assert_eq!(message(&[("a", ()), ("b", ()), ("c", ())]), "Input should be 'a', 'b' or 'c'");
        assert_eq!(message(&[("a", ())]), "Input should be 'a'");
    }

    #[test]
    fn a_body_of_thousands_of_errors_is_answered_with_some_of_them() {
        let items = Value::Array(vec![json!(1); 10_000]);
        assert_eq!(errors_of(&items, |field| field.list(0, Field::string)).len(), MAX_ERRORS);
    }

    #[test]
    fn an_error_is_shown_as_fastapi_shows_it() {
        let checks = Checks::default();
        let body = json!({ "a": [{}] });
        let read = |item: &Field<'_>| item.object()?.required("b", Field::string);
        let _ =
            Field::body(&body, &checks).object().map(|body| body.required("a", |field| field.list(1, read)));
        assert_eq!(
            json!(checks.into_errors()),
            json!([{ "loc": ["body", "a", 0, "b"], "msg": "Field required", "type": "missing" }])
        );
    }
}
