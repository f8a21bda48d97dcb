//! The user's side of a call: their words, and the end of their turn.
//!
//! Words and the end of a turn come from the transcriber ([`Turn`]), sound from our own voice activity detection
//! ([`TranscriberWatchdog`]), digits from the telephone ([`Dtmf`]). This part joins the three to one turn, and
//! reports its beginning and end. It knows nothing of the agent: whether words interrupt it is the engine's decision.

use std::time::Duration;

use switchboard_model::messages::Role;

use crate::{
    call_time::CallTime,
    dtmf::{Dtmf, KeyPress},
    output::{ConversationEvent, Output},
    settings::TranscriberProfile,
    transcriber_watchdog::{TranscriberWatchdog, TurnState},
    turn::{FinishedTurn, Fresh, Turn},
    types::ProviderRole,
    wordless_sound::{MissedSpeech, WordlessSound},
};

/// Silence after which a transcriber that still delivers interims is asked for their final words. It is more than any
/// transcriber's own endpoint.
const FINALIZE_AFTER: Duration = Duration::from_millis(700);

/// The user's current turn, and the signs of it.
#[derive(Debug)]
pub(crate) struct UserSide {
    turn: Turn,
    watchdog: TranscriberWatchdog,
    dtmf: Dtmf,
    can_finalize: bool,
    wordless: WordlessSound,
}

/// Words as the transcriber delivers them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words<'a> {
    pub(crate) text: &'a str,
    pub(crate) is_final: bool,
    /// When the last of them was spoken, if the transcriber says.
    pub(crate) spoken_until: Option<CallTime>,
}

/// The words that belong to the current turn.
#[derive(Debug)]
pub(crate) struct FreshWords<'a> {
    pub(crate) words: Words<'a>,
    /// The words at the end of the turn before that these replace.
    pub(crate) misunderstood: Option<String>,
    /// They belong to the turn before, which the transcriber has ended already: they begin no other one.
    pub(crate) is_late: bool,
}

impl UserSide {
    pub(crate) fn new(transcriber: TranscriberProfile, wordless: WordlessSound) -> Self {
        Self {
            turn: Turn::new(&transcriber),
            watchdog: TranscriberWatchdog::new(transcriber),
            dtmf: Dtmf::new(wordless.is_weighed()),
            wordless,
            can_finalize: transcriber.can_finalize,
        }
    }

    /// Whether the user has begun to say something.
    pub(crate) fn is_speaking(&self) -> bool {
        self.turn.is_open()
    }

    /// Whether the turn has words, which want a reply.
    pub(crate) fn has_words(&self) -> bool {
        self.turn.has_words()
    }

    /// The turn's words.
    pub(crate) fn text(&self) -> String {
        self.turn.text()
    }

    /// The turn's words if these were added.
    pub(crate) fn text_with(&self, words: Words<'_>) -> String {
        self.turn.text_with(words.text)
    }

    /// When voice activity detection last detected speech of the caller.
    pub(crate) fn sound_at(&self) -> Option<CallTime> {
        self.watchdog.sound_at()
    }

    /// Until when a reply that has not begun waits for a caller who is speaking.
    pub(crate) fn reply_waits_until(&self) -> Option<CallTime> {
        self.watchdog.reply_waits_until()
    }

    /// Whether the caller's sound counts for nothing until words come: the agent has asked once.
    pub(crate) fn is_only_sound(&self) -> bool {
        self.wordless.is_ignored()
    }

    /// When the turn ends.
    pub(crate) fn turn_due(&self) -> Option<CallTime> {
        self.turn.due().map(|due| self.watchdog.put_off(due))
    }

    /// When the transcriber should make the interim words final: the caller has stopped, and it has not noticed.
    pub(crate) fn finalize_due(&self) -> Option<CallTime> {
        let interim_at = self.turn.interim_at().filter(|_| self.can_finalize)?;
        Some(self.watchdog.sound_at()?.max(interim_at) + FINALIZE_AFTER)
    }

    /// When a turn without words counts as a cough.
    pub(crate) fn cough_due(&self) -> Option<CallTime> {
        self.turn.wordless_since().map(|began_at| self.watchdog.cough_due(began_at))
    }

    /// When [`act_on_missed_speech`](Self::act_on_missed_speech) is due.
    pub(crate) fn missed_speech_due(&self) -> Option<CallTime> {
        self.watchdog.due(self.turn_state())
    }

    /// When the number that is being entered is complete.
    pub(crate) fn number_due(&self) -> Option<CallTime> {
        self.dtmf.due()
    }

    fn turn_state(&self) -> TurnState {
        TurnState {
            is_open: self.turn.is_open(),
            has_words: self.turn.has_words(),
            spoken_until: self.turn.spoken_until(),
        }
    }
}

/// Inputs of the caller and the transcriber, and the turn's end.
impl UserSide {
    /// Counts a frame of the caller's speech. False if it has gone on without words for too long to be speech.
    pub(crate) fn speech_frame(&mut self, at: CallTime) -> bool {
        self.watchdog.speech_frame(at)
    }

    /// The transcriber detected the beginning of speech.
    pub(crate) fn begins(&mut self, at: CallTime, out: &mut Vec<Output>) {
        self.report_beginning(out);
        self.turn.begin(at);
        self.watchdog.speech_detected(at);
    }

    /// The part of the transcriber's words that was not counted before; none if there is none.
    /// `is_reply_unheard`: the agent replies to the turn before, and the caller has heard nothing of it.
    pub(crate) fn fresh<'a>(
        &mut self,
        at: CallTime,
        words: Words<'a>,
        is_reply_unheard: bool,
    ) -> Option<FreshWords<'a>> {
        let Words { text, is_final, spoken_until } = words;
        if text.is_empty() || self.watchdog.is_repeated(spoken_until) {
            return None;
        }
        self.watchdog.recognised();
        self.wordless.recognised();
        let (text, misunderstood) = match self.turn.fresh(at, text, is_final) {
            Fresh::Words(text) => (text, None),
            Fresh::Corrected { counted, text, .. } if is_reply_unheard => (text, Some(counted)),
            // Words that are being replied to already are no reason to cut the agent off.
            Fresh::Nothing | Fresh::Corrected { more: "", .. } => return None,
            Fresh::Corrected { more, .. } => (more, None),
        };
        let is_late = is_final && is_reply_unheard && !self.turn.is_open();
        Some(FreshWords { words: Words { text, ..words }, misunderstood, is_late })
    }

    /// Adds words to the turn.
    pub(crate) fn add(&mut self, at: CallTime, words: Words<'_>) {
        let spoken_until = words.spoken_until.or_else(|| self.watchdog.spoken_until(at));
        self.turn.add(at, words.text, words.is_final, spoken_until);
    }

    /// The turn ends with the words so far, unless they sound unfinished.
    pub(crate) fn end_detected(&mut self, at: CallTime) {
        self.turn.end_detected(at);
    }

    /// The transcriber detected the end of a turn.
    pub(crate) fn turn_ended(&mut self, at: CallTime, out: &mut Vec<Output>) {
        self.watchdog.recognised();
        if self.turn.end_detected(at) {
            out.push(Output::Event(ConversationEvent::SpeechEnded(Role::User)));
        }
    }

    /// Has the transcriber make the interim words final.
    pub(crate) fn finalize(&mut self, out: &mut Vec<Output>) {
        self.turn.mark_finalizing();
        out.push(Output::FinalizeTranscript);
    }

    /// The transcriber failed.
    pub(crate) fn transcriber_failed(&mut self, at: CallTime) {
        self.watchdog.transcriber_failed(at);
    }

    /// A key was pressed.
    pub(crate) fn press(&mut self, at: CallTime, key: char) -> KeyPress {
        self.dtmf.press(at, key)
    }

    /// A number is complete: it ends the turn, after words that were said with it.
    pub(crate) fn complete_number(&mut self, at: CallTime, out: &mut Vec<Output>) {
        if let Some(digits) = self.dtmf.take() {
            self.report_beginning(out);
            self.turn.add(at, &digits, true, None);
            self.turn.mark_complete(at);
        }
    }

    /// The transcriber missed speech: another session receives it again, or the turn ends without it. Returns the speech
    /// if no session delivered its words, and the turn has no others.
    pub(crate) fn act_on_missed_speech(
        &mut self,
        at: CallTime,
        out: &mut Vec<Output>,
    ) -> Option<MissedSpeech> {
        let missed = self.watchdog.act(at, self.turn_state())?;
        if missed.replace_transcriber {
            out.push(Output::Event(ConversationEvent::ProviderTimedOut(ProviderRole::Transcriber)));
            out.push(Output::ReplaceTranscriber);
        }
        if missed.give_up && self.turn.has_words() {
            self.turn.mark_complete(at);
        }
        if !missed.give_up || self.turn.has_words() {
            return None;
        }
        Some(self.wordless.missed(missed.spoken_until, missed.had_failed))
    }

    /// The transcriber takes the words of its interim back. True if the turn had no others: it is closed.
    pub(crate) fn withdraw(&mut self, out: &mut Vec<Output>) -> bool {
        let was_open = self.turn.is_open();
        self.turn.withdraw();
        let is_closed = self.turn.forget_sound();
        if is_closed {
            out.push(Output::Event(ConversationEvent::SpeechEnded(Role::User)));
        }
        was_open && is_closed
    }

    /// Closes a turn without words: it was a cough.
    pub(crate) fn forget_cough(&mut self, out: &mut Vec<Output>) {
        if self.turn.forget_sound() {
            out.push(Output::Event(ConversationEvent::SpeechEnded(Role::User)));
        }
    }

    /// Ends a turn that was mere backchannel.
    pub(crate) fn forget_turn(&mut self, at: CallTime, out: &mut Vec<Output>) {
        self.turn.take(at);
        out.push(Output::Event(ConversationEvent::SpeechEnded(Role::User)));
    }

    /// Ends the turn, if one is open. None if it has no words.
    pub(crate) fn end_turn(&mut self, at: CallTime, out: &mut Vec<Output>) -> Option<FinishedTurn> {
        if !self.turn.is_open() {
            return None;
        }
        let turn = self.turn.take(at);
        match &turn {
            Some(turn) => turn.report(out),
            None => out.push(Output::Event(ConversationEvent::SpeechEnded(Role::User))),
        }
        turn
    }

    /// Reports that the user speaks, if it was not reported.
    pub(crate) fn report_beginning(&self, out: &mut Vec<Output>) {
        if !self.turn.is_open() {
            out.push(Output::Event(ConversationEvent::SpeechStarted(Role::User)));
        }
    }
}
