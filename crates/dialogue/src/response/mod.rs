//! The responder: generates the agent's turn, from the end of the user's turn until it is the user's turn again.
//!
//! Turn-taking and playback are common to every way of responding. Today there is one: [`Pipeline`], a language model
//! whose text is cut into clauses for a synthesizer. It generates, calls functions, generates again, and handles
//! failures. A speech-to-speech model would be a second responder with the same calls: a turn ended, an utterance was
//! heard, a barge-in. Such a model is truncated at the heard words.
//!
//! Silence is never a reply: a generation that fails before it has led to words is retried once, then the agent
//! apologises, and after a few failed turns in a row it says goodbye. The pipeline decides, and returns [`Effect`]s;
//! it knows neither playback nor history.

pub(crate) mod clause_splitter;
mod generation;
mod hold_phrase;
mod tools;

use std::time::Duration;

pub(crate) use self::hold_phrase::PlaybackState;
use self::{generation::Generation, hold_phrase::Wait, tools::ToolRounds};
use crate::{
    call_time::CallTime,
    types::{FunctionCall, GenerationId, Latency, ModelFault, UtteranceId, UtteranceIds, UtteranceKind},
};

/// Failed turns in a row after which the conversation ends.
const MAX_FAILED_TURNS: u32 = 3;
/// Wait before a failed generation is retried: the reason for a refusal may have passed by then.
const RETRY_AFTER: Duration = Duration::from_millis(300);
/// Time after a hold phrase at which another one may be said in the same turn: functions may run for long.
const HOLD_AGAIN_AFTER: Duration = Duration::from_secs(8);

/// One consequence of the pipeline's decisions. They are carried out in their order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    StartGeneration(GenerationId),
    CancelGeneration(GenerationId),
    /// Another clause of an utterance, which begins if it has not.
    Say(UtteranceId, String),
    /// An utterance has all its clauses.
    Complete(UtteranceId),
    /// The model finished a message.
    MessageGenerated(String),
    CallTools(GenerationId, Vec<FunctionCall>),
    /// The model's response cannot be used as it is.
    ModelFault(ModelFault),
    /// There is no reply to this turn.
    Apologise,
    /// There was no reply to several turns in a row.
    GiveUp,
}

/// The responder of today: a language model, then a synthesizer.
#[derive(Debug, Default)]
pub(crate) struct Pipeline {
    /// None while it is the user's turn.
    response: Option<Response>,
    generations: u32,
    /// Turns in a row without a reply.
    failed_turns: u32,
    /// When the hold phrase was last said.
    held_at: Option<CallTime>,
    /// See [`EngineSettings::watches_model`](crate::EngineSettings::watches_model).
    watches_model: bool,
}

/// The agent's turn.
#[derive(Debug)]
struct Response {
    purpose: Purpose,
    generation: Option<Generation>,
    tools: ToolRounds,
    has_failed: bool,
    /// When the generation is retried.
    retry_at: Option<CallTime>,
    progress: Progress,
    /// Words were said before the functions were called.
    was_announced: bool,
    /// A hold phrase was heard.
    was_held: bool,
    spoken_until: CallTime,
    decided_at: CallTime,
    first_words_at: Option<CallTime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// No turn of the user precedes it: the greeting, a reminder, a late result, a goodbye.
    Unprompted,
    /// It replies to the user's turn.
    Reply,
    /// It apologises for the lack of a reply.
    Apology,
}

/// How far a response has come. It never decreases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    Nothing,
    /// There are words to say.
    Words,
    /// Audio was sent.
    Audio,
    /// An utterance was heard to its end.
    Heard,
}

/// A response that was cut off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interrupted {
    /// The generation that is not wanted any more.
    pub(crate) generation: Option<GenerationId>,
    is_reply: bool,
}

/// The state of a response when playback has been served.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Conclusion {
    /// More is to come, or there is no response.
    None,
    /// It is the user's turn.
    Over,
    /// No audio could be sent: the effect replaces the reply.
    Failed(Effect),
}

impl Response {
    fn new(purpose: Purpose, spoken_until: CallTime, decided_at: CallTime) -> Self {
        Self {
            purpose,
            generation: None,
            tools: ToolRounds::default(),
            has_failed: false,
            retry_at: None,
            progress: Progress::Nothing,
            was_announced: false,
            was_held: false,
            spoken_until,
            decided_at,
            first_words_at: None,
        }
    }

    /// Whether the model or a function still decides what comes next.
    fn is_undecided(&self) -> bool {
        self.generation.is_some() || self.tools.is_waiting() || self.retry_at.is_some()
    }

    fn is_unheard(&self) -> bool {
        self.purpose != Purpose::Unprompted && self.progress < Progress::Heard
    }
}

/// Beginning and ending a response.
impl Pipeline {
    pub(crate) fn new(watches_model: bool) -> Self {
        Self { watches_model, ..Self::default() }
    }

    /// Whether it is the agent's turn.
    pub(crate) fn is_active(&self) -> bool {
        self.response.is_some()
    }

    /// The agent says something that needs no generation.
    pub(crate) fn begin_unprompted(&mut self, at: CallTime) {
        self.response = Some(Response::new(Purpose::Unprompted, at, at));
    }

    /// The agent replies to what the user said until `spoken_until`.
    pub(crate) fn begin_reply(&mut self, at: CallTime, spoken_until: CallTime) {
        self.response = Some(Response::new(Purpose::Reply, spoken_until, at));
    }

    /// The user has heard part of this reply from another worker, so it need not say more.
    pub(crate) fn mark_heard(&mut self) {
        if let Some(response) = &mut self.response {
            response.progress = Progress::Heard;
        }
    }

    /// Starts a generation.
    pub(crate) fn generate(&mut self, at: CallTime) -> Option<Effect> {
        let response = self.response.as_mut()?;
        let id = GenerationId(self.generations);
        self.generations = self.generations.saturating_add(1);
        response.generation = Some(Generation::new(id, at));
        Some(Effect::StartGeneration(id))
    }

    /// Nothing more is wanted of the model. Clauses that exist are still said.
    pub(crate) fn stop_generating(&mut self) -> Vec<Effect> {
        let Some(response) = &mut self.response else { return vec![] };
        response.tools.cancel();
        response.retry_at = None;
        let Some(generation) = response.generation.take() else { return vec![] };
        let complete = generation.utterance().map(Effect::Complete);
        [Effect::CancelGeneration(generation.id())].into_iter().chain(complete).collect()
    }

    /// Ends the response: the user interrupts it, or another worker goes on.
    pub(crate) fn interrupt(&mut self) -> Option<Interrupted> {
        let response = self.response.take()?;
        let generation = response.generation.as_ref().map(Generation::id);
        Some(Interrupted { generation, is_reply: response.purpose == Purpose::Reply })
    }

    /// Something of an interrupted response was heard.
    pub(crate) fn interrupted_after_words(&mut self, interrupted: Interrupted) {
        if interrupted.is_reply {
            self.failed_turns = 0;
        }
    }

    /// Ends the response if everything is said and done. A reply without any audio is none.
    pub(crate) fn conclude(&mut self, at: CallTime, is_playback_idle: bool, is_closing: bool) -> Conclusion {
        let Some(response) = &self.response else { return Conclusion::None };
        if response.is_undecided() || !is_playback_idle {
            return Conclusion::None;
        }
        if response.purpose == Purpose::Reply && !is_closing {
            if response.progress < Progress::Audio {
                return self.apologise(at).map_or(Conclusion::None, Conclusion::Failed);
            }
            self.failed_turns = 0;
        }
        self.response = None;
        Conclusion::Over
    }

    /// Whether there was no reply to too many turns in a row.
    pub(crate) fn has_given_up(&self) -> bool {
        self.failed_turns >= MAX_FAILED_TURNS
    }

    /// The user made a sound that may have been words. It does not count as a turn without a reply.
    pub(crate) fn ask_again(&mut self, at: CallTime) -> Option<Effect> {
        let response = self.response.as_mut()?;
        response.purpose = Purpose::Apology;
        response.first_words_at.get_or_insert(at);
        Some(Effect::Apologise)
    }

    /// There is no reply to this turn. A response that the user did not ask for needs no apology.
    pub(crate) fn apologise(&mut self, at: CallTime) -> Option<Effect> {
        let response = self.response.as_mut().filter(|response| response.purpose == Purpose::Reply)?;
        response.purpose = Purpose::Apology;
        response.first_words_at.get_or_insert(at);
        // An announcement was a reply of a kind: such turns do not end the conversation.
        if !self.watches_model || !response.was_announced {
            self.failed_turns = self.failed_turns.saturating_add(1);
        }
        Some(if self.has_given_up() { Effect::GiveUp } else { Effect::Apologise })
    }
}

/// Inputs of the model and the functions.
impl Pipeline {
    /// The generation, if it is the current one; it counts as a sign of life.
    fn current(&mut self, at: CallTime, id: GenerationId) -> Option<&mut Generation> {
        let generation = self.response.as_mut()?.generation.as_mut()?;
        if generation.id() != id {
            return None;
        }
        generation.mark_alive(at);
        Some(generation)
    }

    /// The model generated more text.
    pub(crate) fn text(
        &mut self,
        at: CallTime,
        id: GenerationId,
        text: &str,
        utterances: &mut UtteranceIds,
    ) -> Vec<Effect> {
        let Some(generation) = self.current(at, id) else { return vec![] };
        generation.add_text(text);
        if let Some(response) = self.response.as_mut().filter(|_| !text.trim().is_empty()) {
            response.first_words_at.get_or_insert(at);
        }
        let mut effects = self.say_clauses(false, utterances);
        effects.extend(self.cut(at, id, utterances));
        effects
    }

    /// Ends a generation that is too long: its clauses so far are said.
    fn cut(&mut self, at: CallTime, id: GenerationId, utterances: &mut UtteranceIds) -> Vec<Effect> {
        let Some(generation) = self.current(at, id).filter(|generation| generation.is_too_long()) else {
            return vec![];
        };
        generation.drop_rest();
        let mut effects = vec![Effect::ModelFault(ModelFault::TooLong), Effect::CancelGeneration(id)];
        effects.extend(self.finished(at, id, utterances));
        effects
    }

    /// Says the clauses of the text so far; also the rest, if the text is complete.
    fn say_clauses(&mut self, is_complete: bool, utterances: &mut UtteranceIds) -> Vec<Effect> {
        let Some(response) = &mut self.response else { return vec![] };
        let Some(generation) = &mut response.generation else { return vec![] };
        let mut effects = vec![];
        while let Some(clause) = generation.next_clause(is_complete) {
            response.progress = response.progress.max(Progress::Words);
            effects.push(Effect::Say(generation.utterance_or_begin(|| utterances.next()), clause));
        }
        if is_complete {
            effects.extend(generation.utterance().map(Effect::Complete));
        }
        effects
    }

    /// The model called a function.
    pub(crate) fn tool_call(
        &mut self,
        at: CallTime,
        id: GenerationId,
        call: FunctionCall,
        utterances: &mut UtteranceIds,
    ) -> Vec<Effect> {
        if let Some(generation) = self.current(at, id) {
            generation.add_tool_call(call);
        }
        self.cut(at, id, utterances)
    }

    /// The generation is complete.
    pub(crate) fn finished(
        &mut self,
        at: CallTime,
        id: GenerationId,
        utterances: &mut UtteranceIds,
    ) -> Vec<Effect> {
        if self.current(at, id).is_none() {
            return vec![];
        }
        let mut effects = self.say_clauses(true, utterances);
        let Some(response) = &mut self.response else { return effects };
        let Some(generation) = response.generation.take() else { return effects };
        let (message, calls) = generation.into_result();
        let has_words = message.is_some();
        effects.extend(message.map(Effect::MessageGenerated));
        if !calls.is_empty() && response.tools.begin(id) {
            response.has_failed = false;
            response.was_announced |= has_words;
            effects.push(Effect::CallTools(id, calls));
            return effects;
        }
        let fault = match (calls.is_empty(), has_words) {
            (false, _) => Some(ModelFault::TooManyRounds),
            (true, false) => Some(ModelFault::NoWords),
            (true, true) => None,
        };
        let fault = fault.filter(|_| self.watches_model);
        effects.extend(fault.map(Effect::ModelFault));
        if response.progress < Progress::Words || fault.is_some() {
            effects.extend(self.retry(at));
        }
        effects
    }

    /// The generation failed. Its clauses so far are said; a generation without any is retried once.
    pub(crate) fn failed(
        &mut self,
        at: CallTime,
        id: GenerationId,
        utterances: &mut UtteranceIds,
    ) -> Vec<Effect> {
        let Some(generation) = self.current(at, id) else { return vec![] };
        if generation.has_result() {
            generation.drop_rest();
            self.finished(at, id, utterances)
        } else {
            self.retry(at).into_iter().collect()
        }
    }

    fn retry(&mut self, at: CallTime) -> Option<Effect> {
        let response = self.response.as_mut()?;
        response.generation = None;
        if std::mem::replace(&mut response.has_failed, true) {
            return self.apologise(at);
        }
        response.retry_at = Some(at + RETRY_AFTER);
        None
    }

    /// When the generation is retried.
    pub(crate) fn retry_due(&self) -> Option<CallTime> {
        self.response.as_ref()?.retry_at
    }

    /// Retries the generation.
    pub(crate) fn generate_again(&mut self, at: CallTime) -> Option<Effect> {
        self.response.as_mut()?.retry_at = None;
        self.generate(at)
    }

    /// The model was not read for a while, so its silence was no failure.
    pub(crate) fn mark_alive(&mut self, at: CallTime) {
        let generation = self.response.as_mut().and_then(|response| response.generation.as_mut());
        if let Some(generation) = generation {
            generation.mark_alive(at);
        }
    }

    /// When the model has taken too long.
    pub(crate) fn timeout_due(&self) -> Option<CallTime> {
        Some(self.response.as_ref()?.generation.as_ref()?.due())
    }

    /// The model has taken too long. The user has waited long enough, so the retry follows at once.
    pub(crate) fn timed_out(&mut self, at: CallTime, utterances: &mut UtteranceIds) -> Vec<Effect> {
        let generation = self.response.as_ref().and_then(|response| response.generation.as_ref());
        let Some(id) = generation.map(Generation::id) else { return vec![] };
        let mut effects = vec![Effect::CancelGeneration(id)];
        effects.extend(self.failed(at, id, utterances));
        if let Some(retry_at) = self.response.as_mut().and_then(|response| response.retry_at.as_mut()) {
            *retry_at = at;
        }
        effects
    }

    /// All functions of a generation have returned. True if the response waited for them.
    pub(crate) fn tools_returned(&mut self, id: GenerationId) -> bool {
        self.response.as_mut().is_some_and(|response| response.tools.end(id))
    }
}

/// Reports of playback, and the hold phrase.
impl Pipeline {
    /// An utterance begins to be sent: how long the user waited, if it is the reply's first.
    pub(crate) fn begins(
        &mut self,
        at: CallTime,
        kind: UtteranceKind,
        first_audio_at: CallTime,
    ) -> Option<Latency> {
        let response = self.response.as_mut().filter(|_| kind != UtteranceKind::HoldPhrase)?;
        let is_first = response.progress < Progress::Audio;
        response.progress = response.progress.max(Progress::Audio);
        (is_first && response.purpose != Purpose::Unprompted).then(|| {
            let words_at = response.first_words_at.unwrap_or(first_audio_at);
            Latency::between([response.spoken_until, response.decided_at, words_at, first_audio_at, at])
        })
    }

    /// An utterance is over, and something of it was heard.
    pub(crate) fn was_heard(&mut self, kind: UtteranceKind) {
        let Some(response) = &mut self.response else { return };
        match kind {
            UtteranceKind::HoldPhrase => response.was_held = true,
            UtteranceKind::Speech | UtteranceKind::Apology => response.progress = Progress::Heard,
        }
    }

    /// Whether this is a response to the user of which no whole utterance was heard.
    pub(crate) fn is_unheard(&self) -> bool {
        self.response.as_ref().is_some_and(Response::is_unheard)
    }

    /// Whether the model or a function still decides what comes next.
    pub(crate) fn is_undecided(&self) -> bool {
        self.response.as_ref().is_some_and(Response::is_undecided)
    }

    /// Whether the user knows that more is to come: they have heard a hold phrase and no whole utterance since, or an
    /// utterance while functions are running.
    pub(crate) fn is_holding(&self) -> bool {
        self.response.as_ref().is_some_and(|response| {
            response.was_held && response.is_unheard()
                || response.progress == Progress::Heard && response.is_undecided()
        })
    }

    /// When the hold phrase is due; none if no reply is awaited, or it was said already.
    pub(crate) fn hold_phrase_due(
        &self,
        playback: PlaybackState,
        caller_at: Option<CallTime>,
    ) -> Option<CallTime> {
        let response = self.response.as_ref().filter(|response| response.purpose == Purpose::Reply)?;
        let is_awaited = response.is_undecided() || !playback.is_idle;
        let held_at = self.held_at.filter(|at| *at >= response.spoken_until);
        let may_hold = held_at.is_none() || self.watches_model;
        let again = held_at.map_or_else(CallTime::default, |at| at + HOLD_AGAIN_AFTER);
        let wait = Wait {
            spoken_until: response.spoken_until,
            decided_at: response.decided_at,
            plays_until: playback.plays_until,
            requested_at: playback.requested_at,
            caller_at,
        };
        (is_awaited && may_hold && !playback.has_begun).then(|| wait.is_too_long_at().max(again))
    }

    /// The hold phrase is said.
    pub(crate) fn hold(&mut self, at: CallTime) {
        self.held_at = Some(at);
    }
}
