//! What the agent does with the floor: asks the model, speaks its answer, calls functions, asks again.
//!
//! Silence is never an answer: what fails before anything was spoken is tried once more, then the
//! agent apologises, and after a few such turns in a row it says goodbye.

use std::time::Duration;

use super::{
    CallTime, ConversationEvent, Engine, GenerationId, Latency, Output, ProviderRole, ToolCall,
    engine::{Ending, LAST_WORDS},
    heard::Heard,
    history::{Batch, UtteranceId},
    phrases::Phrases,
    speech::{self, Cutter},
};
use switchboard_model::conversations::EndedReason;

/// Failed turns in a row after which the conversation ends.
pub(super) const FAILED_TURNS: u32 = 3;
/// A model that failed is asked again after so long: what refused it may be over then.
pub(super) const AGAIN_AFTER: Duration = Duration::from_millis(300);
/// A model without a sign of life for this long has failed.
pub(super) const NO_ANSWER: Duration = Duration::from_secs(4);
/// A model that stops in the middle of its answer for this long has failed.
pub(super) const STALLED: Duration = Duration::from_secs(4);
/// How often functions may be called in one turn: a model that goes on is running in circles.
pub(super) const ROUNDS: u32 = 8;
/// How long saying goodbye may take, with a voice that fails once.
const GOODBYE_TAKES: Duration = Duration::from_secs(10);

/// What the agent does until the user has the floor again.
pub(super) struct Answer {
    kind: Kind,
    ask: Option<Ask>,
    /// Functions that have not all answered.
    calling: Option<Batch>,
    rounds: u32,
    failed_once: bool,
    /// When the model is asked again.
    again_at: Option<CallTime>,
    reached: Reached,
    /// The user was asked for patience, and heard it.
    filled: bool,
    spoken_until: CallTime,
    decided_at: CallTime,
    first_words_at: Option<CallTime>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Greeting,
    ToUser,
    /// Our own words, for want of an answer.
    Excuse,
}

/// How far it has come; its later utterances do not take it back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    Nothing,
    /// There are words to be spoken.
    Words,
    /// Audio was sent.
    Audio,
    /// An utterance was heard to its end.
    Ear,
}

/// A generation the model is working on.
struct Ask {
    generation: GenerationId,
    /// When it was made, or the model last gave a sign of life.
    alive_at: CallTime,
    is_alive: bool,
    text: String,
    cutter: Cutter,
    utterance: Option<UtteranceId>,
    calls: Vec<ToolCall>,
}

impl Answer {
    fn new(kind: Kind, spoken_until: CallTime, decided_at: CallTime) -> Self {
        Self {
            kind,
            ask: None,
            calling: None,
            rounds: 0,
            failed_once: false,
            again_at: None,
            reached: Reached::Nothing,
            filled: false,
            spoken_until,
            decided_at,
            first_words_at: None,
        }
    }

    /// The first words of the conversation are not the model's, nor what another worker left unspoken.
    pub(super) fn greeting() -> Self {
        Self::new(Kind::Greeting, CallTime::default(), CallTime::default())
    }

    /// An answer to what the user said until `spoken_until`.
    pub(super) fn to_user(spoken_until: CallTime, decided_at: CallTime) -> Self {
        Self::new(Kind::ToUser, spoken_until, decided_at)
    }

    /// When the user had said what it answers.
    pub(super) fn spoken_until(&self) -> CallTime {
        self.spoken_until
    }

    /// When their turn was over.
    pub(super) fn decided_at(&self) -> CallTime {
        self.decided_at
    }

    /// Whether the user knows that an answer is to come: was asked for patience and has not heard a whole
    /// utterance since, or has heard one while functions are at work on the next.
    pub(super) fn is_patient(&self) -> bool {
        self.filled && self.is_unheard() || self.reached == Reached::Ear && self.is_unwritten()
    }

    /// Whether it answers what the user said.
    pub(super) fn is_to_user(&self) -> bool {
        self.kind == Kind::ToUser
    }

    /// Whether it answers the user, who has not heard a whole utterance of it.
    pub(super) fn is_unheard(&self) -> bool {
        self.kind != Kind::Greeting && self.reached < Reached::Ear
    }

    /// Whether the model or a function is still to say what comes next.
    pub(super) fn is_unwritten(&self) -> bool {
        self.ask.is_some() || self.calling.is_some() || self.again_at.is_some()
    }

    /// The user has heard something of it from another worker, so it need not say more.
    pub(super) fn was_heard_before(&mut self) {
        self.reached = Reached::Ear;
    }

    /// The generation the model is working on.
    pub(super) fn asked(&self) -> Option<GenerationId> {
        self.ask.as_ref().map(|ask| ask.generation)
    }

    /// An utterance of it begins to be sent; how long the user waited, if it is the first.
    pub(super) fn speaks(&mut self, at: CallTime, first_audio_at: CallTime) -> Option<Latency> {
        let is_first = self.reached < Reached::Audio;
        self.reached = self.reached.max(Reached::Audio);
        (is_first && self.kind != Kind::Greeting).then(|| {
            let words_at = self.first_words_at.unwrap_or(first_audio_at);
            waited([self.spoken_until, self.decided_at, words_at, first_audio_at, at])
        })
    }

    /// An utterance of it is over.
    pub(super) fn was_heard(&mut self, heard: &Heard) {
        match (heard.text.is_empty(), heard.is_filler) {
            (true, _) => {}
            (false, true) => self.filled = true,
            (false, false) => self.reached = Reached::Ear,
        }
    }
}

/// The stages between these times. Rounding never adds up: each stage is a difference of two waits
/// since the beginning.
fn waited(times: [CallTime; 5]) -> Latency {
    let mut stages = [0; 4];
    let mut before = 0;
    let mut reached = times[0];
    for (stage, time) in stages.iter_mut().zip(&times[1..]) {
        reached = reached.max(*time);
        let so_far = u64::try_from(reached.since(times[0]).as_millis()).unwrap_or(u64::MAX);
        *stage = so_far - before;
        before = so_far;
    }
    let [transcript_ms, model_ms, voice_ms, send_ms] = stages;
    Latency { transcript_ms, model_ms, voice_ms, send_ms }
}

impl Engine {
    /// The user's turn is over, and the agent has the floor.
    pub(super) fn answer(&mut self, at: CallTime, spoken_until: CallTime, out: &mut Vec<Output>) {
        self.answer = Some(Answer::to_user(spoken_until, at));
        self.ask(at, out);
    }

    /// The model says something that nobody asked for, or not now.
    pub(super) fn speak_unasked(&mut self, at: CallTime, out: &mut Vec<Output>) {
        self.answer = Some(Answer::new(Kind::Greeting, at, at));
        self.ask(at, out);
    }

    fn ask(&mut self, at: CallTime, out: &mut Vec<Output>) {
        let Some(answer) = &mut self.answer else { return };
        let generation = GenerationId(self.requests);
        self.requests = self.requests.saturating_add(1);
        answer.ask = Some(Ask {
            generation,
            alive_at: at,
            is_alive: false,
            text: String::new(),
            cutter: Cutter::default(),
            utterance: None,
            calls: vec![],
        });
        out.push(Output::StartGeneration { generation });
    }

    /// The generation that is being answered, if it is this one; that it lives is noted.
    fn asked(&mut self, at: CallTime, generation: GenerationId) -> Option<&mut Ask> {
        let ask = self.answer.as_mut()?.ask.as_mut().filter(|ask| ask.generation == generation)?;
        ask.alive_at = at;
        ask.is_alive = true;
        Some(ask)
    }

    pub(super) fn model_text(&mut self, at: CallTime, generation: GenerationId, text: &str) {
        let Some(ask) = self.asked(at, generation) else { return };
        ask.text.push_str(text);
        ask.cutter.push(text);
        if let Some(answer) = self.answer.as_mut().filter(|_| !text.trim().is_empty()) {
            answer.first_words_at.get_or_insert(at);
        }
        self.speak_clauses(false);
    }

    /// Has the clauses of the model's text spoken; also what is left, if the text is complete.
    fn speak_clauses(&mut self, is_complete: bool) {
        let Some(answer) = &mut self.answer else { return };
        let Some(ask) = &mut answer.ask else { return };
        while let Some(clause) =
            ask.cutter.next_clause().or_else(|| is_complete.then(|| ask.cutter.rest()).flatten())
        {
            let Some(clause) = speech::speakable(&clause) else { continue };
            answer.reached = answer.reached.max(Reached::Words);
            let utterance = *ask.utterance.get_or_insert_with(|| self.playback.begin());
            self.history.agent_says(utterance, &clause);
            self.playback.add(utterance, clause);
        }
        if let (true, Some(utterance)) = (is_complete, ask.utterance) {
            self.playback.complete(utterance);
        }
    }

    /// What there is to say in the caller's language.
    pub(super) fn phrases(&self) -> &'static Phrases {
        Phrases::of(&self.settings.language)
    }

    /// Has words of our own spoken.
    pub(super) fn say(&mut self, text: &str) {
        let utterance = self.playback.begin();
        for clause in speech::clauses(text) {
            self.history.agent_says(utterance, &clause);
            self.playback.add(utterance, clause);
        }
        self.playback.complete(utterance);
    }

    pub(super) fn model_calls(&mut self, at: CallTime, generation: GenerationId, call: ToolCall) {
        let Some(ask) = self.asked(at, generation) else { return };
        if ask.calls.iter().all(|known| known.id != call.id) {
            ask.calls.push(call);
        }
    }

    pub(super) fn model_finished(&mut self, at: CallTime, generation: GenerationId, out: &mut Vec<Output>) {
        if self.asked(at, generation).is_none() {
            return;
        }
        self.speak_clauses(true);
        let Some(answer) = &mut self.answer else { return };
        let Some(ask) = answer.ask.take() else { return };
        if ask.utterance.is_some() {
            let content = ask.text.trim().to_owned();
            out.push(Output::Event(ConversationEvent::MessageGenerated { content }));
        }
        if !ask.calls.is_empty() && answer.rounds < ROUNDS {
            answer.rounds += 1;
            answer.failed_once = false;
            answer.calling = Some(self.history.called(&ask.calls));
            for call in ask.calls {
                out.push(Output::Event(ConversationEvent::FunctionCall(call.clone())));
                out.push(Output::CallTool(call));
            }
        } else if answer.reached < Reached::Words {
            self.try_again(at, at + AGAIN_AFTER);
        }
    }

    /// What was cut into clauses is spoken, and no more; without any, the model is asked once again.
    pub(super) fn model_failed(&mut self, at: CallTime, generation: GenerationId, out: &mut Vec<Output>) {
        let Some(ask) = self.asked(at, generation) else { return };
        if ask.utterance.is_some() || !ask.calls.is_empty() {
            ask.cutter = Cutter::default();
            self.model_finished(at, generation, out);
        } else {
            self.try_again(at, at + AGAIN_AFTER);
        }
    }

    fn try_again(&mut self, at: CallTime, again_at: CallTime) {
        let Some(answer) = &mut self.answer else { return };
        answer.ask = None;
        if std::mem::replace(&mut answer.failed_once, true) {
            self.excuse(at);
        } else {
            answer.again_at = Some(again_at);
        }
    }

    /// When the model is asked again.
    pub(super) fn again_due(&self) -> Option<CallTime> {
        self.answer.as_ref()?.again_at
    }

    pub(super) fn ask_again(&mut self, at: CallTime, out: &mut Vec<Output>) {
        if let Some(answer) = &mut self.answer {
            answer.again_at = None;
            self.ask(at, out);
        }
    }

    /// There is no answer to this turn. Where there was no turn, nobody waits for one.
    pub(super) fn excuse(&mut self, at: CallTime) {
        let Some(answer) = self.answer.as_mut().filter(|answer| answer.is_to_user()) else { return };
        answer.kind = Kind::Excuse;
        answer.first_words_at.get_or_insert(at);
        self.failed_turns = self.failed_turns.saturating_add(1);
        if self.failed_turns < FAILED_TURNS {
            self.say(self.phrases().apology);
        } else {
            self.say(self.phrases().goodbye);
            self.ending = Some(Ending { reason: EndedReason::Unknown, by: at + GOODBYE_TAKES });
        }
    }

    /// When the model has taken too long.
    pub(super) fn model_due(&self) -> Option<CallTime> {
        let ask = self.answer.as_ref()?.ask.as_ref()?;
        Some(ask.alive_at + if ask.is_alive { STALLED } else { NO_ANSWER })
    }

    pub(super) fn model_is_late(&mut self, at: CallTime, out: &mut Vec<Output>) {
        if let Some(generation) = self.answer.as_ref().and_then(Answer::asked) {
            out.push(Output::Event(ConversationEvent::ProviderTimedOut(ProviderRole::LanguageModel)));
            out.push(Output::CancelGeneration { generation });
            self.model_failed(at, generation, out);
            // It was waited for long enough.
            if let Some(again_at) = self.answer.as_mut().and_then(|answer| answer.again_at.as_mut()) {
                *again_at = at;
            }
        }
    }

    pub(super) fn tool_answered(&mut self, at: CallTime, call: &str, content: String, out: &mut Vec<Output>) {
        let Some(batch) = self.history.answered(call, content) else { return };
        match &mut self.answer {
            Some(answer) if answer.calling == Some(batch) => {
                answer.calling = None;
                if self.ending.is_none() {
                    self.ask(at, out);
                }
            }
            // Who interrupted the function has been answered without its result, and is told of it now.
            None if !self.turn.is_open() && self.ending.is_none() && self.draining.is_none() => {
                self.speak_unasked(at, out);
            }
            Some(_) | None => {}
        }
    }

    /// Nothing more is wanted of the model; clauses that were cut are still spoken.
    pub(super) fn stop_asking(&mut self, out: &mut Vec<Output>) {
        let Some(answer) = &mut self.answer else { return };
        answer.calling = None;
        answer.again_at = None;
        if let Some(ask) = answer.ask.take() {
            out.push(Output::CancelGeneration { generation: ask.generation });
            if let Some(utterance) = ask.utterance {
                self.playback.complete(utterance);
            }
        }
    }

    /// Nobody hears the user any more: the agent finishes its clause, says goodbye, and ends.
    pub(super) fn transcriber_lost(&mut self, at: CallTime, out: &mut Vec<Output>) {
        if self.ending.is_some() || self.draining.is_some() {
            return;
        }
        self.end_open_turn(at, out);
        self.stop_asking(out);
        self.unspoken = None;
        self.go_on_speaking();
        self.playback.keep_what_is_being_said();
        self.answer.get_or_insert_with(Answer::greeting);
        self.say(self.phrases().goodbye);
        self.ending = Some(Ending { reason: EndedReason::Unknown, by: at + LAST_WORDS + GOODBYE_TAKES });
    }

    /// Gives the floor back when everything is said and done. True if there is more to say, because
    /// nothing was: an answer nobody heard is none.
    pub(super) fn close_answer(&mut self, at: CallTime) -> bool {
        let Some(answer) = &self.answer else { return false };
        if answer.is_unwritten() || !self.playback.is_idle() {
            return false;
        }
        if answer.is_to_user() && self.ending.is_none() {
            if answer.reached < Reached::Audio {
                self.excuse(at);
                return true;
            }
            self.failed_turns = 0;
        }
        self.answer = None;
        self.quiet_since = at;
        false
    }
}
