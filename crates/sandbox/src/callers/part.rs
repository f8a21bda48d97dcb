//! A script with its audio: everything that a person needs for a call.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use serde::Serialize;

use super::scripts::{self, After, Echo, Script};
use crate::audio;

/// The kind of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    Say,
    Sound,
    Keys,
}

/// Words or another sound, in mu-law. The text of a sound is its name.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) what: What,
    pub(crate) text: String,
    pub(crate) audio: Bytes,
}

/// An act with its audio.
#[derive(Debug, Clone)]
pub(crate) struct Act {
    pub(crate) after: After,
    pub(crate) wait: Duration,
    pub(crate) deed: Deed,
    pub(crate) then_hang_up: bool,
}

/// The content of an act.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    Sound(Line),
    /// One or more of `0-9*#`.
    Keys(String),
    HangUp,
}

/// A script with its audio.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) acts: Vec<Act>,
    pub(crate) when_nobody_speaks: Option<Line>,
    /// Whether the person is an answering machine.
    pub(crate) machine: bool,
    pub(crate) echo: Option<Echo>,
    pub(crate) noise_db: Option<f32>,
}

impl Part {
    /// Combines a script with the mu-law audio of each of its [`Script::texts`].
    pub(super) fn new(script: &Script, spoken: &HashMap<&str, Bytes>) -> Self {
        let line = |text: &str| {
            let audio = spoken.get(text).cloned().unwrap_or_default();
            Line { what: What::Say, text: text.to_owned(), audio }
        };
        let act = |act: &scripts::Act| {
            let mut deed = match &act.deed {
                scripts::Deed::Say(text) => Deed::Sound(line(text)),
                scripts::Deed::Sound(sound) => {
                    let (text, audio) = (sound.name().to_owned(), sound.audio());
                    Deed::Sound(Line { what: What::Sound, text, audio })
                }
                scripts::Deed::Keys(keys) => Deed::Keys(keys.clone()),
                scripts::Deed::HangUp => Deed::HangUp,
            };
            if let (Deed::Sound(line), Some(cut)) = (&mut deed, act.cut) {
                line.audio.truncate(audio::bytes(cut));
            }
            Act { after: act.after, wait: act.wait, deed, then_hang_up: act.then_hang_up }
        };
        Self {
            acts: script.acts.iter().map(act).collect(),
            when_nobody_speaks: script.when_nobody_speaks.as_deref().map(line),
            machine: script.machine,
            echo: script.echo,
            noise_db: script.noise_db,
        }
    }
}

/// Removes the silence around speech, so that a line begins and ends at its recorded times.
pub(super) fn trimmed(audio: &[u8]) -> &[u8] {
    /// The level below any speech: -46 dBFS.
    const QUIET: u16 = 164;
    /// Kept on either side (40 ms), for the breath of a first or last sound.
    const MARGIN: usize = 320;
    let loud = |&byte: &u8| audio::decode(byte).unsigned_abs() >= QUIET;
    let start = audio.iter().position(loud).unwrap_or(0).saturating_sub(MARGIN);
    let end = audio.iter().rposition(loud).map_or(audio.len(), |last| (last + MARGIN).min(audio.len()));
    &audio[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::SILENCE;

    #[test]
    fn a_line_is_trimmed_to_its_speech_with_a_margin() {
        let audio = [[SILENCE; 1000].as_slice(), &[0x90; 500], &[SILENCE; 2000]].concat();
        assert_eq!(trimmed(&audio), &audio[1000 - 320..1499 + 320]);
        assert_eq!(trimmed(&[SILENCE; 100]), [SILENCE; 100]);
    }
}
