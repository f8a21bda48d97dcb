//! The function calls of a response.

use crate::types::GenerationId;

/// Maximum number of rounds of function calls in one turn: a model that calls more is in a loop.
const MAX_ROUNDS: u32 = 8;

/// The rounds of function calls in one response.
#[derive(Debug, Default)]
pub(super) struct ToolRounds {
    rounds: u32,
    /// The generation whose functions have not all returned.
    waiting_for: Option<GenerationId>,
}

impl ToolRounds {
    /// Begins a round, unless there were too many.
    pub(super) fn begin(&mut self, generation: GenerationId) -> bool {
        let may_call = self.rounds < MAX_ROUNDS;
        if may_call {
            self.rounds += 1;
            self.waiting_for = Some(generation);
        }
        may_call
    }

    /// Whether functions have not returned.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting_for.is_some()
    }

    /// All functions of a generation have returned. True if the response waited for them.
    pub(super) fn end(&mut self, generation: GenerationId) -> bool {
        let is_awaited = self.waiting_for == Some(generation);
        if is_awaited {
            self.waiting_for = None;
        }
        is_awaited
    }

    /// The results are not wanted any more.
    pub(super) fn cancel(&mut self) {
        self.waiting_for = None;
    }
}
