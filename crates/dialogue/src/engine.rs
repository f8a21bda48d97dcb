//! The engine: feeds the parts with what happens, and carries out what they decide.
//!
//! Each part decides one thing over its own private state and knows no other part. This file is the only one that
//! knows them all, and the only one with an `impl Engine`: the order of events stands here, and nowhere else. Start
//! at [`Engine::on`].

use std::fmt;

use switchboard_model::{conversations::EndedReason, messages::Role};

use crate::{
    barge_in::{BargeIn, is_above_echo},
    call_clock::CallClock,
    call_time::CallTime,
    dtmf::{Dtmf, KeyPress},
    handover::{self, Unspoken},
    history::History,
    idle::{self, Idle, Reminder},
    input::Input,
    output::{ConversationEvent, Output},
    phase::Phase,
    phrases::Phrases,
    playback::{HeardUtterance, Playback, UtteranceInProgress},
    response::{Conclusion, Effect, Pipeline, PlaybackState, clause_splitter::clauses},
    settings::Settings,
    timing::{GOODBYE, LAST_WORDS},
    transcriber_watchdog::{TranscriberWatchdog, TurnState},
    turn::{Fresh, Turn, backchannel::is_backchannel},
    types::{HistoryItem, ProviderRole, UtteranceIds, UtteranceKind},
};

/// Decides who speaks when in one conversation.
pub struct Engine {
    settings: Settings,
    now: CallTime,
    phase: Phase,
    clock: CallClock,
    turn: Turn,
    barge_in: BargeIn,
    watchdog: TranscriberWatchdog,
    dtmf: Dtmf,
    idle: Idle,
    responder: Pipeline,
    playback: Playback,
    history: History,
    utterances: UtteranceIds,
    /// The agent's words that the previous worker left unsaid, until the agent says them or the user speaks.
    unspoken: Unspoken,
}

/// The interface.
impl Engine {
    /// The engine of a call whose media does not flow yet.
    #[must_use]
    pub fn new(mut settings: Settings) -> Self {
        let mut history = History::default();
        let mut unspoken = Unspoken::default();
        if let Some(takeover) = &mut settings.takeover {
            history = History::taken_over(std::mem::take(&mut takeover.history));
            unspoken = Unspoken::new(takeover.unspoken.take());
            settings.greeting = None;
        }
        let transcriber = settings.transcriber;
        Self {
            settings,
            now: CallTime::default(),
            phase: Phase::default(),
            clock: CallClock::default(),
            turn: Turn::new(&transcriber),
            barge_in: BargeIn::new(transcriber.words_overdue_after()),
            watchdog: TranscriberWatchdog::new(transcriber),
            dtmf: Dtmf::default(),
            idle: Idle::default(),
            responder: Pipeline::default(),
            playback: Playback::default(),
            history,
            utterances: UtteranceIds::default(),
            unspoken,
        }
    }

    /// Takes in what happened at `at`, and appends the decisions to `out`, which the caller empties. An `at` before
    /// an earlier one counts as that one. After [`Output::End`] or [`Output::HandOver`] no output follows.
    pub fn on(&mut self, at: CallTime, input: Input, out: &mut Vec<Output>) {
        if self.phase.is_ended() {
            return;
        }
        let at = at.max(self.now);
        self.now = at;
        // The input goes before the deadlines that are due: a word beats the timer that waited for it.
        match input {
            Input::MediaStarted => self.start(at, out),
            Input::Frame { is_speech, level_db, agent_level_db } => {
                self.frame(at, is_speech, is_above_echo(level_db, agent_level_db), out);
            }
            Input::Dtmf(key) => self.key_pressed(at, key, out),
            Input::SpeechStarted => self.user_begins(at, out),
            Input::Transcript { text, is_final, spoken_until } => {
                self.user_says(at, text.trim(), is_final, spoken_until, out);
            }
            Input::TurnEnded => self.turn_ended(at, out),
            Input::ModelText { generation, text } => {
                let effects = self.responder.text(at, generation, &text, &mut self.utterances);
                self.apply(effects, at, out);
            }
            Input::ModelToolCall { generation, call } => self.responder.tool_call(at, generation, call),
            Input::ModelFinished { generation } => {
                let effects = self.responder.finished(at, generation, &mut self.utterances);
                self.apply(effects, at, out);
            }
            Input::ModelFailed { generation } => {
                let effects = self.responder.failed(at, generation, &mut self.utterances);
                self.apply(effects, at, out);
            }
            Input::VoiceAudio { clause, audio } => self.playback.audio(at, clause, audio),
            Input::VoiceWords { clause, words } => self.playback.word_times(clause, words),
            Input::VoiceFinished { clause, trailing_silence } => {
                self.playback.voice_finished(at, clause, trailing_silence);
            }
            Input::VoiceFailed { clause } => self.playback.voice_failed(at, clause),
            Input::Played { mark } => self.playback.played(at, mark),
            Input::ToolResult { call, content } => self.tool_returned(at, &call, content, out),
            Input::TranscriberFailed => self.watchdog.transcriber_failed(at),
            Input::TranscriberLost => self.transcriber_lost(at, out),
            Input::HangUp => self.hang_up(at, out),
            Input::Drain => self.drain(at),
            Input::StreamLost if self.phase.is_closing() => return self.end(at, EndedReason::Unknown, out),
            Input::StreamLost => return self.hand_over(at, out),
            Input::StreamClosed => return self.end(at, EndedReason::UserEnded, out),
            Input::Wake => {}
        }
        self.report_seconds(at, out);
        self.check_deadlines(at, out);
        self.go_on(at, out);
    }

    /// When [`Input::Wake`] is due if nothing happens before; always after the last input.
    #[must_use]
    pub fn deadline(&self) -> Option<CallTime> {
        if self.phase.is_ended() {
            return None;
        }
        let due = [
            self.clock.next_second(),
            self.max_duration_due(),
            self.unspoken.due(),
            self.phase.due(),
            self.turn_due(),
            self.barge_in.due(),
            self.dtmf.due(),
            self.idle_due(),
            self.responder.timeout_due(),
            self.responder.retry_due(),
            self.hold_phrase_due(),
            self.missed_speech_due(),
            self.cough_due(),
            self.reply_waits_until(self.now),
            self.playback.deadline(self.now),
        ];
        due.into_iter().flatten().filter(|due| *due > self.now).min()
    }

    /// The conversation for the model: the user's words, and the agent's words, heard or still to be said.
    /// Each function call is followed by a result.
    #[must_use]
    pub fn history(&self) -> Vec<HistoryItem> {
        self.history.items()
    }

    /// The heard and the unheard words of the agent's current utterance at `at`. `None` while the caller has
    /// heard none of it: such an utterance is not missed, since the next worker replies to its turn anew.
    /// Cheap: this looks at a few clauses.
    ///
    /// A worker that keeps this can be replaced without notice: the heard words belong in the conversation as an
    /// interrupted message, the rest is [`Takeover::unspoken`](crate::Takeover::unspoken). If a message with the
    /// same beginning was stored meanwhile, it was reported after this and stands instead.
    #[must_use]
    pub fn in_progress(&self, at: CallTime) -> Option<UtteranceInProgress> {
        self.playback.in_progress(at.max(self.now))
    }

    /// Whether the caller hears the agent, or the agent has paused and may go on: then the engine needs each frame
    /// of the caller's audio.
    #[must_use]
    pub fn is_audible(&self, at: CallTime) -> bool {
        self.barge_in.is_pausing() || self.playback.is_audible(at.max(self.now))
    }
}

/// Beginning and end of a call.
impl Engine {
    fn start(&mut self, at: CallTime, out: &mut Vec<Output>) {
        if !self.clock.start(at) {
            return;
        }
        self.phase.start();
        self.idle.interrupted(at);
        if let Some(takeover) = &self.settings.takeover {
            self.clock.resume(at, takeover.elapsed);
            return self.take_over(at, out);
        }
        if let (Some(greeting), false) = (self.settings.greeting.take(), self.responder.is_active()) {
            self.responder.begin_unprompted(at);
            self.say(&greeting, UtteranceKind::Speech);
        }
    }

    /// Goes on with a call that another worker held before.
    fn take_over(&mut self, at: CallTime, out: &mut Vec<Output>) {
        self.unspoken.schedule(at);
        let is_busy = self.responder.is_active() || self.turn.has_words();
        let is_awaited = self.history.ends_with_user() || self.history.ends_with_tools();
        if is_awaited && !is_busy && !self.unspoken.is_some() {
            // How long the user has waited for the other worker is not known here.
            self.reply(at, at, out);
            if self.history.agent_has_replied() {
                self.responder.mark_heard();
            }
        }
    }

    /// Ends the conversation when what is being said is said.
    fn hang_up(&mut self, at: CallTime, out: &mut Vec<Output>) {
        if self.phase.close(EndedReason::AgentEnded, at + LAST_WORDS) {
            self.stop_generating(at, out);
        }
    }

    /// The caller can no longer be understood: the agent finishes its clause, says goodbye, and ends.
    fn transcriber_lost(&mut self, at: CallTime, out: &mut Vec<Output>) {
        if !self.phase.is_open() {
            return;
        }
        self.end_open_turn(at, out);
        self.stop_generating(at, out);
        self.unspoken.take();
        self.end_pause();
        self.playback.drop_unsent_clauses();
        if !self.responder.is_active() {
            self.responder.begin_unprompted(at);
        }
        self.say(self.phrases().goodbye, UtteranceKind::Apology);
        self.phase.close(EndedReason::Unknown, at + LAST_WORDS + GOODBYE);
    }

    /// Prepares the call for another worker.
    fn drain(&mut self, at: CallTime) {
        self.phase.drain(handover::drained_after(at, self.turn.is_open(), self.playback.word_ends(at)));
    }

    /// Ends the conversation, keeping what was said until now.
    fn end(&mut self, at: CallTime, reason: EndedReason, out: &mut Vec<Output>) {
        let reason = self.phase.end(reason);
        for heard in self.playback.stop(at) {
            self.was_heard(heard, out);
        }
        self.end_open_turn(at, out);
        out.push(Output::End { reason });
    }

    /// Leaves the conversation to another worker: like a barge-in, but the next turn is still the agent's.
    fn hand_over(&mut self, at: CallTime, out: &mut Vec<Output>) {
        self.phase.end(EndedReason::Unknown);
        let is_undecided = self.responder.is_undecided();
        let unspoken = if !self.responder.is_active() {
            // A call that has not started here is greeted by the next worker.
            self.unspoken.take().or_else(|| self.settings.greeting.take())
        } else if self.responder.is_unheard() && !self.playback.any_speech_heard(at) {
            // Nothing of the reply was heard, so it is generated anew.
            None
        } else {
            Some(self.playback.unheard(at))
        };
        self.interrupt(at, out);
        // The model has not used the results of its functions yet: the next worker has it go on.
        let model_goes_on = is_undecided && self.history.ends_with_tools();
        // Words that the user has begun to say are to be replied to.
        let user_waits = self.end_open_turn(at, out);
        let unspoken = unspoken.filter(|text| !model_goes_on && !user_waits && handover::can_be_said(text));
        out.push(Output::HandOver { unspoken });
    }

    fn report_seconds(&mut self, at: CallTime, out: &mut Vec<Output>) {
        for seconds in self.clock.passed_seconds(at).into_iter().flatten() {
            out.push(Output::Event(ConversationEvent::Duration { seconds }));
        }
    }

    fn max_duration_due(&self) -> Option<CallTime> {
        self.clock.reaches(self.settings.max_duration?)
    }
}

/// The user's turn.
impl Engine {
    /// A frame of the caller's audio. Enough speech pauses an audible agent.
    fn frame(&mut self, at: CallTime, is_speech: bool, is_above_echo: bool, out: &mut Vec<Output>) {
        if is_speech && is_above_echo && self.watchdog.speech_frame(at) {
            self.idle.interrupted(at);
        }
        let interrupts = self.barge_in.frame(at, is_speech, is_above_echo, self.is_audible(at));
        if interrupts && self.phase.is_open() && !self.barge_in.is_pausing() {
            self.barge_in.pause(at);
            out.push(Output::Clear);
            self.playback.pause(at, out);
        }
    }

    /// It was a false interruption: the agent goes on where it paused.
    fn end_pause(&mut self) {
        if self.barge_in.end_pause() {
            self.playback.resume();
        }
    }

    /// A key was pressed: a caller who enters a number has heard enough.
    fn key_pressed(&mut self, at: CallTime, key: char, out: &mut Vec<Output>) {
        let press = self.dtmf.press(at, key);
        if press == KeyPress::Ignored {
            return;
        }
        self.unspoken.take();
        if !self.phase.is_closing() {
            self.interrupt(at, out);
        }
        if press == KeyPress::Completed {
            self.number_completed(at, out);
        }
    }

    /// A number is complete: it ends the turn, after words that were said with it.
    fn number_completed(&mut self, at: CallTime, out: &mut Vec<Output>) {
        if let Some(digits) = self.dtmf.take() {
            self.report_turn(out);
            self.turn.add(at, &digits, true, None);
            self.turn.mark_complete(at);
        }
    }

    /// Reports that the user speaks, if it was not reported.
    fn report_turn(&mut self, out: &mut Vec<Output>) {
        if !self.turn.is_open() {
            out.push(Output::Event(ConversationEvent::SpeechStarted(Role::User)));
        }
    }

    fn user_begins(&mut self, at: CallTime, out: &mut Vec<Output>) {
        self.report_turn(out);
        self.turn.begin(at);
        self.watchdog.speech_detected(at);
        self.unspoken.put_off(at);
    }

    /// Words interrupt the agent, unless they are backchannel. If nothing of a reply was heard, they belong to the
    /// turn that it was meant for; the history then joins them to what was said before.
    fn user_says(
        &mut self,
        at: CallTime,
        text: &str,
        is_final: bool,
        spoken_until: Option<CallTime>,
        out: &mut Vec<Output>,
    ) {
        if text.is_empty() || self.watchdog.is_repeated(spoken_until) {
            return;
        }
        self.watchdog.recognised();
        let is_unheard = self.responder.is_unheard() && !self.playback.any_speech_heard(at);
        let (text, misunderstood) = match self.turn.fresh(at, text, is_final) {
            Fresh::Words(text) => (text, None),
            Fresh::Corrected { counted, text, .. } if is_unheard => (text, Some(counted)),
            // Words that are being replied to already are no reason to cut the agent off.
            Fresh::Nothing | Fresh::Corrected { more: "", .. } => return,
            Fresh::Corrected { more, .. } => (more, None),
        };
        self.unspoken.take();
        self.idle.forget_reminders();
        // A final of the turn that the transcriber has ended, rather than the beginning of another one.
        let is_late = is_final && is_unheard && !self.turn.is_open();
        self.report_turn(out);
        let is_mere = self.is_mere_backchannel(at, &self.turn.text_with(text));
        if is_mere && is_final {
            self.end_pause();
        }
        if !is_mere && !self.phase.is_closing() {
            self.interrupt(at, out);
        }
        if let Some(misunderstood) = misunderstood {
            self.history.user_did_not_say(&misunderstood);
        }
        let spoken_until = spoken_until.or_else(|| self.watchdog.spoken_until(at));
        self.turn.add(at, text, is_final, spoken_until);
        if is_late && !self.phase.is_closing() {
            self.turn.end_detected(at);
        }
    }

    /// Whether `words` only show that the caller listens. They can only while the agent speaks and something of it
    /// was heard, or after a hold phrase.
    fn is_mere_backchannel(&self, at: CallTime, words: &str) -> bool {
        let is_speaking = self.playback.is_audible(at) || self.barge_in.is_pausing();
        let is_listened_to = self.responder.is_active() && is_speaking && self.playback.any_heard(at)
            || self.responder.is_holding();
        is_listened_to && is_backchannel(&self.settings.language, words)
    }

    fn turn_ended(&mut self, at: CallTime, out: &mut Vec<Output>) {
        self.idle.interrupted(at);
        self.watchdog.recognised();
        if self.turn.end_detected(at) {
            out.push(Output::Event(ConversationEvent::SpeechEnded(Role::User)));
        }
    }

    /// The user's turn is over: backchannel is forgotten, other words are replied to.
    fn turn_is_due(&mut self, at: CallTime, out: &mut Vec<Output>) {
        if self.is_mere_backchannel(at, &self.turn.text()) {
            self.turn.take(at);
            self.idle.interrupted(at);
            out.push(Output::Event(ConversationEvent::SpeechEnded(Role::User)));
            return;
        }
        if !self.phase.is_closing() {
            self.interrupt(at, out);
        }
        let spoken_until = self.end_turn(at, out);
        if let Some(spoken_until) = spoken_until.filter(|_| !self.phase.is_closing()) {
            self.reply(at, spoken_until, out);
        }
    }

    /// The turn's words enter the conversation. When they ended; none if there were no words.
    fn end_turn(&mut self, at: CallTime, out: &mut Vec<Output>) -> Option<CallTime> {
        let turn = self.turn.take(at)?;
        turn.report(out);
        self.history.user_said(turn.text);
        Some(turn.ended_at)
    }

    /// Ends a turn that may have no words. Whether there were any.
    fn end_open_turn(&mut self, at: CallTime, out: &mut Vec<Output>) -> bool {
        if !self.turn.is_open() {
            return false;
        }
        let has_words = self.end_turn(at, out).is_some();
        if !has_words {
            out.push(Output::Event(ConversationEvent::SpeechEnded(Role::User)));
        }
        has_words
    }

    fn turn_due(&self) -> Option<CallTime> {
        self.turn.due().map(|due| self.watchdog.put_off(due))
    }

    /// When a turn without words counts as a cough.
    fn cough_due(&self) -> Option<CallTime> {
        self.turn.wordless_since().map(|began_at| self.watchdog.cough_due(began_at))
    }

    fn forget_cough(&mut self, out: &mut Vec<Output>) {
        if self.turn.forget_sound() {
            out.push(Output::Event(ConversationEvent::SpeechEnded(Role::User)));
        }
    }

    fn turn_state(&self) -> TurnState {
        TurnState {
            is_open: self.turn.is_open(),
            has_words: self.turn.has_words(),
            spoken_until: self.turn.spoken_until(),
        }
    }

    fn missed_speech_due(&self) -> Option<CallTime> {
        self.watchdog.due(self.turn_state()).filter(|_| self.phase.is_open())
    }

    /// The transcriber missed speech: another one hears it again, or the turn ends without it.
    fn speech_was_missed(&mut self, at: CallTime, out: &mut Vec<Output>) {
        let Some(missed) = self.watchdog.act(at, self.turn_state()) else { return };
        if missed.replace_transcriber {
            out.push(Output::Event(ConversationEvent::ProviderTimedOut(ProviderRole::Transcriber)));
            out.push(Output::ReplaceTranscriber);
        }
        if !missed.give_up {
            return;
        }
        if self.turn.has_words() {
            self.turn.mark_complete(at);
        } else if !self.responder.is_active() {
            self.forget_cough(out);
            self.responder.begin_reply(at, missed.spoken_until);
            let effect = self.responder.apologise(at);
            self.apply(effect, at, out);
        }
    }

    fn idle_due(&self) -> Option<CallTime> {
        let is_idle = self.clock.is_running()
            && self.phase.is_open()
            && !self.responder.is_active()
            && !self.turn.has_words()
            && self.dtmf.due().is_none()
            && !self.unspoken.is_some();
        is_idle.then(|| self.idle.due())
    }

    fn remind(&mut self, at: CallTime, out: &mut Vec<Output>) {
        match self.idle.remind() {
            Reminder::Ask => {
                self.history.note(idle::NOTE);
                self.speak_unprompted(at, out);
            }
            Reminder::SayGoodbye => {
                self.responder.begin_unprompted(at);
                self.say(self.phrases().idle_goodbye, UtteranceKind::Speech);
                self.phase.close(EndedReason::AgentEnded, at + GOODBYE);
            }
        }
    }
}

/// The agent's turn.
impl Engine {
    /// Replies to what the user said until `spoken_until`.
    fn reply(&mut self, at: CallTime, spoken_until: CallTime, out: &mut Vec<Output>) {
        self.responder.begin_reply(at, spoken_until);
        let effect = self.responder.generate(at);
        self.apply(effect, at, out);
    }

    /// Has the model say something that the user did not ask for, or not now.
    fn speak_unprompted(&mut self, at: CallTime, out: &mut Vec<Output>) {
        self.responder.begin_unprompted(at);
        let effect = self.responder.generate(at);
        self.apply(effect, at, out);
    }

    fn phrases(&self) -> &'static Phrases {
        Phrases::of(&self.settings.language)
    }

    /// Says a text that is not the model's.
    fn say(&mut self, text: &str, kind: UtteranceKind) {
        let utterance = self.utterances.next();
        self.playback.begin(utterance, kind);
        for clause in clauses(text) {
            self.history.agent_says(utterance, kind, &clause);
            self.playback.add(utterance, clause);
        }
        self.playback.complete(utterance);
    }

    /// Says the hold phrase before everything that is still to be said.
    fn hold(&mut self, at: CallTime) {
        let (text, utterance) = (self.phrases().hold, self.utterances.next());
        let next = self.playback.put_hold_phrase_first(utterance, text);
        self.history.agent_holds(utterance, next, text);
        self.responder.hold(at);
    }

    fn hold_phrase_due(&self) -> Option<CallTime> {
        if !self.phase.is_open() || self.barge_in.is_pausing() {
            return None;
        }
        let playback = PlaybackState {
            is_idle: self.playback.is_idle(),
            has_begun: self.playback.has_begun(),
            plays_until: self.playback.plays_until(),
            requested_at: self.playback.requested_at(),
        };
        self.responder.hold_phrase_due(playback, self.watchdog.sound_at())
    }

    /// Carries out what the responder decided.
    fn apply(&mut self, effects: impl IntoIterator<Item = Effect>, at: CallTime, out: &mut Vec<Output>) {
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
                Effect::Apologise => self.say(self.phrases().apology, UtteranceKind::Apology),
                Effect::GiveUp => {
                    self.say(self.phrases().goodbye, UtteranceKind::Apology);
                    self.phase.close(EndedReason::Unknown, at + GOODBYE);
                }
            }
        }
    }

    fn tool_returned(&mut self, at: CallTime, call: &str, content: String, out: &mut Vec<Output>) {
        let Some(generation) = self.history.tool_returned(call, content) else { return };
        if self.responder.tools_returned(generation) {
            if !self.phase.is_closing() {
                let effect = self.responder.generate(at);
                self.apply(effect, at, out);
            }
        } else if !self.responder.is_active() && !self.turn.is_open() && self.phase.is_open() {
            // A user who interrupted the function was replied to without its result, and hears of it now.
            self.speak_unprompted(at, out);
        }
    }

    fn stop_generating(&mut self, at: CallTime, out: &mut Vec<Output>) {
        let effects = self.responder.stop_generating();
        self.apply(effects, at, out);
    }

    fn model_timed_out(&mut self, at: CallTime, out: &mut Vec<Output>) {
        out.push(Output::Event(ConversationEvent::ProviderTimedOut(ProviderRole::LanguageModel)));
        let effects = self.responder.timed_out(at, &mut self.utterances);
        self.apply(effects, at, out);
    }

    /// Ends the agent's turn: nothing more is generated, synthesized or sent.
    fn interrupt(&mut self, at: CallTime, out: &mut Vec<Output>) {
        let Some(interrupted) = self.responder.interrupt() else { return };
        // An agent that pauses has nothing more to clear.
        if !self.barge_in.end_pause() && self.playback.is_playing(at) {
            out.push(Output::Clear);
            self.playback.cleared();
        }
        if let Some(generation) = interrupted.generation {
            out.push(Output::CancelGeneration { generation });
        }
        if self.playback.is_synthesizing() {
            out.push(Output::CancelSynthesis);
        }
        for heard in self.playback.stop(at) {
            if heard.is_reply() {
                self.responder.interrupted_after_words(interrupted);
            }
            self.was_heard(heard, out);
        }
    }

    /// An utterance is over: what was heard of it enters the conversation.
    fn was_heard(&mut self, heard: HeardUtterance, out: &mut Vec<Output>) {
        self.history.agent_was_heard(heard.id, &heard.text);
        heard.report(out);
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

    /// Until when a reply that has not begun waits for the caller, who is speaking.
    fn reply_waits_until(&self, at: CallTime) -> Option<CallTime> {
        if self.phase.is_closing() || !self.playback.is_about_to_begin() {
            return None;
        }
        self.watchdog.reply_waits_until().filter(|until| *until > at)
    }
}

/// The course of time.
impl Engine {
    fn check_deadlines(&mut self, at: CallTime, out: &mut Vec<Output>) {
        let is_due = |due: Option<CallTime>| due.is_some_and(|due| due <= at);
        if is_due(self.max_duration_due()) {
            self.hang_up(at, out);
        }
        if is_due(self.responder.timeout_due()) {
            self.model_timed_out(at, out);
        }
        if is_due(self.responder.retry_due()) {
            let effect = self.responder.generate_again(at);
            self.apply(effect, at, out);
        }
        self.playback.watch_synthesizer(at, out);
        if is_due(self.barge_in.due()) {
            self.end_pause();
        }
        if is_due(self.dtmf.due()) {
            self.number_completed(at, out);
        }
        if is_due(self.missed_speech_due()) {
            self.speech_was_missed(at, out);
        }
        if is_due(self.cough_due()) {
            self.idle.interrupted(at);
            self.forget_cough(out);
        }
        if is_due(self.turn_due()) {
            self.turn_is_due(at, out);
        }
        if is_due(self.unspoken.due()) {
            self.say_unspoken(at);
        }
        if is_due(self.idle_due()) {
            self.remind(at, out);
        }
        if is_due(self.hold_phrase_due()) {
            self.hold(at);
        }
    }

    /// The caller said nothing, so the agent says what it was cut off from.
    fn say_unspoken(&mut self, at: CallTime) {
        let Some(text) = self.unspoken.take() else { return };
        if !self.responder.is_active() && !self.phase.is_closing() {
            self.responder.begin_unprompted(at);
            self.say(&text, UtteranceKind::Speech);
        }
    }

    /// Sends and synthesizes what can be, reports what is over, and ends the call when its phase does.
    fn go_on(&mut self, at: CallTime, out: &mut Vec<Output>) {
        if let Phase::Draining { after } = self.phase {
            let is_quiet = !self.playback.is_audible(at) && !self.turn.is_open();
            if is_quiet || after <= at {
                return self.hand_over(at, out);
            }
        }
        loop {
            if self.reply_waits_until(at).is_none() {
                self.playback.send(at, out);
            }
            self.playback.synthesize(at, out);
            self.report_speech(at, out);
            match self.responder.conclude(at, self.playback.is_idle(), self.phase.is_closing()) {
                Conclusion::Failed(effect) => self.apply([effect], at, out),
                Conclusion::Over => {
                    self.idle.interrupted(at);
                    break;
                }
                Conclusion::None => break,
            }
        }
        if let Phase::Closing { reason, by } = self.phase
            && (self.playback.is_idle() || by <= at)
        {
            self.end(at, reason, out);
        }
    }
}

impl fmt::Debug for Engine {
    /// Without what was said.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("now", &self.now).field("phase", &self.phase).finish_non_exhaustive()
    }
}
