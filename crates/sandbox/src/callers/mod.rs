//! The simulated people: what they do on a call, and when.
//!
//! [`Callers`] has every person's script, and synthesizes their lines before they are due. [`Person`] is one of them on
//! one call: a state machine that is stepped every 20 ms with the audio it hears, and knows nothing of sockets, clocks
//! or the carrier. [`LineEffects`] is the echo and the noise of their line.
//!
//! # Scripts
//!
//! The built-in people are in `scripts/callers.json`, by number. `PUT /sandbox/people/{number}` of the carrier assigns a
//! script at run time. A script is a JSON object:
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
//! Only `acts` is required. Acts are performed one after the other. An act that is a string says it; any other act has
//! one of
//!
//! - `say`: words, at most 1000 characters;
//! - `sound`: `cough` (340 ms; loud enough for speech, but without a voice), `hum` (a second of a voice with the mouth
//!   closed; transcribers write at most "Mm.") or `beep` (the tone of an answering machine);
//! - `keys`: up to 32 of `0-9*#`, pressed 150 ms apart;
//! - `hang_up`: `true`.
//!
//! and optionally
//!
//! - `after`, the event that it waits for, and `wait_ms`, the further delay, at most ten minutes:
//!   - `reply` (the default; 500 ms): the agent has finished, which 700 ms of silence prove, and was understood. Speech
//!     that ended while the person spoke or pressed keys, or was cut off by that up to half a second later, counts as a
//!     reply only if no other follows within five seconds; speech that a sound cut off, only if the agent does not
//!     continue within three;
//!   - `speech` (0 ms): the agent begins to be heard. It counts anew after every act, from the act's end if the agent is
//!     heard then;
//!   - `act` (0 ms): the previous act has ended;
//!   - `start` (0 ms): the call was answered;
//! - `cut_ms`: the time after which the words or the sound are cut off;
//! - `then_hang_up`: `true` hangs up at the end of the act.
//!
//! A person who is asked to repeat does so once. A person who waits for the agent and hears nothing for 15 s says
//! `when_nobody_speaks`, if the script has it, and hangs up after 15 s more. A person who has performed every act hangs
//! up after 20 s of silence.
//!
//! `speed` (0.5 to 2, default 1.08) is relative to the voice's own pace, so that the two sides of a call sound
//! different. `machine` makes the person an answering machine to the carrier's detection. `echo` returns the agent's
//! audio, `db` louder (-60 to 0) and `delay_ms` later (0 to 1000, in steps of 20). `noise_db` (-80 to -48, relative to
//! full scale) is noise under everything that is sent; louder noise would be speech to listeners that judge by level,
//! such as the simulated transcriber.

mod directory;
mod part;
mod person;
#[cfg(test)]
mod person_tests;
mod scripts;
mod sounds;

pub(crate) use directory::Callers;
#[cfg(test)]
pub(crate) use part::{Act, Deed, Line};
pub(crate) use part::{Part, What};
pub(crate) use person::{Action, Person, Utterance};
#[cfg(test)]
pub(crate) use scripts::After;
pub(crate) use scripts::Script;
pub(crate) use sounds::LineEffects;
