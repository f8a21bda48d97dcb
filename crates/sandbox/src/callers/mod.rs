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
pub(crate) use sounds::Room;
