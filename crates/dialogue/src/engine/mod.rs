//! The engine: feeds its parts with the inputs of a call, and carries out their decisions.
//!
//! Each part decides over its own private state: [`UserSide`] on the user's turn, [`AgentSide`] on the response and
//! its speech, the others on one thing each. Neither side knows the other. This module is the only one that knows them
//! all: the order of events stands here, and in [`deadlines`] for what falls due. Start at [`Engine::on`].

mod deadlines;

use std::{fmt, time::Duration};

use switchboard_model::conversations::EndedReason;

use crate::{
    agent_side::{AgentSide, TurnStatus},
    barge_in::{BargeIn, is_above_echo},
    call_clock::CallClock,
    call_time::CallTime,
    dtmf::KeyPress,
    handover::{self, Unspoken},
    history::History,
    idle::Idle,
    input::Input,
    opening::Opening,
    output::Output,
    phase::Phase,
    playback::UtteranceInProgress,
    settings::EngineSettings,
    timing::{GOODBYE, LAST_WORDS},
    turn::backchannel::{answers_telephone, is_backchannel},
    types::{AnsweredCalls, HistoryItem},
    user_side::{FreshWords, UserSide, Words},
    wordless_sound::WordlessSound,
};

/// Decides who speaks when in one conversation.
pub struct Engine {
    /// The user's language, as a BCP-47 tag.
    language: String,
    max_duration: Option<Duration>,
    /// See [`EngineSettings::weighs_sounds`].
    weighs_sounds: bool,
    opening: Opening,
    /// How long a call that is taken over had lasted before; none for a new call.
    lasted: Option<Duration>,
    now: CallTime,
    phase: Phase,
    clock: CallClock,
    user: UserSide,
    agent: AgentSide,
    barge_in: BargeIn,
    idle: Idle,
    /// The agent's words that the previous worker or an interruption left unspoken, until the agent says them or the
    /// user's turn ends with words.
    unspoken: Unspoken,
}

impl Engine {
    /// The engine of a call whose media does not flow yet.
    #[must_use]
    pub fn new(settings: EngineSettings) -> Self {
        let EngineSettings {
            disclosure,
            greeting,
            max_duration,
            language,
            takeover,
            transcriber,
            watches_model,
            weighs_sounds,
        } = settings;
        let lasted = takeover.as_ref().map(|takeover| takeover.elapsed);
        let takeover = takeover.unwrap_or_default();
        let greeting = greeting.filter(|_| lasted.is_none());
        let (opening, history) = Opening::new(disclosure, greeting, takeover.history);
        let (history, unspoken) = (History::taken_over(history), Unspoken::new(takeover.unspoken));
        Self {
            max_duration,
            opening,
            lasted,
            now: CallTime::default(),
            phase: Phase::default(),
            clock: CallClock::default(),
            user: UserSide::new(transcriber, WordlessSound::new(weighs_sounds, history.has_user())),
            agent: AgentSide::new(history, &language, watches_model),
            weighs_sounds,
            barge_in: BargeIn::new(transcriber.words_overdue_after(), weighs_sounds),
            idle: Idle::default(),
            unspoken,
            language,
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
            Input::SpeechStarted => {
                self.user.begins(at, out);
                self.unspoken.put_off(at);
            }
            Input::Transcript { text, is_final, spoken_until } => {
                self.user_says(at, Words { text: text.trim(), is_final, spoken_until }, out);
            }
            Input::TranscriptWithdrawn => self.words_withdrawn(at, out),
            Input::TurnEnded => {
                self.idle.interrupted(at);
                self.user.turn_ended(at, out);
            }
            Input::ModelText { generation, text } => self.agent.text(at, generation, &text, out),
            Input::ModelToolCall { generation, call } => self.agent.tool_call(at, generation, call, out),
            Input::ModelFinished { generation } => self.agent.finished(at, generation, out),
            Input::ModelFailed { generation } => self.agent.failed(at, generation, out),
            Input::VoiceAudio { clause, audio } => self.agent.playback.audio(at, clause, audio),
            Input::VoiceWords { clause, words } => self.agent.playback.word_times(clause, words),
            Input::VoiceFinished { clause, trailing_silence } => {
                self.agent.playback.voice_finished(at, clause, trailing_silence);
            }
            Input::VoiceDelayed { clause } => self.agent.playback.voice_delayed(at, clause),
            Input::VoiceFailed { clause } => self.agent.playback.voice_failed(at, clause),
            Input::Played { mark } => self.agent.playback.played(at, mark),
            Input::ToolResult { call, content } => self.tool_returned(at, &call, content, out),
            Input::TranscriberFailed => self.user.transcriber_failed(at),
            Input::TranscriberLost => self.transcriber_lost(at, out),
            Input::HangUp => self.hang_up(at, out),
            Input::Drain => self.drain(at),
            Input::StreamLost if self.phase.is_closing() => return self.end(at, EndedReason::Unknown, out),
            Input::StreamLost => return self.hand_over(at, out),
            Input::StreamClosed => return self.end(at, EndedReason::UserEnded, out),
            Input::Wake => {}
        }
        self.close_if_given_up(at);
        self.clock.report(at, out);
        self.check_deadlines(at, out);
        self.go_on(at, out);
    }

    /// The conversation for the model: the user's words, and the agent's words, heard or still to be said.
    /// Each function call is followed by a result.
    #[must_use]
    pub fn history(&self) -> Vec<HistoryItem> {
        self.agent.history()
    }

    /// The function calls of the response that made this call, with their results, once all have returned. They belong
    /// into [`Takeover::history`](crate::Takeover::history) of the next worker.
    #[must_use]
    pub fn answered_calls(&self, call: &str) -> Option<AnsweredCalls> {
        self.agent.answered_calls(call)
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
        self.agent.playback.in_progress(at.max(self.now))
    }

    /// Whether the caller hears the agent, or the agent has paused and may go on: then the engine needs each frame
    /// of the caller's audio.
    #[must_use]
    pub fn is_audible(&self, at: CallTime) -> bool {
        self.barge_in.is_pausing() || self.agent.playback.is_audible(at.max(self.now))
    }

    /// Whether more of the model's response can be used now. While enough of its clauses wait for the synthesizer the
    /// worker does not read it, so that a model that writes faster than the agent speaks costs no memory.
    #[must_use]
    pub fn wants_model(&self) -> bool {
        self.agent.wants_model()
    }

    fn start(&mut self, at: CallTime, out: &mut Vec<Output>) {
        if !self.clock.start(at) {
            return;
        }
        self.phase.start();
        self.idle.interrupted(at);
        if let Some(lasted) = self.lasted {
            self.clock.resume(at, lasted);
        }
        if self.opening.has_disclosure() {
            // A reply to words that came before the media is generated anew behind the disclosure.
            self.agent.interrupt(at, false, out);
            return self.opening.disclose(at, &mut self.agent, &mut self.unspoken);
        }
        if self.lasted.is_some() {
            return self.take_over(at, out);
        }
        if let (Some(greeting), false) = (self.opening.take_greeting(), self.agent.is_responding()) {
            self.agent.greet(at, &greeting);
        }
    }

    /// Goes on with a call that another worker held before.
    fn take_over(&mut self, at: CallTime, out: &mut Vec<Output>) {
        self.unspoken.schedule(at);
        if !self.agent.is_responding() && !self.user.has_words() && !self.unspoken.is_some() {
            self.agent.continue_reply(at, out);
        }
    }

    /// Ends the conversation when the agent has nothing more to say. Nothing more is generated.
    fn hang_up(&mut self, at: CallTime, out: &mut Vec<Output>) {
        if self.phase.close(EndedReason::AgentEnded, at + LAST_WORDS) {
            self.agent.stop_generating(out);
        }
    }

    /// Ends the conversation when the agent has said goodbye because too many replies failed.
    fn close_if_given_up(&mut self, at: CallTime) {
        if self.agent.has_given_up() {
            self.phase.close(EndedReason::Unknown, at + GOODBYE);
        }
    }

    /// The caller can no longer be understood: the agent finishes its clause, says goodbye, and ends.
    fn transcriber_lost(&mut self, at: CallTime, out: &mut Vec<Output>) {
        if !self.phase.is_open() {
            return;
        }
        self.end_turn(at, out);
        self.unspoken.take();
        self.end_pause(at);
        self.agent.break_off(at, out);
        self.phase.close(EndedReason::Unknown, at + LAST_WORDS + GOODBYE);
    }

    /// Prepares the call for another worker.
    fn drain(&mut self, at: CallTime) {
        let word_ends = self.agent.playback.word_ends(at);
        self.phase.drain(handover::drained_after(at, self.user.is_speaking(), word_ends));
    }

    /// Ends the conversation. The words until now are kept.
    fn end(&mut self, at: CallTime, reason: EndedReason, out: &mut Vec<Output>) {
        let reason = self.phase.end(reason);
        self.agent.end(at, out);
        self.end_turn(at, out);
        out.push(Output::End { reason });
    }

    /// Leaves the conversation to another worker: like a barge-in, but the next turn is still the agent's.
    fn hand_over(&mut self, at: CallTime, out: &mut Vec<Output>) {
        self.phase.end(EndedReason::Unknown);
        let unspoken = if self.agent.is_responding() {
            self.agent.hand_over(at, self.barge_in.end_pause(), out)
        } else {
            // A call that has not started here is greeted by the next worker.
            self.unspoken.take().map(|unspoken| unspoken.text).or_else(|| self.opening.take_greeting())
        };
        // Words that the user has begun to say are to be replied to.
        let user_waits = self.end_turn(at, out).is_some();
        let unspoken = unspoken.filter(|text| !user_waits && handover::can_be_said(text));
        out.push(Output::HandOver { unspoken });
    }

    /// A frame of the caller's audio. Enough speech pauses an audible agent.
    fn frame(&mut self, at: CallTime, is_speech: bool, is_above_echo: bool, out: &mut Vec<Output>) {
        if is_speech && is_above_echo && self.user.speech_frame(at) && !self.user.is_only_sound() {
            self.idle.interrupted(at);
        }
        let interrupts = self.barge_in.frame(at, is_speech, is_above_echo, self.is_audible(at));
        let may_pause = self.phase.is_open() && !self.barge_in.is_pausing() && !self.agent.is_disclosing(at);
        if interrupts && may_pause {
            self.barge_in.pause(at);
            out.push(Output::Clear);
            self.agent.playback.pause(at, out);
        }
    }

    /// It was a false interruption: the agent goes on where it paused.
    fn end_pause(&mut self, at: CallTime) {
        if self.barge_in.end_false_alarm(at) {
            self.agent.playback.resume();
        }
    }

    /// Ends the agent's turn, unless the agent is saying its disclosure or its last words. Its unheard words are held
    /// back until it is known whether the user said anything.
    fn interrupt(&mut self, at: CallTime, out: &mut Vec<Output>) {
        let may_end = !self.phase.is_closing() && !self.agent.is_disclosing(at);
        if self.agent.is_responding() && may_end {
            self.unspoken = Unspoken::held_back(self.agent.rest(at));
            self.agent.interrupt(at, self.barge_in.end_pause(), out);
        }
    }

    /// A key was pressed: a caller who enters a number has heard enough.
    fn key_pressed(&mut self, at: CallTime, key: char, out: &mut Vec<Output>) {
        let press = self.user.press(at, key);
        if press == KeyPress::Ignored {
            return;
        }
        self.interrupt(at, out);
        self.unspoken.take();
        if press == KeyPress::Completed {
            self.user.complete_number(at, out);
        }
    }

    /// Words interrupt the agent, unless they are backchannel. If nothing of a reply was heard, they belong to the
    /// turn that it replies to, and the history joins them to that turn.
    fn user_says(&mut self, at: CallTime, words: Words<'_>, out: &mut Vec<Output>) {
        let is_unheard = self.agent.is_unheard(at);
        let Some(FreshWords { words, misunderstood, is_late }) = self.user.fresh(at, words, is_unheard)
        else {
            return;
        };
        self.unspoken.hold_back();
        self.idle.forget_reminders();
        self.barge_in.words_came();
        self.user.report_beginning(out);
        if !self.is_mere_backchannel(at, &self.user.text_with(words)) {
            self.interrupt(at, out);
        } else if words.is_final {
            self.end_pause(at);
        }
        if let Some(misunderstood) = misunderstood {
            self.agent.user_did_not_say(&misunderstood);
        }
        self.user.add(at, words);
        if is_late && !self.phase.is_closing() {
            self.user.end_detected(at);
        }
    }

    /// The transcriber takes the words of its interim back. If the turn has no others, the agent goes on with what
    /// they interrupted.
    fn words_withdrawn(&mut self, at: CallTime, out: &mut Vec<Output>) {
        let is_over = self.user.withdraw(out) && self.user.number_due().is_none();
        if !is_over || !self.unspoken.is_some() || !self.is_nobodys_turn() {
            return;
        }
        if self.agent.awaits_results() {
            // The model speaks as soon as it has them.
            self.unspoken.take();
        } else if self.agent.owes_reply() {
            self.unspoken.take();
            self.agent.continue_reply(at, out);
        } else {
            self.unspoken.schedule(at);
        }
    }

    /// Whether `words` only show that the caller listens, or only answer the telephone while the agent greets.
    fn is_mere_backchannel(&self, at: CallTime, words: &str) -> bool {
        self.agent.is_listened_to(at, self.barge_in.is_pausing()) && is_backchannel(&self.language, words)
            || self.weighs_sounds && self.agent.is_greeting(at) && answers_telephone(&self.language, words)
    }

    /// The user's turn is over: backchannel is forgotten, other words are replied to.
    fn turn_is_due(&mut self, at: CallTime, out: &mut Vec<Output>) {
        if self.is_mere_backchannel(at, &self.user.text()) {
            self.idle.interrupted(at);
            return self.user.forget_turn(at, out);
        }
        self.interrupt(at, out);
        let spoken_until = self.end_turn(at, out);
        if let Some(spoken_until) = spoken_until.filter(|_| !self.phase.is_closing()) {
            self.agent.reply(at, spoken_until, out);
        }
    }

    /// Ends the user's turn, if one is open, and keeps its words. Returns when they ended; `None` without words.
    fn end_turn(&mut self, at: CallTime, out: &mut Vec<Output>) -> Option<CallTime> {
        let turn = self.user.end_turn(at, out)?;
        self.unspoken.take();
        if let Some(earlier) = self.opening.take_waiting() {
            self.agent.user_said(earlier);
        }
        self.agent.user_said(turn.text);
        Some(turn.ended_at)
    }

    fn tool_returned(&mut self, at: CallTime, call: &str, content: String, out: &mut Vec<Output>) {
        match self.agent.tool_returned(call, content) {
            Some(true) if !self.phase.is_closing() => self.agent.generate(at, out),
            // The user interrupted the response, which was replaced without the result: the model reports it now.
            Some(false) if self.is_nobodys_turn() => self.agent.speak_unprompted(at, out),
            Some(_) | None => {}
        }
    }

    fn is_nobodys_turn(&self) -> bool {
        self.phase.is_open() && !self.agent.is_responding() && !self.user.is_speaking()
    }

    /// Sends and synthesizes audio, reports utterances, and ends the call when its phase ends.
    fn go_on(&mut self, at: CallTime, out: &mut Vec<Output>) {
        if let Phase::Draining { after } = self.phase {
            let is_quiet = !self.agent.playback.is_audible(at) && !self.user.is_speaking();
            if is_quiet || after <= at {
                return self.hand_over(at, out);
            }
        }
        loop {
            let may_send = self.reply_waits_until(at).is_none();
            match self.agent.go_on(at, may_send, self.phase.is_closing(), out) {
                TurnStatus::Replaced => self.close_if_given_up(at),
                TurnStatus::Over => {
                    self.idle.interrupted(at);
                    if !self.phase.is_closing() {
                        self.opening.reply_behind(at, &mut self.agent, out);
                    }
                    break;
                }
                TurnStatus::Waiting => break,
            }
        }
        if let Phase::Closing { reason, by } = self.phase
            && (self.agent.playback.is_idle() || by <= at)
        {
            self.end(at, reason, out);
        }
    }
}

impl fmt::Debug for Engine {
    /// Without the words of either side.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("now", &self.now).field("phase", &self.phase).finish_non_exhaustive()
    }
}
