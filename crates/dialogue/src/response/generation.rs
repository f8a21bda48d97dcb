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
    tool_calls: Vec<FunctionCall>,
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
            tool_calls: vec![],
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

    pub(super) fn add_text(&mut self, text: &str) {
        self.text.push_str(text);
        self.splitter.push(text);
    }

    /// Adds a function call, unless its id is known.
    pub(super) fn add_tool_call(&mut self, call: FunctionCall) {
        if self.tool_calls.iter().all(|known| known.id != call.id) {
            self.tool_calls.push(call);
        }
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
            if let Some(clause) = speakable(&clause) {
                return Some(clause);
            }
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
