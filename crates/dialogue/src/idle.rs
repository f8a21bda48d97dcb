//! A line on which nobody speaks: the agent asks, a few times, then says goodbye.

use std::time::Duration;

use super::{CallTime, Engine, Output, answering::Answer, engine::Ending};
use switchboard_model::conversations::EndedReason;

/// Silence of both sides after which the agent asks: longer than anybody looks for a pen.
pub(super) const IDLE: Duration = Duration::from_secs(15);
/// How often in a row it asks before it says goodbye.
pub(super) const REMINDERS: u32 = 3;
/// What the model is told then.
pub(super) const NOTE: &str =
    "The caller has been silent for a while. Ask briefly whether they are still there, or help them on.";
/// How long that may take, with a voice that fails once.
const GOODBYE_TAKES: Duration = Duration::from_secs(10);

impl Engine {
    /// When the line has been silent for too long; none while somebody has something to do.
    pub(super) fn idle_due(&self) -> Option<CallTime> {
        let nobody_acts = self.answer.is_none()
            && !self.turn.has_words()
            && self.keypad.due().is_none()
            && self.unspoken.is_none()
            && self.ending.is_none()
            && self.draining.is_none();
        (self.is_started() && nobody_acts).then(|| self.quiet_since + IDLE)
    }

    /// Nobody has spoken for too long.
    pub(super) fn remind(&mut self, at: CallTime, out: &mut Vec<Output>) {
        self.reminders += 1;
        if self.reminders > REMINDERS {
            self.answer = Some(Answer::greeting());
            self.say(self.phrases().nobody);
            self.ending = Some(Ending { reason: EndedReason::AgentEnded, by: at + GOODBYE_TAKES });
        } else {
            self.history.note(NOTE);
            self.speak_unasked(at, out);
        }
    }
}
