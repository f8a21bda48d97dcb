//! The agent's side of a call: generates and plays responses, and keeps their heard words.
//!
//! Three parts work together here. [`Pipeline`] decides on generations and words, [`Playback`] plays the words, and
//! [`History`] keeps the conversation for the model. This part carries the pipeline's [`Effect`]s out, and keeps an
//! invariant: each utterance in playback is in the history, and an utterance that is over is there with its heard
//! words alone. It knows nothing of the user's turn, of barge-in and of the call's phase.

use switchboard_model::messages::Role;

use crate::{
    call_time::CallTime,
    handover::Rest,
    history::History,
    output::{ConversationEvent, Output},
    phrases::Phrases,
    playback::{HeardUtterance, Playback},
    response::{Conclusion, Effect, Interrupted, Pipeline, PlaybackState, clause_splitter::clauses},
    types::{
        AnsweredCalls, FunctionCall, GenerationId, HistoryItem, ProviderRole, UtteranceId, UtteranceIds,
        UtteranceKind,
    },
};

/// The model's instruction when a sound cut it off.
const GO_ON: &str =
    "A sound that was no speech cut your last message off. Go on where it stops, without repeating it.";

/// The agent's response, its speech, and the conversation so far.
pub(crate) struct AgentSide {
    /// The engine passes the synthesizer's audio and the carrier's marks to it directly. Only this part begins and
    /// ends utterances.
    pub(crate) playback: Playback,
    responder: Pipeline,
    history: History,
    utterances: UtteranceIds,
    phrases: &'static Phrases,
    /// The utterance that nothing interrupts.
    disclosure: Option<UtteranceId>,
    greeting: Option<UtteranceId>,
    /// No text of the model was wanted after the last input.
    model_was_held: bool,
}

/// The state of the agent's turn after [`AgentSide::go_on`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TurnStatus {
    /// There is more to come, or it is the user's turn.
    Waiting,
    /// The agent's turn has just ended.
    Over,
    /// The response failed, and the agent has something else to say.
    Replaced,
}

impl AgentSide {
    pub(crate) fn new(history: History, language: &str, watches_model: bool) -> Self {
        Self {
            playback: Playback::default(),
            responder: Pipeline::new(watches_model),
            history,
            utterances: UtteranceIds::default(),
            phrases: Phrases::of(language),
            disclosure: None,
            greeting: None,
            model_was_held: false,
        }
    }

    /// The conversation for the model.
    pub(crate) fn history(&self) -> Vec<HistoryItem> {
        self.history.items()
    }

    /// See [`History::answered_calls`].
    pub(crate) fn answered_calls(&self, call: &str) -> Option<AnsweredCalls> {
        self.history.answered_calls(call)
    }

    /// Whether it is the agent's turn.
    pub(crate) fn is_responding(&self) -> bool {
        self.responder.is_active()
    }

    /// Whether the caller has not heard the whole disclosure yet.
    pub(crate) fn is_disclosing(&self, at: CallTime) -> bool {
        self.disclosure.is_some_and(|utterance| self.playback.is_unfinished(at, utterance))
    }

    /// Whether the caller has not heard the whole greeting yet.
    pub(crate) fn is_greeting(&self, at: CallTime) -> bool {
        self.greeting.is_some_and(|utterance| self.playback.is_unfinished(at, utterance))
    }

    /// The unheard part of the response; none if it has none.
    pub(crate) fn rest(&self, at: CallTime) -> Option<Rest> {
        let rest = Rest { text: self.playback.unheard(at), is_incomplete: self.responder.is_undecided() };
        (rest.is_incomplete || !rest.text.is_empty()).then_some(rest)
    }

    /// Whether functions run whose results the model is to use.
    pub(crate) fn awaits_results(&self) -> bool {
        self.history.awaits_results()
    }

    /// Whether the user, or the result of a function, is last in the conversation.
    pub(crate) fn owes_reply(&self) -> bool {
        self.history.ends_with_user() || self.history.ends_with_tools()
    }

    /// Whether this is a response to the user of which no word was heard.
    pub(crate) fn is_unheard(&self, at: CallTime) -> bool {
        self.responder.is_unheard() && !self.playback.any_speech_heard(at)
    }

    /// Whether the caller may be listening to the agent: it speaks (or has paused) and something of it was heard,
    /// or the caller knows that more is to come.
    pub(crate) fn is_listened_to(&self, at: CallTime, has_paused: bool) -> bool {
        let is_speaking = self.playback.is_audible(at) || has_paused;
        self.responder.is_active() && is_speaking && self.playback.any_heard(at)
            || self.responder.is_holding()
    }

    /// Whether replies failed in too many turns in a row. The agent has said goodbye, or is about to.
    pub(crate) fn has_given_up(&self) -> bool {
        self.responder.has_given_up()
    }

    /// When the model has taken too long.
    pub(crate) fn timeout_due(&self) -> Option<CallTime> {
        self.responder.timeout_due().filter(|_| self.wants_model())
    }

    /// Whether more of the model's response can be used now.
    pub(crate) fn wants_model(&self) -> bool {
        !self.playback.has_enough_waiting()
    }

    /// When a failed generation is tried again.
    pub(crate) fn retry_due(&self) -> Option<CallTime> {
        self.responder.retry_due()
    }

    /// When the hold phrase is due. `caller_at`: when the caller last spoke.
    pub(crate) fn hold_phrase_due(&self, caller_at: Option<CallTime>) -> Option<CallTime> {
        let playback = PlaybackState {
            is_idle: self.playback.is_idle(),
            has_begun: self.playback.has_begun(),
            plays_until: self.playback.plays_until(),
            requested_at: self.playback.requested_at(),
        };
        self.responder.hold_phrase_due(playback, caller_at)
    }
}

/// Beginning and ending a turn.
impl AgentSide {
    /// Replies to what the user said until `spoken_until`.
    pub(crate) fn reply(&mut self, at: CallTime, spoken_until: CallTime, out: &mut Vec<Output>) {
        self.responder.begin_reply(at, spoken_until);
        self.generate(at, out);
    }

    /// Goes on with a reply that another worker began or owed; how long the user has waited is not known here.
    pub(crate) fn continue_reply(&mut self, at: CallTime, out: &mut Vec<Output>) {
        if self.owes_reply() {
            self.reply(at, at, out);
            if self.history.agent_has_replied() {
                self.responder.mark_heard();
            }
        }
    }

    /// Has the model say something that the user did not ask for, or not now.
    pub(crate) fn speak_unprompted(&mut self, at: CallTime, out: &mut Vec<Output>) {
        self.responder.begin_unprompted(at);
        self.generate(at, out);
    }

    /// Says a text that is not the model's, in a turn of its own.
    fn say_unprompted(&mut self, at: CallTime, text: &str) {
        self.responder.begin_unprompted(at);
        self.say(text, UtteranceKind::Speech);
    }

    /// Says what was cut off, then has the model go on if it had not finished.
    pub(crate) fn resume(&mut self, at: CallTime, rest: &Rest, out: &mut Vec<Output>) {
        self.responder.begin_unprompted(at);
        if !rest.text.is_empty() {
            self.say(&rest.text, UtteranceKind::Speech);
        }
        if rest.is_incomplete {
            self.history.note(GO_ON);
            self.generate(at, out);
        }
    }

    /// Says a text that nothing interrupts, in a turn of its own.
    pub(crate) fn disclose(&mut self, at: CallTime, text: &str) {
        self.responder.begin_unprompted(at);
        self.disclosure = Some(self.say(text, UtteranceKind::Speech));
    }

    /// Greets the caller, in a turn of its own.
    pub(crate) fn greet(&mut self, at: CallTime, text: &str) {
        self.responder.begin_unprompted(at);
        self.add_greeting(text);
    }

    /// Greets the caller, behind what this turn says already.
    pub(crate) fn add_greeting(&mut self, text: &str) {
        self.greeting = Some(self.say(text, UtteranceKind::Speech));
    }

    /// Says a text that is not the model's, behind what this turn says already.
    pub(crate) fn add_speech(&mut self, text: &str) {
        self.say(text, UtteranceKind::Speech);
    }

    /// Has the model ask a silent caller something; `note` instructs it.
    pub(crate) fn remind(&mut self, at: CallTime, note: &'static str, out: &mut Vec<Output>) {
        self.history.note(note);
        self.speak_unprompted(at, out);
    }

    /// Says goodbye to a caller who stays silent.
    pub(crate) fn say_idle_goodbye(&mut self, at: CallTime) {
        self.say_unprompted(at, self.phrases.idle_goodbye);
    }

    /// Apologises for missing the words that the user said until `spoken_until`.
    pub(crate) fn apologise(&mut self, at: CallTime, spoken_until: CallTime, out: &mut Vec<Output>) {
        self.responder.begin_reply(at, spoken_until);
        let effect = self.responder.apologise(at);
        self.carry_out(effect, out);
    }

    /// Asks the user to say it again, after a sound that may have been words. It is no failure to reply.
    pub(crate) fn ask_again(&mut self, at: CallTime, spoken_until: CallTime, out: &mut Vec<Output>) {
        self.responder.begin_reply(at, spoken_until);
        let effect = self.responder.ask_again(at);
        self.carry_out(effect, out);
    }

    /// Finishes the clause that is being said, then says goodbye.
    pub(crate) fn break_off(&mut self, at: CallTime, out: &mut Vec<Output>) {
        self.stop_generating(out);
        self.playback.drop_unsent_clauses();
        if !self.responder.is_active() {
            self.responder.begin_unprompted(at);
        }
        self.say(self.phrases.goodbye, UtteranceKind::Apology);
    }

    /// Nothing more is wanted of the model. Clauses that exist are still said.
    pub(crate) fn stop_generating(&mut self, out: &mut Vec<Output>) {
        let effects = self.responder.stop_generating();
        self.carry_out(effects, out);
    }

    /// Ends the turn: nothing more is generated, synthesized or sent. `is_cleared`: the carrier has nothing left to
    /// clear, since the agent had paused.
    pub(crate) fn interrupt(&mut self, at: CallTime, is_cleared: bool, out: &mut Vec<Output>) {
        let Some(interrupted) = self.responder.interrupt() else { return };
        if !is_cleared && self.playback.is_playing(at) {
            out.push(Output::Clear);
            self.playback.cleared();
        }
        if let Some(generation) = interrupted.generation {
            out.push(Output::CancelGeneration { generation });
        }
        if self.playback.is_synthesizing() {
            out.push(Output::CancelSynthesis);
        }
        self.stop(at, Some(interrupted), out);
    }

    /// Ends the turn for another worker. Its unheard words; none if the next worker generates a reply instead.
    pub(crate) fn hand_over(
        &mut self,
        at: CallTime,
        is_cleared: bool,
        out: &mut Vec<Output>,
    ) -> Option<String> {
        let is_undecided = self.responder.is_undecided();
        // A reply of which nothing was heard is generated anew.
        let unheard = (!self.is_unheard(at)).then(|| self.playback.unheard(at));
        self.interrupt(at, is_cleared, out);
        // The model has not used the results of its functions yet: the next worker has it go on.
        let model_goes_on = is_undecided && self.history.ends_with_tools();
        unheard.filter(|_| !model_goes_on)
    }

    /// Ends the call on this side: the heard words are kept.
    pub(crate) fn end(&mut self, at: CallTime, out: &mut Vec<Output>) {
        self.stop(at, None, out);
    }

    fn stop(&mut self, at: CallTime, interrupted: Option<Interrupted>, out: &mut Vec<Output>) {
        for heard in self.playback.stop(at) {
            if let Some(interrupted) = interrupted.filter(|_| heard.is_reply()) {
                self.responder.interrupted_after_words(interrupted);
            }
            self.was_heard(heard, out);
        }
    }
}

/// Inputs of the model, the functions and the user.
impl AgentSide {
    /// Starts a generation of the response: its first one, or one with the results of its functions.
    pub(crate) fn generate(&mut self, at: CallTime, out: &mut Vec<Output>) {
        let effect = self.responder.generate(at);
        self.carry_out(effect, out);
    }

    /// Tries a failed generation again.
    pub(crate) fn generate_again(&mut self, at: CallTime, out: &mut Vec<Output>) {
        let effect = self.responder.generate_again(at);
        self.carry_out(effect, out);
    }

    /// The model generated more text.
    pub(crate) fn text(&mut self, at: CallTime, id: GenerationId, text: &str, out: &mut Vec<Output>) {
        let effects = self.responder.text(at, id, text, &mut self.utterances);
        self.carry_out(effects, out);
    }

    /// The model called a function.
    pub(crate) fn tool_call(
        &mut self,
        at: CallTime,
        id: GenerationId,
        call: FunctionCall,
        out: &mut Vec<Output>,
    ) {
        let effects = self.responder.tool_call(at, id, call, &mut self.utterances);
        self.carry_out(effects, out);
    }

    /// The generation is complete.
    pub(crate) fn finished(&mut self, at: CallTime, id: GenerationId, out: &mut Vec<Output>) {
        let effects = self.responder.finished(at, id, &mut self.utterances);
        self.carry_out(effects, out);
    }

    /// The generation failed.
    pub(crate) fn failed(&mut self, at: CallTime, id: GenerationId, out: &mut Vec<Output>) {
        let effects = self.responder.failed(at, id, &mut self.utterances);
        self.carry_out(effects, out);
    }

    /// The model has taken too long.
    pub(crate) fn timed_out(&mut self, at: CallTime, out: &mut Vec<Output>) {
        out.push(Output::Event(ConversationEvent::ProviderTimedOut(ProviderRole::LanguageModel)));
        let effects = self.responder.timed_out(at, &mut self.utterances);
        self.carry_out(effects, out);
    }

    /// A function returned. None while others of its generation have not; otherwise whether the response waited for
    /// the results, so that it is to [`generate`](Self::generate) again.
    pub(crate) fn tool_returned(&mut self, call: &str, content: String) -> Option<bool> {
        let generation = self.history.tool_returned(call, content)?;
        Some(self.responder.tools_returned(generation))
    }

    /// The user's turn is over.
    pub(crate) fn user_said(&mut self, text: String) {
        self.history.user_said(text);
    }

    /// These words at the end of the user's last turn were misunderstood.
    pub(crate) fn user_did_not_say(&mut self, words: &str) {
        self.history.user_did_not_say(words);
    }

    /// Carries out the responder's decisions.
    fn carry_out(&mut self, effects: impl IntoIterator<Item = Effect>, out: &mut Vec<Output>) {
        for effect in effects {
            match effect {
                Effect::StartGeneration(generation) => out.push(Output::StartGeneration { generation }),
                Effect::CancelGeneration(generation) => out.push(Output::CancelGeneration { generation }),
                Effect::Say(utterance, clause) => {
                    self.history.agent_says(utterance, UtteranceKind::Speech, &clause);
                    self.playback.begin(utterance, UtteranceKind::Speech);
                    self.playback.add(utterance, clause);
                }
                Effect::Complete(utterance) => self.playback.complete(utterance),
                Effect::MessageGenerated(content) => {
                    out.push(Output::Event(ConversationEvent::MessageGenerated { content }));
                }
                Effect::CallTools(generation, calls) => {
                    self.history.tools_called(generation, &calls);
                    for call in calls {
                        out.push(Output::Event(ConversationEvent::FunctionCall(call.clone())));
                        out.push(Output::CallTool(call));
                    }
                }
                Effect::ModelFault(fault) => {
                    out.push(Output::Event(ConversationEvent::ModelFault(fault)));
                }
                Effect::Apologise => {
                    self.say(self.phrases.apology, UtteranceKind::Apology);
                }
                Effect::GiveUp => {
                    self.say(self.phrases.goodbye, UtteranceKind::Apology);
                }
            }
        }
    }
}

/// Speech.
impl AgentSide {
    /// Says a text that is not the model's.
    fn say(&mut self, text: &str, kind: UtteranceKind) -> UtteranceId {
        let utterance = self.utterances.next();
        self.playback.begin(utterance, kind);
        for clause in clauses(text) {
            self.history.agent_says(utterance, kind, &clause);
            self.playback.add(utterance, clause);
        }
        self.playback.complete(utterance);
        utterance
    }

    /// Says the hold phrase before everything that is still to be said.
    pub(crate) fn hold(&mut self, at: CallTime) {
        let (text, utterance) = (self.phrases.hold, self.utterances.next());
        let next = self.playback.put_hold_phrase_first(utterance, text);
        self.history.agent_holds(utterance, next, text);
        self.responder.hold(at);
    }

    /// Sends and synthesizes audio, reports utterances, and ends the turn if there is nothing more to say.
    /// `may_send`: no audio has to wait for the caller. `is_closing`: a reply that failed needs no apology.
    pub(crate) fn go_on(
        &mut self,
        at: CallTime,
        may_send: bool,
        is_closing: bool,
        out: &mut Vec<Output>,
    ) -> TurnStatus {
        if may_send {
            self.playback.send(at, out);
        }
        self.playback.synthesize(at, out);
        let is_held = !self.wants_model();
        if self.model_was_held && !is_held {
            self.responder.mark_alive(at);
        }
        self.model_was_held = is_held;
        self.report_speech(at, out);
        match self.responder.conclude(at, self.playback.is_idle(), is_closing) {
            Conclusion::None => TurnStatus::Waiting,
            Conclusion::Over => TurnStatus::Over,
            Conclusion::Failed(effect) => {
                self.carry_out([effect], out);
                TurnStatus::Replaced
            }
        }
    }

    /// Reports the utterances that have begun, and those that are over.
    fn report_speech(&mut self, at: CallTime, out: &mut Vec<Output>) {
        loop {
            if let Some(beginning) = self.playback.beginning() {
                *beginning.latency = self.responder.begins(at, beginning.kind, beginning.first_audio_at);
                out.push(Output::Event(ConversationEvent::SpeechStarted(Role::Agent)));
            }
            let Some(heard) = self.playback.finished(at) else { return };
            if !heard.text.is_empty() {
                self.responder.was_heard(heard.kind);
            }
            self.was_heard(heard, out);
        }
    }

    /// An utterance is over: its heard words enter the conversation.
    fn was_heard(&mut self, heard: HeardUtterance, out: &mut Vec<Output>) {
        self.history.agent_was_heard(heard.id, &heard.text);
        heard.report(out);
    }
}
