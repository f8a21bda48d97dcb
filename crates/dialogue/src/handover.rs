//! Handover and takeover: a call that changes workers.
//!
//! The agent repeats no heard words, and the caller need not repeat anything: the next worker replies to a turn without
//! a reply, and says the unspoken words of the agent, unless the caller speaks first. [`Unspoken`] holds those words;
//! the order of events is in the engine (`take_over`, `hand_over`).
//!
//! Function calls are left behind once all of a response have returned (`Engine::answered_calls`), with the state that their
//! vendor wants back. Of the others the next worker knows nothing, and the model calls the functions again: a function may
//! run twice when a worker dies in between. That is the safer side: a function can recognise a repeated order by its
//! conversation and arguments, but a caller cannot know whether the table is booked.

use std::time::Duration;

use crate::{call_time::CallTime, spoken_text::speakable};

/// The caller's time to speak before the agent says the unspoken words.
const SAID_AFTER: Duration = Duration::from_secs(1);
/// Maximum time for the agent to finish its word before the call is handed over.
const LAST_WORD: Duration = Duration::from_millis(500);
/// Maximum time for the user to finish their turn before the call is handed over.
const LAST_TURN: Duration = Duration::from_secs(5);

/// When a call that drains is handed over. It is decided once: a synthesizer that delivers more meanwhile may move
/// the end of the word, and then the word is said again.
pub(crate) fn drained_after(at: CallTime, user_speaks: bool, word_ends: Option<CallTime>) -> CallTime {
    if user_speaks {
        // Words that come while no worker listens would be lost.
        at + LAST_TURN
    } else {
        word_ends.unwrap_or(at).min(at + LAST_WORD)
    }
}

/// The rest of a response that nobody has heard.
#[derive(Debug)]
pub(crate) struct Rest {
    /// Its words so far; empty if there are none.
    pub(crate) text: String,
    /// The model had not finished.
    pub(crate) is_incomplete: bool,
}

/// The agent's words that the previous worker or an interruption left unspoken.
#[derive(Debug, Default)]
pub(crate) struct Unspoken {
    rest: Option<Rest>,
    /// When the agent says it; `None` before media flows, and while the user's words hold it back.
    due: Option<CallTime>,
}

impl Unspoken {
    /// Keeps `text` if it can be said.
    pub(crate) fn new(text: Option<String>) -> Self {
        let text = text.filter(|text| can_be_said(text));
        Self::held_back(text.map(|text| Rest { text, is_incomplete: false }))
    }

    /// Keeps what an interruption left.
    pub(crate) fn held_back(rest: Option<Rest>) -> Self {
        Self { rest, due: None }
    }

    pub(crate) fn is_some(&self) -> bool {
        self.rest.is_some()
    }

    /// When the agent says the text.
    pub(crate) fn due(&self) -> Option<CallTime> {
        self.due.filter(|_| self.is_some())
    }

    /// Media flows: the caller gets some time to speak first.
    pub(crate) fn schedule(&mut self, at: CallTime) {
        self.due = Some(at + SAID_AFTER);
    }

    /// The caller begins to speak, and has the same time again for the first words.
    pub(crate) fn put_off(&mut self, at: CallTime) {
        if self.due.is_some() {
            self.schedule(at);
        }
    }

    /// The caller says words. If they are withdrawn, the text is scheduled again.
    pub(crate) fn hold_back(&mut self) {
        self.due = None;
    }

    /// Takes the rest, which is then not said by itself any more.
    pub(crate) fn take(&mut self) -> Option<Rest> {
        self.due = None;
        self.rest.take()
    }
}

/// Whether anything of a text can be said.
pub(crate) fn can_be_said(text: &str) -> bool {
    speakable(text).is_some()
}
