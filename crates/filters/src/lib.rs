#![doc = include_str!("../README.md")]

mod compile;
mod evaluate;
mod lexer;
mod mentions;
mod parser;
mod program;
mod syntax;
mod values;
mod variables;

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use self::{compile::compile, program::Program};
pub use self::{
    evaluate::FilterFailure,
    variables::{Lazy, Variables},
};

/// Maximum length of a filter, in bytes.
pub const MAX_BYTES: usize = 1_000;
/// Maximum nesting of brackets of any kind.
pub const MAX_BRACKETS: usize = 16;
/// Maximum height of an expression: that of `a.b + 1` is three.
pub const MAX_DEPTH: usize = 64;
/// Maximum number of filters of one agent, those of webhooks and those of hooks together.
pub const MAX_FILTERS: usize = 20;

/// A condition on an event. Clones are cheap and share the compiled form.
#[derive(Clone)]
pub struct Filter(Arc<Source>);

struct Source {
    text: String,
    program: OnceLock<Result<Program, FilterError>>,
}

/// The reason why a text is no filter, for the author of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {message}")]
pub struct FilterError {
    /// The problem, in a few words.
    pub message: String,
    /// Where the problem is.
    pub position: Position,
}

impl FilterError {
    /// An error at the byte `offset` of `text`.
    fn new(text: &str, offset: usize, message: impl Into<String>) -> Self {
        Self { message: message.into(), position: Position::of(text, offset) }
    }
}

/// A place in a filter's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

impl Position {
    /// The place of the character that holds the byte at `offset`; the length of the text is its end.
    fn of(text: &str, offset: usize) -> Self {
        let before = &text[..text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

impl Filter {
    /// Parses and checks a filter.
    ///
    /// # Errors
    ///
    /// The text is no filter, or exceeds a limit.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let filter = Self::stored(text.to_owned());
        match filter.program() {
            Ok(_) => Ok(filter),
            Err(error) => Err(error.clone()),
        }
    }

    /// A filter that was checked before it was stored. It is compiled on first use.
    fn stored(text: String) -> Self {
        Self(Arc::new(Source { text, program: OnceLock::new() }))
    }

    /// The text, as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Whether the filter matches an event. Takes a few milliseconds at most.
    ///
    /// # Errors
    ///
    /// The filter fails on this event, which then counts as not matched.
    pub fn matches(&self, variables: &Variables<'_>) -> Result<bool, FilterFailure> {
        self.matches_within(variables, evaluate::MAX_STEPS).0
    }

    /// Like [`matches`](Self::matches), with at most `steps` steps; and how many were taken. For several filters that
    /// share a budget. A step takes some 30 ns.
    pub fn matches_within(
        &self,
        variables: &Variables<'_>,
        steps: usize,
    ) -> (Result<bool, FilterFailure>, usize) {
        match self.program() {
            Ok(program) => program.evaluate(variables, steps),
            Err(error) => (Err(FilterFailure::Unreadable(error.clone())), 0),
        }
    }

    /// Whether the filter may read `phone_call.answered_by`. The answer is yes where only an evaluation would
    /// tell.
    #[must_use]
    pub fn mentions_answered_by(&self) -> bool {
        self.program().is_ok_and(Program::mentions_answered_by)
    }

    fn program(&self) -> Result<&Program, &FilterError> {
        self.0.program.get_or_init(|| compile(&self.0.text)).as_ref()
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Filter {}

/// Shows nothing of the text, which may contain a phone number.
impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filter([redacted])")
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::stored)
    }
}

impl JsonSchema for Filter {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Filter".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = String::json_schema(generator);
        schema.insert("format".into(), "cel".into());
        schema.insert("maxLength".into(), MAX_BYTES.into());
        schema
    }
}

#[cfg(test)]
mod tests;
