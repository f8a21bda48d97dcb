//! The simulated people: what they do, and when they do it.
//!
//! [`Callers`] knows every person's script and has their lines spoken before they are due. [`Person`] is one
//! of them on one call: a state machine stepped every 20 ms with what is heard, that knows nothing of
//! sockets, clocks or the carrier. [`Room`] is what their line adds.
//!
//! # Scripts
//!
//! The built-in people are in `scripts/callers.json`, by number; others are made at run time with `PUT
//! /sandbox/people/{number}` of the carrier. A script is a JSON object:
//!
//! ```json
//! {
//!   "about": "Ignored.",
//!   "speed": 1.08,
//!   "acts": [
//!     "Yes, what time do you close on Saturday?",
//!     { "after": "speech", "wait_ms": 800, "sound": "cough" },
//!     { "after": "reply", "wait_ms": 500, "keys": "12#" },
//!     { "say": "No, that is all, thank you.", "cut_ms": 900, "then_hang_up": true }
//!   ],
//!   "when_nobody_speaks": "Hello?",
//!   "machine": false,
//!   "echo": { "db": -24, "delay_ms": 120 },
//!   "noise_db": -50
//! }
//! ```
//!
//! Only `acts` is required. They are done one after the other, in their order. An act that is a string says
//! it; any other has one of
//!
//! - `say`: words, at most 1000 characters;
//! - `sound`: `cough` (340 ms, loud, taken for speech but without a voice), `hum` (a second of a voice with the
//!   mouth closed: transcribers write "Mm." at most) or `beep` (the tone of an answering machine);
//! - `keys`: up to 32 of `0-9*#`, pressed 150 ms apart;
//! - `hang_up`: `true`.
//!
//! and may have
//!
//! - `after`, what it waits for, and `wait_ms`, for how much longer, at most ten minutes:
//!   - `reply` (500 ms if nothing is said): the other side has finished, 700 ms of silence prove it, and was
//!     understood. What ended while the person spoke or pressed keys, or was cut off by that up to half a second
//!     later, is taken for a reply only if there is no other for five seconds; what was cut off by a sound, if
//!     it does not go on for three;
//!   - `speech` (0 ms): the other side begins to be heard, counted anew after every act, at its end if the
//!     other side is heard then;
//!   - `act` (0 ms): the end of the act before;
//!   - `start` (0 ms): the call was answered;
//! - `cut_ms`: what is said, or the sound, is cut off after so long;
//! - `then_hang_up`: `true` hangs up at its end.
//!
//! Somebody who is asked to repeat does so once. Who waits for the other side, and hears nothing for 15 s,
//! says `when_nobody_speaks`, if there is such a line, and hangs up after 15 s more. Who has done everything
//! hangs up after 20 s of silence.
//!
//! `speed` (0.5 to 2) is relative to the voice's own, 1.08 if nothing is said, so that the two sides of a call
//! can be told apart. A `machine` is an answering machine: the carrier tells who asks for that. `echo` gives
//! what is heard back, so many dB louder (-60 to 0), so much later (0 to 1000 ms, in steps of 20); `noise_db`
//! (-80 to -48, relative to full scale) is noise under everything that is sent: what listens by level alone, as
//! the simulated transcriber does, takes anything louder for speech.

mod person;
#[cfg(test)]
mod person_tests;
mod scripts;
mod sounds;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::{audio, speech::Speech};

pub(crate) use person::{Action, Person, Utterance};
pub(crate) use scripts::{After, Echo, Script};
pub(crate) use sounds::Room;

/// People made at run time that are known; older ones are forgotten.
const MADE_LIMIT: usize = 256;

const SCRIPTS: &str = include_str!("../../scripts/callers.json");
/// The script of every number that has none of its own.
const DEFAULT: &str = "default";

/// Which kind of thing was done.
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

/// An act with its sound.
#[derive(Debug, Clone)]
pub(crate) struct Act {
    pub(crate) after: After,
    pub(crate) wait: Duration,
    pub(crate) deed: Deed,
    pub(crate) then_hang_up: bool,
}

/// What is done.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    Sound(Line),
    /// A number of `0-9*#`.
    Keys(String),
    HangUp,
}

/// A script with its sound: all a person needs for a call.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) acts: Vec<Act>,
    pub(crate) when_nobody_speaks: Option<Line>,
    /// An answering machine.
    pub(crate) machine: bool,
    pub(crate) echo: Option<Echo>,
    pub(crate) noise_db: Option<f32>,
}

/// Somebody with a number. Their part is spoken once, whoever calls.
struct Known {
    script: Script,
    part: OnceCell<Part>,
}

/// Everybody who can be called.
pub(crate) struct Callers {
    speech: Speech,
    /// By number, or [`DEFAULT`].
    built_in: HashMap<String, Arc<Known>>,
    /// With their numbers, the oldest first.
    made: Mutex<VecDeque<(String, Arc<Known>)>>,
}

impl Callers {
    /// The people of the built-in scripts.
    pub(crate) fn new(speech: Speech) -> anyhow::Result<Self> {
        let scripts: HashMap<String, Value> =
            serde_json::from_str(SCRIPTS).context("scripts/callers.json")?;
        anyhow::ensure!(scripts.contains_key(DEFAULT), "scripts/callers.json has no script named {DEFAULT}");
        let known = |(number, script)| match Script::read(script) {
            Ok(script) => Ok((number, Arc::new(Known { script, part: OnceCell::new() }))),
            Err(error) => anyhow::bail!("scripts/callers.json: {number}: {error}"),
        };
        let built_in = scripts.into_iter().map(known).collect::<anyhow::Result<_>>()?;
        Ok(Self { speech, built_in, made: Mutex::default() })
    }

    /// People who all have this one part, which needs no speaking.
    #[cfg(test)]
    pub(crate) fn with_part(speech: Speech, part: Part) -> Self {
        let script = Script::read(serde_json::json!({ "acts": [] })).unwrap();
        let known = Arc::new(Known { script, part: OnceCell::new_with(Some(part)) });
        Self { speech, built_in: [(DEFAULT.to_owned(), known)].into(), made: Mutex::default() }
    }

    /// From now on this script is the one of this number; of calls that ring already it is not.
    pub(crate) fn make(&self, number: &str, script: Script) {
        let mut made = self.made();
        made.retain(|(other, _)| other != number);
        if made.len() >= MADE_LIMIT {
            made.pop_front();
        }
        made.push_back((number.to_owned(), Arc::new(Known { script, part: OnceCell::new() })));
    }

    /// Takes back what was made of this number. False: nothing was.
    pub(crate) fn forget(&self, number: &str) -> bool {
        let mut made = self.made();
        let before = made.len();
        made.retain(|(other, _)| other != number);
        made.len() < before
    }

    /// The part of the person at this number, spoken now if it never was before.
    pub(crate) async fn part(&self, number: &str) -> anyhow::Result<Part> {
        let made = self.made().iter().find(|(other, _)| other == number).map(|(_, known)| known.clone());
        let built_in = || self.built_in.get(number).or_else(|| self.built_in.get(DEFAULT)).cloned();
        let known = made.or_else(built_in).context("nobody has this number")?;
        known.part.get_or_try_init(|| self.rehearse(&known.script)).await.cloned()
    }

    async fn rehearse(&self, script: &Script) -> anyhow::Result<Part> {
        let mut spoken = HashMap::new();
        for text in script.texts() {
            let audio = self.speech.synthesize(text, script.speed).await?;
            spoken.insert(text, Bytes::copy_from_slice(trimmed(&audio)));
        }
        Ok(Part::new(script, &spoken))
    }

    /// What the people recognise speech with.
    pub(crate) fn speech(&self) -> &Speech {
        &self.speech
    }

    fn made(&self) -> MutexGuard<'_, VecDeque<(String, Arc<Known>)>> {
        // Nothing that is done under the lock can leave the list half changed.
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// A script with the sound of each of its [`Script::texts`], in mu-law.
    fn new(script: &Script, spoken: &HashMap<&str, Bytes>) -> Self {
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

/// Speech without the silence around it, so that a line begins and ends when its record says so.
fn trimmed(audio: &[u8]) -> &[u8] {
    /// Quieter than any speech: -46 dBFS.
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
    fn a_line_is_trimmed_to_its_speech_with_a_little_room() {
        let audio = [[SILENCE; 1000].as_slice(), &[0x90; 500], &[SILENCE; 2000]].concat();
        assert_eq!(trimmed(&audio), &audio[1000 - 320..1499 + 320]);
        assert_eq!(trimmed(&[SILENCE; 100]), [SILENCE; 100]);
    }

    #[test]
    fn of_too_many_people_made_at_run_time_the_oldest_is_forgotten() {
        let callers = Callers::new(Speech::connect("http://127.0.0.1:9").unwrap()).unwrap();
        let script = Script::read(serde_json::json!({ "acts": [] })).unwrap();
        for number in 0..=MADE_LIMIT {
            callers.make(&number.to_string(), script.clone());
        }
        assert!(!callers.forget("0"));
        assert!(callers.forget("1"));
    }

    #[test]
    fn the_built_in_scripts_can_be_read() {
        assert!(Callers::new(Speech::connect("http://127.0.0.1:9").unwrap()).is_ok());
    }
}
