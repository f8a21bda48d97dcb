//! The sandbox under load: the same servers and the same carrier, with canned audio instead of speech engines.
//!
//! Everything stays true on the wire. What is different: a transcriber understands a numbered question in
//! whatever it hears ([`speech`]), the model answers every question with two sentences that name its number
//! ([`model`]), a voice speaks canned audio whose first bytes carry that number, and callers ([`caller`]) ask
//! over and over, every third time into the agent's words. Mu-law passes a phone call untouched, so the
//! number that a transcriber made comes back to the caller, and every step between can be measured from
//! socket to socket on one clock. The sums are in [`measures`].
//!
//! What is measured, each as seen here, our own slowness included:
//!
//! - *Frame lateness.* An agent sends audio at most 400 ms ahead of time. The first frame of an utterance
//!   sets its schedule: what plays in the first 400 ms is due at once, each later frame when it is 400 ms
//!   before its turn. Lateness is how long after that a frame arrives, 0 for one that is early. An utterance
//!   ends when all of it has played behind a mark, or at a `clear`.
//! - *Underrun.* The carrier had nothing left to play, though no mark had come behind what it played last,
//!   or though the first sentence of an answer was played and the second was to follow.
//! - *Transcript to model*: the final transcript is sent, the request to the model is here. *Sentence to
//!   voice*: the token is sent with which the first sentence is known to be over, the request to the voice is
//!   here. *Audio to carrier*: the voice's first audio is sent, the first media of it is here. The *own
//!   share* of a response is the sum of the three.
//! - *Clear*: a caller who speaks into the agent's words always makes the same sound, so the same frame of
//!   it completes 200 ms of speech. It is taken to be the one that was the last sent before most of the
//!   `clear`s, or an earlier one if the `clear` was faster; from it to the `clear` it takes.
//! - *Greeting*: the stream starts, the first media is here.
//! - *Our own lateness*: how long after its time each of the carrier's steps of 20 ms was begun.

mod caller;
mod load;
mod measures;
mod model;
mod speech;

pub(crate) use caller::Caller;
pub use load::Load;
pub use measures::{Measured, Percentiles};
pub(crate) use model::router;
