//! Which events a webhook or hook is for: conditions in CEL, the Common Expression Language
//! (<https://cel.dev>).
//!
//! A [`Filter`] is read once, when it is stored, and refused with the place of the mistake. It is
//! evaluated where an event is born, so it is bounded: it is short and flat (below), no macro stands
//! inside another, and an evaluation that takes too many steps fails.
//!
//! # Variables
//!
//! | variable | what it is | null but for | example |
//! |---|---|---|---|
//! | `event` | the event's name | | `event == 'message:sent'` |
//! | `conversation` | `id`, `type`, `status`, `agent_id`, `phone_call`, `metadata` | | `conversation.type == 'inbound_phone_call'` |
//! | `phone_call` | `provider`, `to_number`, `from_number`, `answered_by` of the conversation's call | on the telephone | `phone_call.to_number.startsWith('+49')` |
//! | `metadata` | the agent's own labels, all of them strings | | `metadata.plan == 'gold'` |
//! | `duration` | whole seconds since the conversation started | `conversation:duration` | `duration % 60 == 0` |
//! | `speech` | `role`: `agent` or `user` | `speech:*` | `speech.role == 'user'` |
//! | `message` | `role`, `content`, and once it was sent `started_at`, `ended_at`, `interrupted` | `message:*` | `message.role == 'user' && message.content.contains('goodbye')` |
//! | `function` | `id`, `name`, `arguments` (the JSON that the model wrote; a string if it wrote no JSON) | `function_call:triggered` | `function.name == 'book' && function.arguments.city == 'Paris'` |
//!
//! A variable that an event does not have is null. **A field of null is null, and so is a field that an
//! object does not have**: `metadata.plan == 'gold'` does not match where there is no plan. `has(x.y)`
//! says whether a field is there and not null.
//!
//! # The language
//!
//! All of CEL's operators, lists, `in`, the macros `has`, `all`, `exists`, `exists_one`, `filter` and
//! `map`, and the functions `size`, `contains`, `startsWith`, `endsWith`, `matches` (a regular expression,
//! written out in the filter), `lowerAscii`, `upperAscii`, `int`, `double`, `string` and `bool`. Numbers of
//! both kinds compare and calculate with each other. Objects, bytes and times cannot be written in a filter.
//!
//! # Bounds
//!
//! At most [`MAX_BYTES`] long, brackets nested at most [`MAX_BRACKETS`] deep, operators at most
//! [`MAX_DEPTH`], and at most [`MAX_FILTERS`] in an agent. The parser would recurse as deep as a text
//! nests and overflow the stack: so a text is measured before the parser sees it, the parser stops
//! itself a little deeper, and it runs on a thread with a large stack. What it leaves is flat enough for
//! any stack.
//!
//! Only the parser is the `cel` crate's. Its interpreter has no bound of its own: it would go on for as long
//! as a thousand bytes can make it. Ours counts what it does, has the nulls above, and tells failures
//! without telling values; where it gives a result, the crate's gives the same (tested).
//!
//! # Errors
//!
//! A filter that fails (`message.content.contains('x')` where there is no message) or is not true or false
//! does not match, and a note in the event log says why, once for each webhook or hook of a
//! conversation. Such a failure ([`FilterFailure`]) names types, never what was said.

mod brackets;
mod compile;
mod evaluate;
mod mentions;
mod program;
mod reserved;
mod values;
mod variables;

use std::{
    fmt,
    sync::{Arc, OnceLock},
    thread,
};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use self::program::Program;
pub use self::{
    evaluate::FilterFailure,
    variables::{Lazy, Variables},
};

/// The longest filter, in bytes.
pub const MAX_BYTES: usize = 1_000;
/// The deepest brackets, of any kind, outside of string literals.
pub const MAX_BRACKETS: usize = 16;
/// The deepest expression: `a.b + 1` is three deep.
pub const MAX_DEPTH: usize = 64;
/// The most filters of one agent, those of webhooks and those of hooks together.
pub const MAX_FILTERS: usize = 20;

/// What the parser may recurse on. The worst text of [`MAX_BYTES`] took less than half of it, unoptimized.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// A condition on an event. Cheap to clone; clones share what was compiled.
#[derive(Clone)]
pub struct Filter(Arc<Source>);

struct Source {
    text: String,
    program: OnceLock<Result<Program, FilterError>>,
}

/// The reason why a text is no filter, for the person that wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {message}")]
pub struct FilterError {
    /// The problem, in a few words.
    pub message: String,
    /// Where.
    pub position: Position,
}

/// A place in a filter's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

impl Position {
    /// Of the byte at `offset`, or of the end of the text.
    fn of(text: &str, offset: usize) -> Self {
        let before = &text[..text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

impl Filter {
    /// Reads a filter and compiles it.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let filter = Self::stored(text.to_owned());
        match filter.program() {
            Ok(_) => Ok(filter),
            Err(error) => Err(error.clone()),
        }
    }

    /// One that was read before; it is compiled when it is first needed.
    fn stored(text: String) -> Self {
        Self(Arc::new(Source { text, program: OnceLock::new() }))
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Whether it matches. Takes a few milliseconds at most, whatever was written.
    pub fn matches(&self, variables: &Variables<'_>) -> Result<bool, FilterFailure> {
        match self.program() {
            Ok(program) => program.evaluate(variables),
            Err(error) => Err(FilterFailure::Unreadable(error.clone())),
        }
    }

    /// Whether it may look at `phone_call.answered_by`, which is found out only for those who do.
    #[must_use]
    pub fn mentions_answered_by(&self) -> bool {
        self.program().is_ok_and(Program::mentions_answered_by)
    }

    fn program(&self) -> Result<&Program, &FilterError> {
        self.0.program.get_or_init(|| on_large_stack(&self.0.text)).as_ref()
    }
}

fn on_large_stack(text: &str) -> Result<Program, FilterError> {
    let failed = || FilterError { message: "could not be read".into(), position: Position::of(text, 0) };
    brackets::check(text)?;
    thread::scope(|scope| {
        let compiling =
            thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, || compile::compile(text));
        // No thread to be had, or a bug of the parser: either way it is no filter.
        compiling.map_err(|_| failed())?.join().map_err(|_| failed())?
    })
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Filter {}

/// A filter may hold a phone number.
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
