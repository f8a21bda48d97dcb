//! DTMF: consecutive digits of the caller become one text of the user.

use std::time::Duration;

use crate::call_time::CallTime;

/// A number is complete after this long without another key.
const COMPLETE_AFTER: Duration = Duration::from_secs(2);
/// This key completes a number at once.
const DONE: char = '#';
/// Maximum length of a number; further keys are dropped.
const MAX_DIGITS: usize = 64;

/// The effect of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyPress {
    /// No DTMF key, or a `#` without digits before it.
    Ignored,
    /// It belongs to a number that is not complete.
    Entered,
    /// The number is complete.
    Completed,
}

/// The number that is being entered.
#[derive(Debug, Default)]
pub(crate) struct Dtmf {
    digits: String,
    due: Option<CallTime>,
}

impl Dtmf {
    /// When the number is complete.
    pub(crate) fn due(&self) -> Option<CallTime> {
        self.due
    }

    /// Adds a key.
    pub(crate) fn press(&mut self, at: CallTime, key: char) -> KeyPress {
        match key {
            DONE if self.digits.is_empty() => KeyPress::Ignored,
            DONE => KeyPress::Completed,
            '0'..='9' | '*' | 'A'..='D' => {
                if self.digits.len() < MAX_DIGITS {
                    self.digits.push(key);
                }
                self.due = Some(at + COMPLETE_AFTER);
                KeyPress::Entered
            }
            _ => KeyPress::Ignored,
        }
    }

    /// The digits, if there are any; the next key begins another number.
    pub(crate) fn take(&mut self) -> Option<String> {
        let Self { digits, .. } = std::mem::take(self);
        Some(digits).filter(|digits| !digits.is_empty())
    }
}
