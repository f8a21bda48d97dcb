//! Idle calls: if neither side speaks, the agent asks a few times whether the caller is there, then says goodbye.

use std::time::Duration;

use crate::call_time::CallTime;

/// Silence of both sides after which the agent asks: longer than it takes to look for a pen.
const REMIND_AFTER: Duration = Duration::from_secs(15);
/// Maximum number of reminders in a row.
const MAX_REMINDERS: u32 = 3;
/// The model's instruction for a reminder.
pub(crate) const NOTE: &str =
    "The caller has been silent for a while. Ask briefly whether they are still there, or help them on.";

/// The agent's reaction to an idle call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reminder {
    /// The model asks the caller something.
    Ask,
    /// The agent says goodbye, and the conversation ends.
    SayGoodbye,
}

/// The silence of both sides.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    /// When either side last spoke.
    quiet_since: CallTime,
    /// Reminders since the caller last said something.
    reminders: u32,
}

impl Idle {
    /// A side spoke, or the transcriber or its watchdog reported something: the silence begins anew.
    pub(crate) fn interrupted(&mut self, at: CallTime) {
        self.quiet_since = at;
    }

    /// The caller said words.
    pub(crate) fn forget_reminders(&mut self) {
        self.reminders = 0;
    }

    /// When the call counts as idle, if neither side speaks until then.
    pub(crate) fn due(&self) -> CallTime {
        self.quiet_since + REMIND_AFTER
    }

    /// Decides on the reaction to an idle call.
    pub(crate) fn remind(&mut self) -> Reminder {
        self.reminders += 1;
        if self.reminders > MAX_REMINDERS { Reminder::SayGoodbye } else { Reminder::Ask }
    }
}
