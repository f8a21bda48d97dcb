//! The sandbox of a load test: the same servers and the same carrier, with canned audio instead of speech engines.
//!
//! The wire protocols stay complete. The differences: a transcriber recognises a numbered question in any speech
//! ([`speech`]); the model answers every question with two sentences that name its number ([`model`]); a voice returns
//! canned audio whose first bytes carry that number; and callers ([`caller`]) ask again and again, and interrupt the
//! agent every third time. A call passes mu-law unchanged, so the number that a transcriber created returns to the
//! caller, and every stage between can be measured from socket to socket on one clock ([`measures`]).
//!
//! The measurements, each as seen by the sandbox, its own lateness included:
//!
//! - *Frame lateness.* An agent sends audio at most 400 ms ahead of real time. The first frame of an utterance fixes
//!   the schedule: the audio of the first 400 ms is due at once, each later frame 400 ms before it plays. Lateness is
//!   the time from then to the arrival of the frame, 0 for an early one. An utterance ends when all of it has played
//!   up to a mark, or at a `clear`.
//! - *Underrun.* The carrier ran out of audio although no mark had arrived after the last audio, or although the first
//!   sentence of a response had played and the second had not arrived.
//! - *Transcript to model*: from the final transcript to the request to the model. *Sentence to voice*: from the token
//!   that proves the end of the first sentence to the request to the voice. *Audio to carrier*: from the first audio of
//!   the voice to the first media message with it. The *own share* of a response is the sum of the three.
//! - *Clear.* A caller who interrupts always makes the same sound, so always the same frame completes 200 ms of speech.
//!   It is taken to be the frame that was the last one sent before most of the `clear`s, or an earlier one if the
//!   `clear` was faster. Measured is the time from it to the `clear`.
//! - *Greeting*: from the start of the stream to the first media message.
//! - *Sandbox lateness*: the delay of each of the carrier's own steps of 20 ms.
//!
//! [`hard_wired`](crate::hard_wired) is an agent to compare with, which does the least that an agent can do.

mod caller;
mod load;
mod measures;
mod model;
mod speech;

pub(crate) use caller::Caller;
pub use load::Load;
pub use measures::{Measured, Percentiles};
pub(crate) use model::router;
