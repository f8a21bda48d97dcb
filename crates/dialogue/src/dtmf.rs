//! DTMF: consecutive digits of the caller become one text of the user.

use std::time::Duration;

use crate::call_time::CallTime;

/// A number is complete after this long without another key.
const COMPLETE_AFTER: Duration = Duration::from_secs(2);
/// This key completes a number at once. Alone it is a message of its own: "press the pound key".
const DONE: char = '#';
/// Maximum length of a number; further keys are dropped.
const MAX_DIGITS: usize = 64;

/// The effect of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyPress {
    /// No DTMF key, or a `#` that is no message.
    Ignored,
    /// It belongs to a number that is not complete.
    Entered,
    /// The number is complete.
    Completed,
}

/// The number that is being entered.
#[derive(Debug)]
pub(crate) struct Dtmf {
    /// Whether a `#` without digits is a message.
    takes_lone_hash: bool,
    digits: String,
    due: Option<CallTime>,
}

impl Dtmf {
    pub(crate) fn new(takes_lone_hash: bool) -> Self {
        Self { takes_lone_hash, digits: String::new(), due: None }
    }

    /// When the number is complete.
    pub(crate) fn due(&self) -> Option<CallTime> {
        self.due
    }

    /// Adds a key.
    pub(crate) fn press(&mut self, at: CallTime, key: char) -> KeyPress {
        match key {
            DONE if self.digits.is_empty() && !self.takes_lone_hash => KeyPress::Ignored,
            DONE => {
                if self.digits.is_empty() {
                    self.digits.push(DONE);
                }
                KeyPress::Completed
            }
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
        self.due = None;
        Some(std::mem::take(&mut self.digits)).filter(|digits| !digits.is_empty())
    }
}
