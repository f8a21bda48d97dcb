//! Google Gemini: language model ([`generate`]).
//!
//! `request.rs` makes the body of a request out of `contents.rs` (the conversation) and `functions.rs`,
//! `chunks.rs` assembles the response, `refusals.rs` judges refusals.

mod chunks;
mod contents;
mod functions;
pub mod generate;
mod refusals;
mod request;

pub(crate) const VENDOR: &str = "google";

/// The number of events in a stream of chunks; for the fuzz target.
#[cfg(fuzzing)]
pub(crate) fn content_events(data: &[String]) -> usize {
    use crate::streamed_generation::Protocol as _;
    let (mut chunks, mut events) = (chunks::Chunks::default(), vec![]);
    for data in data {
        if !matches!(chunks.push(data, &mut events), Ok(false)) {
            break;
        }
    }
    let _ = chunks.finish(&mut events);
    events.len()
}
