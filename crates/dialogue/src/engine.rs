//! The engine: takes in what happens, and lets the parts decide.

use std::{fmt, time::Duration};

use super::{
    CallTime, ConversationEvent, HistoryItem, Input, Output, Settings,
    answering::Answer,
    endpointing::{Fresh, Turn},
    floor::Floor,
    heard::Heard,
    hearing::Hearing,
    history::History,
    keypad::Keypad,
    playback::Playback,
    takeover::Unspoken,
};
use switchboard_model::{conversations::EndedReason, messages::Role};

/// How long the agent may finish what it is saying when somebody asks it to end the conversation.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(5);
/// After a driver slept for longer, older seconds are left out.
const SECONDS_AT_ONCE: u64 = 60;

/// Decides who speaks when in one conversation.
#[derive(Default)]
pub struct Engine {
    pub(super) settings: Settings,
    pub(super) now: CallTime,
    started_at: Option<CallTime>,
    /// How long the conversation had lasted when this engine was started.
    pub(super) elapsed: Duration,
    /// Whole seconds told so far, or left out.
    pub(super) seconds: u64,
    pub(super) turn: Turn,
    pub(super) floor: Floor,
    pub(super) hearing: Hearing,
    pub(super) keypad: Keypad,
    /// Since when nobody speaks, when nobody does.
    pub(super) quiet_since: CallTime,
    /// How often in a row the agent spoke because nobody did.
    pub(super) reminders: u32,
    /// What the agent does with the floor; none while the user has it.
    pub(super) answer: Option<Answer>,
    pub(super) playback: Playback,
    /// When the user was last asked for patience.
    pub(super) filled_at: Option<CallTime>,
    pub(super) history: History,
    pub(super) requests: u32,
    /// Turns in a row without an answer.
    pub(super) failed_turns: u32,
    pub(super) ending: Option<Ending>,
    /// What the worker before was cut off from saying, until it is said or the user speaks.
    pub(super) unspoken: Option<Unspoken>,
    /// When the word ends after which the call is handed over.
    pub(super) draining: Option<CallTime>,
    pub(super) ended: bool,
}

/// The conversation ends as soon as the agent has said what it is saying.
#[derive(Clone, Copy)]
pub(super) struct Ending {
    pub(super) reason: EndedReason,
    pub(super) by: CallTime,
}

impl Engine {
    /// A call that has not started, or not here.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let mut engine = Self { settings, ..Self::default() };
        engine.take_in_what_was();
        engine
    }

    /// Takes in what happened at `at`, and appends what is to be done to `out`, which the caller
    /// empties. An `at` before an earlier one counts as that one. After [`Output::End`] or
    /// [`Output::HandOver`] nothing follows, whatever happens.
    pub fn on(&mut self, at: CallTime, input: Input, out: &mut Vec<Output>) {
        if self.ended {
            return;
        }
        let at = at.max(self.now);
        self.now = at;
        // What happened goes before what is due: a word beats the timer that waited for it.
        match input {
            Input::MediaStarted => self.start(at, out),
            Input::Frame { is_speech, level_db, agent_level_db } => {
                self.hears_frame(at, is_speech, level_db, agent_level_db, out);
            }
            Input::Dtmf(key) => self.key(at, key, out),
            Input::SpeechStarted => self.user_begins(at, out),
            Input::Transcript { text, is_final, spoken_until } => {
                self.user_says(at, text.trim(), is_final, spoken_until, out);
            }
            Input::TurnEnded => {
                self.quiet_since = at;
                self.hearing.understands();
                if self.turn.signal(at) {
                    out.push(Output::Event(ConversationEvent::SpeechEnded(Role::User)));
                }
            }
            Input::ModelText { generation, text } => self.model_text(at, generation, &text),
            Input::ModelToolCall { generation, call } => self.model_calls(at, generation, call),
            Input::ModelFinished { generation } => self.model_finished(at, generation, out),
            Input::ModelFailed { generation } => self.model_failed(at, generation, out),
            Input::VoiceAudio { clause, bytes } => self.playback.audio(at, clause, bytes),
            Input::VoiceFinished { clause, silence } => self.playback.voice_finished(at, clause, silence),
            Input::VoiceFailed { clause } => self.playback.voice_failed(at, clause),
            Input::Played { mark } => self.playback.played(at, mark),
            Input::ToolResult { call, content } => self.tool_answered(at, &call, content, out),
            Input::TranscriberFailed => self.transcriber_failed(at),
            Input::TranscriberLost => self.transcriber_lost(at, out),
            Input::HangUp => self.hang_up(at, out),
            Input::Drain => self.drain(at),
            Input::StreamLost => return self.lost(at, out),
            Input::StreamClosed => return self.end(at, EndedReason::UserEnded, out),
            Input::Wake => {}
        }
        self.tell_seconds(at, out);
        self.check_timers(at, out);
        self.go_on(at, out);
    }

    /// When [`Input::Wake`] is due, if nothing happens before; always after the last input.
    #[must_use]
    pub fn deadline(&self) -> Option<CallTime> {
        if self.ended {
            return None;
        }
        let due = [
            self.lasted(Duration::from_secs(self.seconds.saturating_add(1))),
            self.longest(),
            self.unspoken_due(),
            self.draining,
            self.ending.map(|ending| ending.by),
            self.turn_due(),
            self.floor.due(),
            self.keypad.due(),
            self.idle_due(),
            self.model_due(),
            self.again_due(),
            self.filler_due(),
            self.hearing_due(),
            self.sound_due(),
            self.gives_way(self.now),
            self.playback.deadline(self.now),
        ];
        due.into_iter().flatten().filter(|due| *due > self.now).min()
    }

    /// What the model is to be told of the conversation: what the user said and the agent was heard
    /// saying, or is still to say. Every call of a function is followed by a result.
    #[must_use]
    pub fn history(&self) -> Vec<HistoryItem> {
        self.history.lines()
    }

    pub(super) fn is_started(&self) -> bool {
        self.started_at.is_some()
    }

    fn start(&mut self, at: CallTime, out: &mut Vec<Output>) {
        if self.started_at.is_some() {
            return;
        }
        self.started_at = Some(at);
        self.quiet_since = at;
        if self.settings.takeover.is_some() {
            return self.take_over(at, out);
        }
        if let (Some(greeting), None) = (self.settings.greeting.take(), &self.answer) {
            self.answer = Some(Answer::greeting());
            self.say(&greeting);
        }
    }

    /// Tells that the user speaks, if that is news.
    pub(super) fn begin_turn(&mut self, out: &mut Vec<Output>) {
        if !self.turn.is_open() {
            out.push(Output::Event(ConversationEvent::SpeechStarted(Role::User)));
        }
    }

    fn user_begins(&mut self, at: CallTime, out: &mut Vec<Output>) {
        self.begin_turn(out);
        self.turn.begin(at);
        self.hearing.notices(at);
        self.put_off_unspoken(at);
    }

    /// Words of the user take the floor from the agent, unless they only show that somebody listens. If
    /// nothing of an answer was heard they belong to the turn it was meant for; the history then joins
    /// them to what was said before.
    fn user_says(
        &mut self,
        at: CallTime,
        text: &str,
        is_final: bool,
        spoken_until: Option<CallTime>,
        out: &mut Vec<Output>,
    ) {
        if text.is_empty() || self.hearing.is_repeated(spoken_until) {
            return;
        }
        self.hearing.understands();
        let unheard =
            self.answer.as_ref().is_some_and(Answer::is_unheard) && !self.playback.any_answer_heard(at);
        let (text, wrong) = match self.turn.fresh(at, text, is_final) {
            Fresh::Words(text) => (text, None),
            Fresh::Corrected { counted, text, .. } if unheard => (text, Some(counted)),
            // Words that are being answered already are not worth cutting the agent off.
            Fresh::Nothing | Fresh::Corrected { more: "", .. } => return,
            Fresh::Corrected { more, .. } => (more, None),
        };
        self.unspoken = None;
        self.reminders = 0;
        // The transcriber settles words of the turn it has ended, rather than new ones.
        let is_late = is_final && unheard && !self.turn.is_open();
        self.begin_turn(out);
        let is_mere = self.is_listened_to(at) && self.is_backchannel(&self.turn.with(text));
        if is_mere && is_final {
            self.go_on_speaking();
        }
        if !is_mere && self.ending.is_none() {
            self.interrupt(at, out);
        }
        if let Some(wrong) = wrong {
            self.history.user_did_not_say(&wrong);
        }
        let spoken_until = spoken_until.or_else(|| self.hearing.spoken_until(at));
        self.turn.hear(at, text, is_final, spoken_until);
        if is_late && self.ending.is_none() {
            self.turn.signal(at);
        }
    }

    /// Takes the floor from the agent: nothing more is asked, spoken or sent.
    pub(super) fn interrupt(&mut self, at: CallTime, out: &mut Vec<Output>) {
        let Some(answer) = self.answer.take() else { return };
        // An agent that has stopped already has nothing more to clear.
        if !self.floor.leave() && self.playback.is_playing(at) {
            out.push(Output::Clear);
            self.playback.cleared();
        }
        if let Some(generation) = answer.asked() {
            out.push(Output::CancelGeneration { generation });
        }
        if self.playback.is_speaking() {
            out.push(Output::CancelSynthesis);
        }
        for heard in self.playback.stop(at) {
            if !heard.text.is_empty() && !heard.is_filler && answer.is_to_user() {
                self.failed_turns = 0;
            }
            self.tell_heard(heard, out);
        }
    }

    /// The user's turn is over: the words enter the conversation. When they ended, if there were any.
    fn end_turn(&mut self, at: CallTime, out: &mut Vec<Output>) -> Option<CallTime> {
        let spoken = self.turn.take(at)?;
        self.history.user_said(spoken.text.clone());
        out.push(Output::Event(ConversationEvent::SpeechEnded(Role::User)));
        out.push(Output::Event(ConversationEvent::MessageSent {
            role: Role::User,
            content: spoken.text,
            started_at: spoken.started_at,
            ended_at: spoken.ended_at,
            interrupted: false,
            latency: None,
        }));
        Some(spoken.ended_at)
    }

    /// Whatever the user was saying is over, for this engine. Whether there were words.
    pub(super) fn end_open_turn(&mut self, at: CallTime, out: &mut Vec<Output>) -> bool {
        if !self.turn.is_open() {
            return false;
        }
        let has_words = self.end_turn(at, out).is_some();
        if !has_words {
            out.push(Output::Event(ConversationEvent::SpeechEnded(Role::User)));
        }
        has_words
    }

    /// An utterance of the agent is over: what was heard of it enters the conversation.
    fn tell_heard(&mut self, heard: Heard, out: &mut Vec<Output>) {
        self.history.agent_was_heard(heard.id, &heard.text);
        let Some(started_at) = heard.started_at.filter(|_| heard.began_told || !heard.text.is_empty()) else {
            return;
        };
        if !heard.began_told {
            out.push(Output::Event(ConversationEvent::SpeechStarted(Role::Agent)));
        }
        out.push(Output::Event(ConversationEvent::SpeechEnded(Role::Agent)));
        if !heard.text.is_empty() {
            out.push(Output::Event(ConversationEvent::MessageSent {
                role: Role::Agent,
                content: heard.text,
                started_at,
                ended_at: heard.ended_at,
                interrupted: heard.interrupted,
                latency: heard.latency,
            }));
        }
    }

    /// When the conversation has lasted this long; none before it has started.
    fn lasted(&self, duration: Duration) -> Option<CallTime> {
        Some(self.started_at? + duration.saturating_sub(self.elapsed))
    }

    fn longest(&self) -> Option<CallTime> {
        self.lasted(self.settings.max_duration?)
    }

    fn tell_seconds(&mut self, at: CallTime, out: &mut Vec<Output>) {
        let Some(started_at) = self.started_at else { return };
        let passed = self.elapsed.saturating_add(at.since(started_at)).as_secs();
        if passed <= self.seconds {
            return;
        }
        for seconds in (self.seconds + 1).max(passed.saturating_sub(SECONDS_AT_ONCE))..=passed {
            out.push(Output::Event(ConversationEvent::Duration { seconds }));
        }
        self.seconds = passed;
    }

    fn check_timers(&mut self, at: CallTime, out: &mut Vec<Output>) {
        let is_due = |due: Option<CallTime>| due.is_some_and(|due| due <= at);
        if is_due(self.longest()) {
            self.hang_up(at, out);
        }
        if is_due(self.model_due()) {
            self.model_is_late(at, out);
        }
        if is_due(self.again_due()) {
            self.ask_again(at, out);
        }
        self.playback.watch_voice(at, out);
        if is_due(self.floor.due()) {
            self.go_on_speaking();
        }
        if is_due(self.keypad.due()) {
            self.keyed(at, out);
        }
        if is_due(self.hearing_due()) {
            self.hear_again(at, out);
        }
        if is_due(self.sound_due()) {
            self.quiet_since = at;
            self.forget_sound(out);
        }
        if is_due(self.turn_due()) && self.is_listened_to(at) && self.is_backchannel(&self.turn.text()) {
            // The agent goes on, and nobody has said anything.
            self.turn.take(at);
            self.quiet_since = at;
            out.push(Output::Event(ConversationEvent::SpeechEnded(Role::User)));
        } else if is_due(self.turn_due()) {
            if self.ending.is_none() {
                self.interrupt(at, out);
            }
            let spoken_until = self.end_turn(at, out);
            if let (Some(spoken_until), None) = (spoken_until, self.ending) {
                self.answer(at, spoken_until, out);
            }
        }
        if is_due(self.unspoken_due()) {
            self.say_unspoken();
        }
        if is_due(self.idle_due()) {
            self.remind(at, out);
        }
        if is_due(self.filler_due()) {
            self.fill(at);
        }
    }

    /// Speaks and sends what can be, takes note of what is over, and ends if that was the last of it.
    fn go_on(&mut self, at: CallTime, out: &mut Vec<Output>) {
        if self.is_drained(at) {
            return self.hand_over(at, out);
        }
        loop {
            if self.gives_way(at).is_none() {
                self.playback.send(at, out);
            }
            self.playback.speak(at, out);
            self.tell_speech(at, out);
            if !self.close_answer(at) {
                break;
            }
        }
        let ready = |ending: &Ending| self.playback.is_idle() || ending.by <= at;
        if let Some(Ending { reason, .. }) = self.ending.filter(ready) {
            self.end(at, reason, out);
        }
    }

    /// Tells which utterances have begun and which are over.
    fn tell_speech(&mut self, at: CallTime, out: &mut Vec<Output>) {
        loop {
            if let Some(began) = self.playback.began() {
                if let Some(answer) = self.answer.as_mut().filter(|_| !began.is_filler) {
                    *began.latency = answer.speaks(at, began.first_audio_at);
                }
                out.push(Output::Event(ConversationEvent::SpeechStarted(Role::Agent)));
            }
            let Some(heard) = self.playback.finished(at) else { return };
            if let Some(answer) = &mut self.answer {
                answer.was_heard(&heard);
            }
            self.tell_heard(heard, out);
        }
    }

    /// Ends the conversation when what is being said is said.
    fn hang_up(&mut self, at: CallTime, out: &mut Vec<Output>) {
        let by = at + LAST_WORDS;
        if let Some(ending) = &mut self.ending {
            ending.by = ending.by.min(by);
        } else {
            self.ending = Some(Ending { reason: EndedReason::AgentEnded, by });
            self.stop_asking(out);
        }
    }

    /// Ends the conversation, keeping what was said until now. A reason that was there before stays.
    pub(super) fn end(&mut self, at: CallTime, reason: EndedReason, out: &mut Vec<Output>) {
        self.ended = true;
        for heard in self.playback.stop(at) {
            self.tell_heard(heard, out);
        }
        self.end_open_turn(at, out);
        let reason = self.ending.map_or(reason, |ending| ending.reason);
        out.push(Output::End { reason });
    }
}

impl fmt::Debug for Engine {
    /// Without what was said.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("now", &self.now).field("ended", &self.ended).finish_non_exhaustive()
    }
}
