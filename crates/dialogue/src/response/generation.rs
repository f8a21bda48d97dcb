//! One generation: a request to the language model, and its text and function calls so far.

use std::time::Duration;

use super::clause_splitter::ClauseSplitter;
use crate::{
    call_time::CallTime,
    spoken_text::speakable,
    types::{FunctionCall, GenerationId, UtteranceId},
};

/// A model without a sign of life for this long has failed.
const NO_ANSWER: Duration = Duration::from_secs(4);
/// A model that stops within its response for this long has failed.
const STALLED: Duration = Duration::from_secs(4);
/// Maximum text of a generation, in bytes: half an hour of speech.
const MAX_TEXT_BYTES: usize = 32 * 1024;
/// Maximum number of clauses of a generation.
const MAX_CLAUSES: usize = 300;
/// Maximum number of function calls of a generation.
const MAX_CALLS: usize = 64;

/// A generation in progress.
#[derive(Debug)]
pub(super) struct Generation {
    id: GenerationId,
    /// When it was started, or the model last gave a sign of life.
    alive_at: CallTime,
    is_alive: bool,
    text: String,
    splitter: ClauseSplitter,
    /// The utterance of its text, if any of it can be said.
    utterance: Option<UtteranceId>,
    clauses: usize,
    tool_calls: Vec<FunctionCall>,
    is_too_long: bool,
}

impl Generation {
    pub(super) fn new(id: GenerationId, at: CallTime) -> Self {
        Self {
            id,
            alive_at: at,
            is_alive: false,
            text: String::new(),
            splitter: ClauseSplitter::default(),
            utterance: None,
            clauses: 0,
            tool_calls: vec![],
            is_too_long: false,
        }
    }

    pub(super) fn id(&self) -> GenerationId {
        self.id
    }

    pub(super) fn utterance(&self) -> Option<UtteranceId> {
        self.utterance
    }

    /// When the model has taken too long.
    pub(super) fn due(&self) -> CallTime {
        self.alive_at + if self.is_alive { STALLED } else { NO_ANSWER }
    }

    /// The model gave a sign of life.
    pub(super) fn mark_alive(&mut self, at: CallTime) {
        self.alive_at = at;
        self.is_alive = true;
    }

    /// Adds text, up to the maximum.
    pub(super) fn add_text(&mut self, text: &str) {
        let room = MAX_TEXT_BYTES - self.text.len();
        self.is_too_long |= text.len() > room;
        let text = &text[..text.floor_char_boundary(room)];
        self.text.push_str(text);
        self.splitter.push(text);
    }

    /// Adds a function call, unless its id is known, up to the maximum.
    pub(super) fn add_tool_call(&mut self, call: FunctionCall) {
        if self.tool_calls.iter().any(|known| known.id == call.id) {
            return;
        }
        if self.tool_calls.len() < MAX_CALLS {
            self.tool_calls.push(call);
        } else {
            self.is_too_long = true;
        }
    }

    /// Whether the model went on beyond a maximum: nothing more is taken from it.
    pub(super) fn is_too_long(&self) -> bool {
        self.is_too_long
    }

    /// Whether it has led to a clause or a function call.
    pub(super) fn has_result(&self) -> bool {
        self.utterance.is_some() || !self.tool_calls.is_empty()
    }

    /// The next clause that can be said; the rest too if the text is complete.
    pub(super) fn next_clause(&mut self, is_complete: bool) -> Option<String> {
        loop {
            let splitter = &mut self.splitter;
            let clause = splitter.next_clause().or_else(|| is_complete.then(|| splitter.rest()).flatten())?;
            let Some(clause) = speakable(&clause) else { continue };
            if self.clauses == MAX_CLAUSES {
                self.is_too_long = true;
                return None;
            }
            self.clauses += 1;
            return Some(clause);
        }
    }

    /// The utterance of its text, which begins with the first clause.
    pub(super) fn utterance_or_begin(&mut self, begin: impl FnOnce() -> UtteranceId) -> UtteranceId {
        *self.utterance.get_or_insert_with(begin)
    }

    /// Text that is no clause yet is not said.
    pub(super) fn drop_rest(&mut self) {
        self.splitter = ClauseSplitter::default();
    }

    /// Its whole text, if any of it can be said, and its function calls.
    pub(super) fn into_result(self) -> (Option<String>, Vec<FunctionCall>) {
        (self.utterance.map(|_| self.text.trim().to_owned()), self.tool_calls)
    }
}
