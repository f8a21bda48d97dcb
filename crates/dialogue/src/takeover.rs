//! A call that changes workers: taken over from one, handed over to the next.
//!
//! Nothing that was heard is said again, and nothing is asked twice of the caller: a turn that nobody
//! has answered is answered by the next worker, and what the agent was cut off from saying is said
//! there, unless the caller has something to say first.
//!
//! Calls of tools are not in what a worker leaves behind. One that it had made and not yet used is asked
//! for again by the model, of the next worker: a tool may run twice where a worker dies in between. That
//! is the safe side of two: a caller who never hears whether the table is booked is worse off than an
//! owner of tools who must know a repeated order by its conversation and arguments.

use std::time::Duration;

use super::{CallTime, Engine, Output, answering::Answer, history::History, phrases::Phrases, speech};

/// How long the caller may take to say something before the agent goes on with what was cut off.
pub(super) const UNSPOKEN_AFTER: Duration = Duration::from_secs(1);
/// How long the word being said may take, when the call is handed over.
pub(super) const LAST_WORD: Duration = Duration::from_millis(500);
/// How long the user may finish what they are saying before the call is handed over.
const LAST_TURN: Duration = Duration::from_secs(5);

/// What the agent was cut off from saying.
pub(super) struct Unspoken {
    text: String,
    /// When it is said; none before media flows.
    due: Option<CallTime>,
}

impl Engine {
    /// What is heard by `at` of the message the agent is saying, what is not heard of it and of those
    /// it would say next, and when its first word began. None while nothing was heard: such a message
    /// is not missed, since the turn it was meant for is answered anew. Cheap: it looks at a few
    /// clauses.
    ///
    /// A worker that keeps this can be replaced without notice: the first text belongs in the
    /// conversation as an interrupted message, the second is [`super::Takeover::unspoken`]. If a message
    /// with the same beginning was stored meanwhile, it was told after this and stands instead.
    #[must_use]
    pub fn speaking(&self, at: CallTime) -> Option<(String, String, CallTime)> {
        let at = at.max(self.now);
        let (heard, started_at) = self.playback.in_progress(at)?;
        // Who was only asked for patience gets the answer anew.
        let rest = if self.playback.is_filling() { String::new() } else { self.playback.unheard(at) };
        Some((heard, rest, started_at))
    }

    /// Whether the caller hears the agent, or the agent has stopped and may go on: then every frame of the
    /// caller's audio counts.
    #[must_use]
    pub fn is_audible(&self, at: CallTime) -> bool {
        self.floor.is_paused() || self.playback.is_audible(at.max(self.now))
    }

    /// Takes in what another worker left, if there is any.
    pub(super) fn take_in_what_was(&mut self) {
        let Some(resumed) = &mut self.settings.takeover else { return };
        let phrases = Phrases::of(&self.settings.language);
        self.history = History::resumed(std::mem::take(&mut resumed.history), phrases);
        let text = resumed.unspoken.take().filter(|text| can_be_said(text));
        self.unspoken = text.map(|text| Unspoken { text, due: None });
        self.settings.greeting = None;
    }

    /// Media flows, of a call that another worker held before.
    pub(super) fn take_over(&mut self, at: CallTime, out: &mut Vec<Output>) {
        let before = self.settings.takeover.as_ref().map_or(Duration::ZERO, |resumed| resumed.elapsed);
        self.elapsed = before.saturating_add(at.since(CallTime(0)));
        self.seconds = self.elapsed.as_secs();
        let is_taken = self.answer.is_some() || self.turn.has_words();
        let is_awaited = self.history.ends_with_user() || self.history.ends_with_tools();
        if let Some(unspoken) = &mut self.unspoken {
            unspoken.due = Some(at + UNSPOKEN_AFTER);
        } else if is_awaited && !is_taken {
            // How long the user has waited for the other worker is not known here.
            self.answer(at, at, out);
            if let Some(answer) = self.answer.as_mut().filter(|_| self.history.agent_has_answered()) {
                answer.was_heard_before();
            }
        }
    }

    pub(super) fn unspoken_due(&self) -> Option<CallTime> {
        self.unspoken.as_ref()?.due
    }

    /// Someone who begins to speak gets the time for the first words.
    pub(super) fn put_off_unspoken(&mut self, at: CallTime) {
        if let Some(due) = self.unspoken.as_mut().and_then(|unspoken| unspoken.due.as_mut()) {
            *due = at + UNSPOKEN_AFTER;
        }
    }

    /// The caller said nothing, so the agent goes on.
    pub(super) fn say_unspoken(&mut self) {
        let Some(unspoken) = self.unspoken.take() else { return };
        if self.answer.is_none() && self.ending.is_none() {
            self.answer = Some(Answer::greeting());
            self.say(&unspoken.text);
        }
    }

    /// Hands over when the word being said ends. When that is, is decided once: a voice that delivers
    /// more meanwhile may move the end, and then the word is said again.
    pub(super) fn drain(&mut self, at: CallTime) {
        let end = if self.turn.is_open() {
            // What the user is saying would be lost between the two workers.
            at + LAST_TURN
        } else {
            self.playback.word_ends(at).unwrap_or(at).min(at + LAST_WORD)
        };
        self.draining.get_or_insert(end);
    }

    /// Whether the call is to be handed over now; never while it ends.
    pub(super) fn is_drained(&self, at: CallTime) -> bool {
        self.ending.is_none()
            && self
                .draining
                .is_some_and(|until| until <= at || !(self.playback.is_audible(at) || self.turn.is_open()))
    }

    /// The stream broke: whoever takes over goes on from here.
    pub(super) fn lost(&mut self, at: CallTime, out: &mut Vec<Output>) {
        match self.ending {
            Some(ending) => self.end(at, ending.reason, out),
            None => self.hand_over(at, out),
        }
    }

    /// Like an interruption, but nobody takes the floor.
    pub(super) fn hand_over(&mut self, at: CallTime, out: &mut Vec<Output>) {
        self.ended = true;
        let is_unwritten = self.answer.as_ref().is_some_and(Answer::is_unwritten);
        let unspoken = match &self.answer {
            // Of a call that has not started here, nothing was said.
            None => {
                self.unspoken.take().map(|unspoken| unspoken.text).or_else(|| self.settings.greeting.take())
            }
            // Nobody heard an answer, so it is given anew.
            Some(answer) if answer.is_unheard() && !self.playback.any_answer_heard(at) => None,
            Some(_) => Some(self.playback.unheard(at)),
        };
        self.interrupt(at, out);
        // The model has not said yet what follows from its functions: the next one asks it.
        let goes_on = is_unwritten && self.history.ends_with_tools();
        // Whatever the user has begun to say is to be answered.
        let is_asked = self.end_open_turn(at, out);
        let unspoken = unspoken.filter(|text| !goes_on && !is_asked && can_be_said(text));
        out.push(Output::HandOver { unspoken });
    }
}

fn can_be_said(text: &str) -> bool {
    speech::speakable(text).is_some()
}
