//! Digits that the caller keys in: together they are what the caller says.

use std::time::Duration;

use super::{CallTime, Engine, Output};

/// Without another key for so long, the number is complete.
pub(super) const COMPLETE: Duration = Duration::from_secs(2);
/// This key says so at once.
const DONE: char = '#';
/// No number that people key in is longer; what goes beyond is not kept.
const MOST_DIGITS: usize = 64;

/// What was keyed in and is not complete.
#[derive(Default)]
pub(super) struct Keypad {
    digits: String,
    due: Option<CallTime>,
}

impl Keypad {
    /// When the number is complete.
    pub(super) fn due(&self) -> Option<CallTime> {
        self.due
    }

    fn press(&mut self, at: CallTime, key: char) {
        if self.digits.len() < MOST_DIGITS {
            self.digits.push(key);
        }
        self.due = Some(at + COMPLETE);
    }
}

impl Engine {
    /// A key was pressed. Whoever keys in a number has heard enough.
    pub(super) fn key(&mut self, at: CallTime, key: char, out: &mut Vec<Output>) {
        let is_key = key.is_ascii_digit() || matches!(key, '*' | DONE | 'A'..='D');
        if !is_key || (key == DONE && self.keypad.digits.is_empty()) {
            return;
        }
        self.unspoken = None;
        if self.ending.is_none() {
            self.interrupt(at, out);
        }
        if key == DONE {
            self.keyed(at, out);
        } else {
            self.keypad.press(at, key);
        }
    }

    /// The number is complete: it ends the turn, after whatever was said with it.
    pub(super) fn keyed(&mut self, at: CallTime, out: &mut Vec<Output>) {
        let Keypad { digits, .. } = std::mem::take(&mut self.keypad);
        if digits.is_empty() {
            return;
        }
        self.begin_turn(out);
        self.turn.hear(at, &digits, true, None);
        self.turn.is_complete(at);
    }
}
