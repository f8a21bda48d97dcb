//! The deadlines of the engine: when each one is due, and what happens then.

use switchboard_model::conversations::EndedReason;

use super::Engine;
use crate::{
    call_time::CallTime,
    idle::{self, Reminder},
    output::Output,
    timing::GOODBYE,
    wordless_sound::MissedSpeech,
};

impl Engine {
    /// When [`Input::Wake`](crate::Input::Wake) is due if nothing happens before; always after the last input.
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
            self.user.turn_due(),
            self.barge_in.due(),
            self.user.number_due(),
            self.user.finalize_due(),
            self.idle_due(),
            self.agent.timeout_due(),
            self.agent.retry_due(),
            self.hold_phrase_due(),
            self.missed_speech_due(),
            self.user.cough_due(),
            self.reply_waits_until(self.now),
            self.agent.playback.deadline(self.now),
        ];
        due.into_iter().flatten().filter(|due| *due > self.now).min()
    }

    /// Until when a reply that has not begun waits for a caller who is speaking.
    pub(super) fn reply_waits_until(&self, at: CallTime) -> Option<CallTime> {
        let may_wait = !self.phase.is_closing() && !self.agent.is_disclosing(at);
        if !may_wait || !self.agent.playback.is_about_to_begin() {
            return None;
        }
        self.user.reply_waits_until().filter(|until| *until > at)
    }

    /// Acts on the deadlines that are due.
    pub(super) fn check_deadlines(&mut self, at: CallTime, out: &mut Vec<Output>) {
        let is_due = |due: Option<CallTime>| due.is_some_and(|due| due <= at);
        if is_due(self.max_duration_due()) {
            self.hang_up(at, out);
        }
        if is_due(self.agent.timeout_due()) {
            self.agent.timed_out(at, out);
            self.close_if_given_up(at);
        }
        if is_due(self.agent.retry_due()) {
            self.agent.generate_again(at, out);
        }
        self.agent.playback.watch_synthesizer(at, out);
        if is_due(self.barge_in.due()) {
            self.end_pause(at);
        }
        if is_due(self.user.number_due()) {
            self.user.complete_number(at, out);
        }
        if is_due(self.user.finalize_due()) {
            self.user.finalize(out);
        }
        if is_due(self.missed_speech_due()) {
            self.speech_was_missed(at, out);
        }
        if is_due(self.user.cough_due()) {
            self.idle.interrupted(at);
            self.user.forget_cough(out);
        }
        if is_due(self.user.turn_due()) && !self.agent.is_disclosing(at) {
            self.turn_is_due(at, out);
        }
        if is_due(self.unspoken.due()) {
            self.say_unspoken(at, out);
        }
        if is_due(self.idle_due()) {
            self.remind(at, out);
        }
        if is_due(self.hold_phrase_due()) {
            self.agent.hold(at);
        }
    }

    /// The caller has not spoken, so the agent says the words that it or the previous worker left.
    fn say_unspoken(&mut self, at: CallTime, out: &mut Vec<Output>) {
        let Some(unspoken) = self.unspoken.take() else { return };
        if !self.agent.is_responding() && !self.phase.is_closing() {
            self.agent.resume(at, &unspoken, out);
        }
    }

    fn max_duration_due(&self) -> Option<CallTime> {
        self.clock.reaches(self.max_duration?)
    }

    fn missed_speech_due(&self) -> Option<CallTime> {
        self.user.missed_speech_due().filter(|_| self.phase.is_open())
    }

    /// The transcriber missed speech.
    fn speech_was_missed(&mut self, at: CallTime, out: &mut Vec<Output>) {
        let Some(missed) = self.user.act_on_missed_speech(at, out) else { return };
        if self.agent.is_responding() {
            return;
        }
        self.user.forget_cough(out);
        match missed {
            MissedSpeech::Words { spoken_until } => self.agent.apologise(at, spoken_until, out),
            MissedSpeech::Sound { spoken_until, is_first: true } => {
                self.agent.ask_again(at, spoken_until, out);
            }
            MissedSpeech::Sound { .. } => {}
        }
        self.close_if_given_up(at);
    }

    fn idle_due(&self) -> Option<CallTime> {
        let is_idle = self.clock.is_running()
            && self.phase.is_open()
            && !self.agent.is_responding()
            && !self.user.has_words()
            && self.user.number_due().is_none()
            && self.unspoken.due().is_none();
        is_idle.then(|| self.idle.due())
    }

    fn remind(&mut self, at: CallTime, out: &mut Vec<Output>) {
        match self.idle.remind() {
            Reminder::Ask => self.agent.remind(at, idle::NOTE, out),
            Reminder::SayGoodbye => {
                self.agent.say_idle_goodbye(at);
                self.phase.close(EndedReason::AgentEnded, at + GOODBYE);
            }
        }
    }

    fn hold_phrase_due(&self) -> Option<CallTime> {
        let may_hold = self.phase.is_open() && !self.barge_in.is_pausing();
        may_hold.then(|| self.agent.hold_phrase_due(self.user.sound_at())).flatten()
    }
}
